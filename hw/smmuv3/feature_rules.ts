/**
 * Which features an SMMU can have together. IHI 0070 §6.3.1 to §6.3.6, and what this device leaves out.
 * @module
 */
import type { Features } from "./features.ts";

/** Ranges of the features that are numbers. */
const LIMITS: Partial<Record<keyof Features, readonly [low: number, high: number]>> = {
  sidSize: [0, 32],
  ssidSize: [0, 20],
  log2CommandQueue: [0, 19],
  log2EventQueue: [0, 19],
  log2PageRequestQueue: [0, 19],
  httu: [0, 2],
  stallModel: [0, 2],
  stallMax: [0, 1024],
};

interface Rule {
  readonly feature: keyof Features;
  /** True of a feature set that breaks it. */
  readonly isBroken: (features: Features) => boolean;
  /** What would be needed, and where that is said. */
  readonly because: string;
}

const RULES: readonly Rule[] = [
  {
    feature: "sidSize",
    isBroken: ({ sidSize, twoLevelStreamTable }) => sidSize >= 7 && !twoLevelStreamTable,
    because: "7 or more requires twoLevelStreamTable",
  },
  {
    feature: "stage1",
    isBroken: ({ stage1, stage2 }) => !stage1 && !stage2,
    because: "an SMMU without stage2 translates nothing then (§6.3.1 IDR0.S1P)",
  },
  {
    feature: "ssidSize",
    isBroken: ({ ssidSize, stage1 }) => ssidSize > 0 && !stage1,
    because: "substreams select CDs, which requires stage1 (§6.3.2 IDR1.SSIDSIZE)",
  },
  {
    feature: "twoLevelContextTable",
    isBroken: ({ twoLevelContextTable, ssidSize }) => twoLevelContextTable && ssidSize === 0,
    because: "tables of CDs require an ssidSize of 1 or more (§6.3.1 IDR0.CD2L)",
  },
  {
    feature: "hyp",
    isBroken: ({ hyp, stage1, stage2 }) => hyp && !(stage1 && stage2),
    because: "it requires stage1 and stage2 (§6.3.1 IDR0.Hyp)",
  },
  {
    feature: "vmid16",
    isBroken: ({ vmid16, stage2 }) => vmid16 && !stage2,
    because: "VMIDs require stage2 (§6.3.1 IDR0.VMID16)",
  },
  {
    feature: "xnx",
    isBroken: ({ xnx, stage2 }) => xnx && !stage2,
    because: "it is a permission of stage2 (§6.3.4 IDR3.XNX)",
  },
  {
    feature: "granule4K",
    isBroken: ({ granule4K, granule16K, granule64K }) => !granule4K && !granule16K && !granule64K,
    because: "one of granule4K, granule16K and granule64K is required (§6.3.6 IDR5)",
  },
  {
    feature: "vax",
    isBroken: ({ vax, granule64K }) => vax && !granule64K,
    because: "52 bits of input require granule64K while IDR5.DS is 0 (§6.3.6 IDR5.VAX)",
  },
  {
    feature: "stallMax",
    isBroken: ({ stallMax, stallModel }) => stallMax > 0 && stallModel === 1,
    because: "with stallModel 1 nothing stalls (§6.3.6 IDR5.STALL_MAX)",
  },
  {
    feature: "stallMax",
    isBroken: ({ stallMax, stallModel }) => stallMax === 0 && stallModel !== 1,
    because: "a stallModel other than 1 requires 1 or more (§6.3.6 IDR5.STALL_MAX)",
  },
  {
    feature: "pri",
    isBroken: ({ pri, ats }) => pri && !ats,
    because: "page requests require ats (§6.3.1 IDR0.PRI)",
  },
  {
    feature: "ats",
    isBroken: ({ ats, stallModel }) => ats && stallModel === 2,
    because: "PCI functions cannot be stalled, as stallModel 2 would (§3.12 IDR0.STALL_MODEL)",
  },
];

/** The first rule that a feature set breaks, in a sentence with both sides; undefined when it can be. */
export function brokenRule(features: Features): string | undefined {
  for (const [name, limits] of Object.entries(LIMITS)) {
    const value = features[name as keyof Features] as number;
    const [low, high] = limits;
    if (!Number.isInteger(value) || value < low || value > high) {
      const owner = name === "stallMax" || name === "httu" ? "this device" : "the architecture";
      return `Feature ${name} is ${value}, but ${owner} has ${low} to ${high}`;
    }
  }
  const broken = RULES.find(({ isBroken }) => isBroken(features));
  return broken &&
    `Feature ${broken.feature} is ${features[broken.feature]}, but ${broken.because}`;
}
