/**
 * The features of a device that a hostile guest plays with.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import type { Dice } from "./dice.ts";

/** All features, so many that what is there can be met; or few. */
export function chooseFeatures(dice: Dice): Partial<Features> {
  const log2CommandQueue = dice.of([4, 6, 8]);
  const log2EventQueue = dice.of([0, 2, 6]);
  const queues = { log2CommandQueue, log2EventQueue };
  if (dice.oneIn(5)) {
    return { ...queues, ssidSize: dice.of([0, 4, 20]), oas: dice.of([32, 40, 48]) };
  }
  return {
    ...queues,
    ssidSize: dice.of([4, 10, 20]),
    oas: dice.of([44, 48, 52]),
    stage2: true,
    vmid16: dice.oneIn(2),
    hyp: dice.oneIn(2),
    granule16K: true,
    granule64K: true,
    vax: true,
    xnx: dice.oneIn(2),
    twoLevelContextTable: true,
    httu: 2,
    ...(dice.oneIn(3) ? {} : { stallModel: 0, stallMax: dice.of([1, 3, 16]) }),
    ats: true,
    pri: true,
  };
}
