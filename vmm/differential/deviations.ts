/**
 * Where QEMU's SMMUv3 is known to go another way than the architecture, or may.
 * @module
 */
import { CONFIGURATION } from "./deviations/configuration.ts";
import type { Deviation } from "./deviations/deviation.ts";
import { REGISTERS } from "./deviations/registers.ts";
import { STAGE_ONE_TABLES } from "./deviations/stage_one_tables.ts";
import { WALKS } from "./deviations/walks.ts";

/** All of them; the first that explains a difference is its name. */
export const DEVIATIONS: readonly Deviation[] = [
  ...REGISTERS,
  ...CONFIGURATION,
  ...WALKS,
  ...STAGE_ONE_TABLES,
];
