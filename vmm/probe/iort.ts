/**
 * What firmware says of root complexes: whether their devices' accesses are coherent whatever a guest asks for.
 * IO Remapping Table, Arm DEN 0049: §3 IORT, §3.1.1.1 Memory access properties, Root complex node.
 * @module
 */

/** A root complex node. */
export interface RootComplex {
  /** PCI segment. */
  readonly segment: number;
  /** Memory access flags: bit 0 CPM, bit 1 DACS, bit 2 CANWBS. */
  readonly memoryFlags: number;
  /** Whether it passes ATS requests on. */
  readonly ats: boolean;
}

/** `RootComplex.memoryFlags`: coherent, and a guest cannot make it otherwise. */
export const CANWBS = 4;

const TABLE = { length: 4, nodeCount: 36, nodeOffset: 40, size: 48 } as const;
const NODE = { type: 0, length: 1, size: 16 } as const;
const ROOT_COMPLEX = { type: 2, memoryFlags: 23, ats: 24, segment: 28, size: 32 } as const;

/** The root complexes of an IORT; empty when the table is not understood. */
export function rootComplexes(table: Uint8Array): RootComplex[] {
  if (table.length < TABLE.size || new TextDecoder().decode(table.subarray(0, 4)) !== "IORT") {
    return [];
  }
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const end = Math.min(table.length, view.getUint32(TABLE.length, true));
  const found: RootComplex[] = [];
  let at = view.getUint32(TABLE.nodeOffset, true);
  for (let left = view.getUint32(TABLE.nodeCount, true); left > 0; left--) {
    if (at + NODE.size > end) break;
    const length = view.getUint16(at + NODE.length, true);
    const type = view.getUint8(at + NODE.type);
    if (type === ROOT_COMPLEX.type && length >= ROOT_COMPLEX.size && at + length <= end) {
      found.push({
        segment: view.getUint32(at + ROOT_COMPLEX.segment, true),
        memoryFlags: view.getUint8(at + ROOT_COMPLEX.memoryFlags),
        ats: (view.getUint32(at + ROOT_COMPLEX.ats, true) & 1) === 1,
      });
    }
    if (length < NODE.size) break;
    at += length;
  }
  return found;
}
