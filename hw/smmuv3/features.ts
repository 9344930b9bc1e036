/**
 * What this SMMU offers: one validated feature set, from which the ID registers follow. IHI 0070 §6.3.1 to §6.3.8.
 * @module
 */
import { set } from "../bits.ts";
import { AIDR, IDR0, IDR1, IDR3, IDR5, REG } from "./spec/registers.ts";

/** Everything about the device that its owner may choose. */
export interface Features {
  /** StreamID width in bits, 0 to 32. */
  readonly sidSize: number;
  /** SubstreamID width in bits, 0 to 20; 0 means no substreams. */
  readonly ssidSize: number;
  /** Output address width in bits: 32, 36, 40, 42, 44 or 48. */
  readonly oas: number;
  /** Largest command queue, as log2 of its entries, 0 to 19; Linux needs at least 7. */
  readonly log2CommandQueue: number;
  /** Largest event queue, as log2 of its entries, 0 to 19. */
  readonly log2EventQueue: number;
  /** Two-level stream tables. */
  readonly twoLevelStreamTable: boolean;
  /** ASIDs of 16 bits instead of 8. */
  readonly asid16: boolean;
  /** Message-signalled interrupts, and with coherent access a guest that waits for CMD_SYNC in its own memory. */
  readonly msi: boolean;
  /** Range invalidation. */
  readonly rangeInvalidation: boolean;
}

/** The features of a device whose owner chooses nothing. */
export const DEFAULT_FEATURES: Features = {
  sidSize: 16,
  ssidSize: 10,
  oas: 48,
  log2CommandQueue: 10,
  log2EventQueue: 10,
  twoLevelStreamTable: true,
  asid16: true,
  msi: true,
  rangeInvalidation: true,
};

/** Output address widths in bits, by their encoding in IDR5.OAS and CD.IPS. */
export const ADDRESS_SIZES: readonly number[] = [32, 36, 40, 42, 44, 48];

/** Completes a choice of features; throws a RangeError that names the feature and both sides when it cannot be. */
export function features(choice: Partial<Features> = {}): Features {
  const chosen = { ...DEFAULT_FEATURES, ...choice };
  const limits: Record<string, readonly [number, number]> = {
    sidSize: [0, 32],
    ssidSize: [0, 20],
    log2CommandQueue: [0, 19],
    log2EventQueue: [0, 19],
  };
  for (const [name, [low, high]] of Object.entries(limits)) {
    const value = chosen[name as keyof Features] as number;
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new RangeError(
        `Feature ${name} is ${value}, but the architecture has ${low} to ${high}`,
      );
    }
  }
  if (!ADDRESS_SIZES.includes(chosen.oas)) {
    throw new RangeError(`Feature oas is ${chosen.oas}, but this device has ${ADDRESS_SIZES}`);
  }
  if (chosen.sidSize >= 7 && !chosen.twoLevelStreamTable) {
    throw new RangeError(
      `Feature sidSize is ${chosen.sidSize}, but 7 or more requires twoLevelStreamTable`,
    );
  }
  return chosen;
}

/** Fills in the ID registers. */
export function identify(words: Uint32Array, chosen: Features): void {
  const view = (offset: number): Uint32Array => words.subarray(offset / 4, offset / 4 + 1);
  const idr0 = view(REG.IDR0.offset);
  set(idr0, IDR0.S1P, 1);
  set(idr0, IDR0.TTF, 2); // AArch64 tables only
  set(idr0, IDR0.COHACC, 1);
  set(idr0, IDR0.ASID16, Number(chosen.asid16));
  set(idr0, IDR0.MSI, Number(chosen.msi));
  set(idr0, IDR0.TTENDIAN, 2); // little-endian tables only
  set(idr0, IDR0.STALL_MODEL, 1); // faults terminate, nothing stalls
  set(idr0, IDR0.ST_LEVEL, Number(chosen.twoLevelStreamTable));
  const idr1 = view(REG.IDR1.offset);
  set(idr1, IDR1.SIDSIZE, chosen.sidSize);
  set(idr1, IDR1.SSIDSIZE, chosen.ssidSize);
  set(idr1, IDR1.EVENTQS, chosen.log2EventQueue);
  set(idr1, IDR1.CMDQS, chosen.log2CommandQueue);
  const idr3 = view(REG.IDR3.offset);
  set(idr3, IDR3.HAD, 1);
  set(idr3, IDR3.FWB, 1); // required of an SMMUv3.2, also without stage 2
  set(idr3, IDR3.STT, 1);
  set(idr3, IDR3.RIL, Number(chosen.rangeInvalidation));
  set(idr3, IDR3.BBML, 2);
  const idr5 = view(REG.IDR5.offset);
  set(idr5, IDR5.OAS, ADDRESS_SIZES.indexOf(chosen.oas));
  set(idr5, IDR5.GRAN4K, 1);
  set(view(REG.AIDR.offset), AIDR.ArchMinorRev, 2);
}
