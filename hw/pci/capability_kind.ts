/**
 * What is known of a kind of capability: its name, and how many bytes it has.
 * @module
 */
import { byteAt, dwordAt, wordAt } from "./config_bytes.ts";

/** A capability's registers and what else its length depends on. */
export class CapabilityBytes {
  readonly #space: Uint8Array;
  readonly #base: number;
  /** Lanes that per-lane registers are there for: 1 to 32. */
  readonly lanes: number;
  /** Device/Port Type of the function's PCI Express capability, §7.5.3.2; 0 when it has none. */
  readonly portType: number;
  /** Device Capabilities 2 of the function, §7.5.3.15; 0 when it has none. */
  readonly deviceCapabilities2: number;

  /** The capability at `base`; `express` is the offset of the function's PCI Express capability, 0 for none. */
  constructor(space: Uint8Array, base: number, express: number) {
    this.#space = space;
    this.#base = base;
    const flags = express === 0 ? 0 : wordAt(space, express + 0x02);
    const width = express === 0 ? 0 : (dwordAt(space, express + 0x0c) >>> 4) & 0x3f;
    // A virtual function may show no link, and has the per-lane registers of its device all the same.
    this.lanes = [1, 2, 4, 8, 12, 16, 32].includes(width) ? width : 32;
    this.portType = (flags >>> 4) & 0xf;
    this.deviceCapabilities2 = (flags & 0xf) < 2 ? 0 : dwordAt(space, express + 0x24);
  }

  /** The version in the header of an extended capability. §7.6.3. */
  get version(): number {
    return byteAt(this.#space, this.#base + 2) & 0xf;
  }

  /** The byte at `offset` from the capability's first byte. */
  byte(offset: number): number {
    return byteAt(this.#space, this.#base + offset);
  }

  /** The 16-bit register at `offset` from the capability's first byte. */
  word(offset: number): number {
    return wordAt(this.#space, this.#base + offset);
  }

  /** The 32-bit register at `offset` from the capability's first byte. */
  dword(offset: number): number {
    return dwordAt(this.#space, this.#base + offset);
  }
}

/** The length where no specification tells it: everything up to what comes next is taken. */
export const OPEN = undefined;

/** How long a capability is, in bytes with its header: a number, a rule, or {@linkcode OPEN}. */
export type CapabilityLength =
  | number
  | typeof OPEN
  | ((bytes: CapabilityBytes) => number | typeof OPEN);

/** A kind of capability. */
export interface CapabilityKind {
  /** Its short name, such as `ARI`. */
  readonly name: string;
  /** Its length. */
  readonly sizeBytes: CapabilityLength;
}

/** The length of one capability in bytes, or {@linkcode OPEN} when it cannot be told. */
export function lengthOf(
  kind: CapabilityKind | undefined,
  bytes: CapabilityBytes,
): number | typeof OPEN {
  const rule = kind?.sizeBytes;
  return typeof rule === "function" ? rule(bytes) : rule;
}
