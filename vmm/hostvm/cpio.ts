/**
 * An archive that Linux takes for an initramfs, uncompressed. Linux `Documentation/driver-api/early-userspace/buffer-format.rst`:
 * it looks for ACPI tables there before any program runs, so cpio(1) would have to be told every parent folder too.
 * @module
 */

const MAGIC = "070701";
const FOLDER = 0o40755;
const FILE = 0o100644;
const TRAILER = "TRAILER!!!";

/** The archive of some files, with their folders, each once, before them. */
export function newc(files: readonly (readonly [path: string, bytes: Uint8Array])[]): Uint8Array<
  ArrayBuffer
> {
  const parts: Uint8Array[] = [];
  const folders = new Set<string>();
  let inode = 0;
  const add = (name: string, mode: number, bytes: Uint8Array): void => {
    const fields = [++inode, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
    parts.push(padded(new TextEncoder().encode(`${header}${name}\0`)), padded(bytes));
  };
  for (const [path, bytes] of files) {
    const steps = path.split("/");
    for (let count = 1; count < steps.length; count++) {
      const folder = steps.slice(0, count).join("/");
      if (folders.has(folder)) continue;
      folders.add(folder);
      add(folder, FOLDER, new Uint8Array());
    }
    add(path, FILE, bytes);
  }
  add(TRAILER, 0, new Uint8Array());
  return concatenated(parts);
}

/** Up to the next multiple of four bytes; a header of 110 bytes and its name count as one. */
function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  whole.set(bytes);
  return whole;
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
