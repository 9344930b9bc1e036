/**
 * What Linux offers: descriptors, memory, sockets with descriptors, files, polling. Needs `--allow-ffi`.
 * @module
 */
export * from "./errno.ts";
export * from "./eventfd.ts";
export * from "./fd.ts";
export * from "./file.ts";
export * from "./mapping.ts";
export * from "./memfd.ts";
export * from "./poll.ts";
export * from "./socket.ts";
