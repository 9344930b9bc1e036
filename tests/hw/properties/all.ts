/**
 * All properties.
 * @module
 */
import { ats } from "./ats.ts";
import { bringUp } from "./bring_up.ts";
import { coherence } from "./coherence.ts";
import { commandQueue } from "./command_queue.ts";
import { eventQueue } from "./event_queue.ts";
import { hitless } from "./hitless.ts";
import type { Property } from "./property.ts";
import { race } from "./race.ts";
import { registers } from "./registers.ts";
import { snapshots } from "./snapshots.ts";
import { stalls } from "./stalls.ts";
import { substreams } from "./substreams.ts";
import { walk } from "./walk.ts";

/** All properties. */
export const PROPERTIES: readonly Property[] = [
  commandQueue,
  eventQueue,
  coherence,
  hitless,
  walk,
  race,
  substreams,
  stalls,
  ats,
  snapshots,
  registers,
  bringUp,
];

/** Those in which registers are written again and again, also held against a device whose registers are memory. */
export const MAPPED_PROPERTIES: readonly Property[] = [
  commandQueue,
  eventQueue,
  coherence,
  stalls,
  registers,
  bringUp,
];
