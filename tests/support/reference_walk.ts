/**
 * A stage 1 walk written for reading: one address, one descriptor, one rule after the other, in 64-bit integers.
 * DDI 0487 D8, IHI 0070 §5.4, §7.3.22; granule of 4 KiB, two privilege levels, no hardware updates.
 * @module
 */

/** What a walk depends on, besides tables. */
export interface Regime {
  /** For TTB0 and TTB1. */
  halves: readonly [Half, Half];
  /** Significant bits of an output address. */
  outputBits: number;
  affd: boolean;
  wxn: boolean;
  pan: boolean;
}

/** One half of the address space. */
export interface Half {
  sizeField: number;
  table: bigint;
  disabled: boolean;
  tbi: boolean;
  had: boolean;
}

export interface Access {
  kind: "read" | "write" | "execute";
  privileged: boolean;
}

/** The output address, or the name of the fault. */
export type Result = bigint | "EABT" | "TRANSLATION" | "ADDR_SIZE" | "ACCESS" | "PERMISSION";

/** Walks the tables that `load` reads; it returns undefined where no memory is. */
export function referenceWalk(
  regime: Regime,
  address: bigint,
  access: Access,
  load: (gpa: bigint) => bigint | undefined,
): Result {
  const bit = (value: bigint, position: number): boolean =>
    ((value >> BigInt(position)) & 1n) === 1n;
  const half = regime.halves[bit(address, 55) ? 1 : 0];
  if (half.disabled) return "TRANSLATION";
  const inputBits = 64 - half.sizeField;
  const top = half.tbi ? 55 : 63;
  for (let i = inputBits; i <= top; i++) {
    if (bit(address, i) !== bit(address, 55)) return "TRANSLATION";
  }
  const input = BigInt.asUintN(inputBits, address);
  let table = half.table;
  let apTable0 = false, apTable1 = false, uxnTable = false, pxnTable = false;
  for (let level = 4 - Math.ceil((inputBits - 12) / 9);; level++) {
    const shift = BigInt(12 + 9 * (3 - level));
    const descriptor = load(table + ((input >> shift) & 0x1ffn) * 8n);
    if (descriptor === undefined) return "EABT";
    if (!bit(descriptor, 0)) return "TRANSLATION";
    const isTable = level < 3 && bit(descriptor, 1);
    const isLeaf = level === 3 ? bit(descriptor, 1) : level > 0;
    if (!isTable && !isLeaf) return "TRANSLATION";
    const output = descriptor & 0x0000_ffff_ffff_f000n;
    if (output >> BigInt(regime.outputBits) !== 0n) return "ADDR_SIZE";
    if (isTable) {
      table = output;
      apTable0 ||= !half.had && bit(descriptor, 61);
      apTable1 ||= !half.had && bit(descriptor, 62);
      uxnTable ||= !half.had && bit(descriptor, 60);
      pxnTable ||= !half.had && bit(descriptor, 59);
      continue;
    }
    if (!bit(descriptor, 10) && !regime.affd) return "ACCESS";
    const writable = !bit(descriptor, 7) && !apTable1;
    const unprivileged = bit(descriptor, 6) && !apTable0;
    const never = access.privileged
      ? bit(descriptor, 53) || pxnTable || (writable && (unprivileged || regime.wxn))
      : bit(descriptor, 54) || uxnTable || (writable && unprivileged && regime.wxn);
    const data = access.privileged ? !(regime.pan && unprivileged) : unprivileged;
    const permitted = access.kind === "execute"
      ? !never
      : data && (access.kind === "read" || writable);
    if (!permitted) return "PERMISSION";
    return (output >> shift << shift) | (input & ((1n << shift) - 1n));
  }
}
