/**
 * What this SMMU offers: one validated feature set, from which the ID registers follow. IHI 0070 §6.3.1 to §6.3.8.
 * @module
 */
import { brokenRule } from "./feature_rules.ts";

/** Everything about the device that its owner may choose. */
export interface Features {
  /** StreamID width in bits, 0 to 32. IDR1.SIDSIZE */
  readonly sidSize: number;
  /** SubstreamID width in bits, 0 to 20; 0 means no substreams. IDR1.SSIDSIZE */
  readonly ssidSize: number;
  /** Output address width in bits: 32, 36, 40, 42, 44, 48 or 52. IDR5.OAS */
  readonly oas: number;
  /** Largest command queue, as log2 of its entries, 0 to 19; Linux needs at least 7. IDR1.CMDQS */
  readonly log2CommandQueue: number;
  /** Largest event queue, as log2 of its entries, 0 to 19. IDR1.EVENTQS */
  readonly log2EventQueue: number;
  /** Largest PRI queue, as log2 of its entries, 0 to 19; means nothing without `pri`. IDR1.PRIQS */
  readonly log2PageRequestQueue: number;
  /** Two-level stream tables. IDR0.ST_LEVEL */
  readonly twoLevelStreamTable: boolean;
  /** ASIDs of 16 bits instead of 8. IDR0.ASID16 */
  readonly asid16: boolean;
  /** Message-signalled interrupts, and with coherent access a guest that waits for CMD_SYNC in its own memory. IDR0.MSI */
  readonly msi: boolean;
  /** Range invalidation. IDR3.RIL */
  readonly rangeInvalidation: boolean;
  /** Translation by stage 1. IDR0.S1P */
  readonly stage1: boolean;
  /** Translation by stage 2, and of both. IDR0.S2P */
  readonly stage2: boolean;
  /** VMIDs of 16 bits instead of 8. IDR0.VMID16 */
  readonly vmid16: boolean;
  /** Streams of a hypervisor: StreamWorlds EL2 and EL2-E2H. IDR0.Hyp */
  readonly hyp: boolean;
  /** Tables of 4 KiB. IDR5.GRAN4K */
  readonly granule4K: boolean;
  /** Tables of 16 KiB. IDR5.GRAN16K */
  readonly granule16K: boolean;
  /** Tables of 64 KiB. IDR5.GRAN64K */
  readonly granule64K: boolean;
  /** Virtual addresses of 52 bits, with tables of 64 KiB. IDR5.VAX */
  readonly vax: boolean;
  /** Execution by privilege at stage 2. IDR3.XNX */
  readonly xnx: boolean;
  /** Two-level CD tables. IDR0.CD2L */
  readonly twoLevelContextTable: boolean;
  /** Updates of descriptors by the device: 0 none, 1 access flag, 2 dirty state too. IDR0.HTTU */
  readonly httu: number;
  /** Faults: 0 stall or terminate, 1 only terminate, 2 only stall. IDR0.STALL_MODEL */
  readonly stallModel: number;
  /** Stalled transactions that software sees at once, 1 to 1024; 0 where nothing stalls. IDR5.STALL_MAX */
  readonly stallMax: number;
  /** A terminated transaction always aborts; it never reads zero instead. IDR0.TERM_MODEL */
  readonly abortOnly: boolean;
  /** Address translation by endpoints. IDR0.ATS */
  readonly ats: boolean;
  /** Page requests of endpoints. IDR0.PRI */
  readonly pri: boolean;
}

/** The features of a device whose owner chooses nothing. */
export const DEFAULT_FEATURES: Features = {
  sidSize: 16,
  ssidSize: 10,
  oas: 48,
  log2CommandQueue: 10,
  log2EventQueue: 10,
  log2PageRequestQueue: 10,
  twoLevelStreamTable: true,
  asid16: true,
  msi: true,
  rangeInvalidation: true,
  stage1: true,
  stage2: false,
  vmid16: false,
  hyp: false,
  granule4K: true,
  granule16K: false,
  granule64K: false,
  vax: false,
  xnx: false,
  twoLevelContextTable: false,
  httu: 0,
  stallModel: 1,
  stallMax: 0,
  abortOnly: false,
  ats: false,
  pri: false,
};

/** Output address widths in bits, by their encoding in IDR5.OAS, CD.IPS and STE.S2PS. */
export const ADDRESS_SIZES: readonly number[] = [32, 36, 40, 42, 44, 48, 52];

/**
 * Completes a choice of features; throws a RangeError that names the feature, both sides and the rule of the
 * architecture when it cannot be.
 */
export function features(choice: Partial<Features> = {}): Features {
  const chosen = { ...DEFAULT_FEATURES, ...choice };
  if (!ADDRESS_SIZES.includes(chosen.oas)) {
    throw new RangeError(`Feature oas is ${chosen.oas}, but this device has ${ADDRESS_SIZES}`);
  }
  const broken = brokenRule(chosen);
  if (broken !== undefined) throw new RangeError(broken);
  return chosen;
}
