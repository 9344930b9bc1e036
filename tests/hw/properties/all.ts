/**
 * All properties.
 * @module
 */
import { coherence } from "./coherence.ts";
import { commandQueue } from "./command_queue.ts";
import { eventQueue } from "./event_queue.ts";
import { hitless } from "./hitless.ts";
import type { Property } from "./property.ts";
import { walk } from "./walk.ts";

/** All properties. */
export const PROPERTIES: readonly Property[] = [commandQueue, eventQueue, coherence, hitless, walk];
