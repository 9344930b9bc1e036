/**
 * What Linux offers: descriptors, memory, files, polling. Needs `--allow-ffi`.
 * @module
 */
export { ERRNO, errnoName, SystemError } from "./errno.ts";
export * from "./eventfd.ts";
export * from "./fd.ts";
export * from "./file.ts";
export * from "./mapping.ts";
export * from "./memfd.ts";
export { type Handler, POLL, Poller, Watch } from "./poll.ts";
