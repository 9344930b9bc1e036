/**
 * What goes wrong around QEMU.
 * @module
 */

/**
 * A machine cannot be made, started or kept running, for a reason outside our own code. The message starts with what could
 * not be done and is fit to be printed.
 */
export class QemuError extends Error {
  override readonly name = "QemuError";
}
