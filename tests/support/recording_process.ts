/**
 * Records until it is killed, once a millisecond: `recording_process.ts FILE`. Prints the seconds on its clock.
 * @module
 */
import { Recorder } from "../../vmm/trace/recorder.ts";
import { Recording } from "../../vmm/trace/recording.ts";
import { TextRing } from "../../vmm/trace/ring.ts";
import { SMALL_HEADER } from "./small_trace.ts";

const recording = new Recording({ path: Deno.args[0] }, {}, () => {});
const ring = new TextRing(recording.configuration.ring);
const now = (): number => performance.now() / 1000;
const recorder = new Recorder(SMALL_HEADER, (line) => ring.write(line), now);
const registers = recorder.device({ read: (_, into) => void into.fill(0), write: () => {} });
setInterval(() => {
  for (let i = 0; i < 20; i++) registers.read(0x24, new Uint8Array(4));
  Deno.stdout.writeSync(new TextEncoder().encode(`${now()}\n`));
}, 1);
