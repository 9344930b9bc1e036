/**
 * What joins the device and the machine around it: vfio-user, QEMU, whole runs.
 * @module
 */
export * from "./counters.ts";
export * from "./device_thread.ts";
export * from "./machine.ts";
export * from "./microvm.ts";
export * from "./vfio_user/server.ts";
