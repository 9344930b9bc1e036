/**
 * The IORT of the Host VM, so that Linux finds its root complex to be one whose devices snoop caches: without that, or
 * S2FWB, it gives no vIOMMU away. DEN0049 IO Remapping Table; ACPI 6.5 §5.2.6 System Description Table Header.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";

/** Where in an initramfs Linux looks for a table to use instead of the firmware's. */
export const IORT_PATH = "kernel/firmware/acpi/iort.aml";

const HEADER = { length: 4, checksum: 9, oemRevision: 24, size: 36 } as const;
const NODE_COUNT = 36;
const NODE_OFFSET = 40;
const NODE = { type: 0, length: 1 } as const;
const ROOT_COMPLEX = 2;
/** Memory access flags, in the node: CCA, then CPM and DACS; CANWBS. */
const MEMORY_FLAGS = 16 + 7;
const CANWBS = 0b100;

/** The table with CANWBS set for each root complex. Throws an `EnvironmentError` when it is no IORT. */
export function withCanwbs(table: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = table.slice();
  const view = new DataView(bytes.buffer);
  const signature = new TextDecoder().decode(bytes.subarray(0, 4));
  if (bytes.length < NODE_OFFSET + 4 || signature !== "IORT") {
    throw new EnvironmentError(`Cannot use the IORT of the Host VM: it begins with "${signature}"`);
  }
  if (view.getUint32(HEADER.length, true) !== bytes.length || sum(bytes) !== 0) {
    throw new EnvironmentError(
      `Cannot use the IORT of the Host VM: its length or checksum is wrong (${bytes.length} bytes)`,
    );
  }
  let at = view.getUint32(NODE_OFFSET, true);
  let found = 0;
  for (let left = view.getUint32(NODE_COUNT, true); left > 0; left--) {
    const length = at + 4 <= bytes.length ? view.getUint16(at + NODE.length, true) : 0;
    if (length < 16 || at + length > bytes.length) {
      throw new EnvironmentError(
        `Cannot use the IORT of the Host VM: a node at ${at} is cut short`,
      );
    }
    if (bytes[at + NODE.type] === ROOT_COMPLEX) {
      bytes[at + MEMORY_FLAGS] |= CANWBS;
      found++;
    }
    at += length;
  }
  if (found === 0) {
    throw new EnvironmentError("Cannot use the IORT of the Host VM: no root complex");
  }
  // Linux takes a table only when it is newer than the firmware's.
  view.setUint32(HEADER.oemRevision, view.getUint32(HEADER.oemRevision, true) + 1, true);
  bytes[HEADER.checksum] = 0;
  bytes[HEADER.checksum] = -sum(bytes) & 0xff;
  return bytes;
}

function sum(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
