/**
 * The features of a device that a hostile guest plays with.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import type { Random } from "../random.ts";

/** All features, so many that what is there can be met; or few. */
export function chooseFeatures(random: Random): Partial<Features> {
  const log2CommandQueue = random.of([4, 6, 8]);
  const log2EventQueue = random.of([0, 2, 6]);
  const queues = { log2CommandQueue, log2EventQueue };
  if (random.oneIn(5)) {
    return { ...queues, ssidSize: random.of([0, 4, 20]), oas: random.of([32, 40, 48]) };
  }
  return {
    ...queues,
    ssidSize: random.of([4, 10, 20]),
    oas: random.of([44, 48, 52]),
    stage2: true,
    vmid16: random.oneIn(2),
    hyp: random.oneIn(2),
    granule16K: true,
    granule64K: true,
    vax: true,
    xnx: random.oneIn(2),
    twoLevelContextTable: true,
    httu: 2,
    ...(random.oneIn(3) ? {} : { stallModel: 0, stallMax: random.of([1, 3, 16]) }),
    ats: true,
    pri: true,
  };
}
