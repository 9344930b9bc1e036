/**
 * Random programs of the comparison with QEMU's SMMUv3, for ours alone: both stages and all granules, configuration that
 * is wrong, commands good and bad.
 * @module
 */
import { PLACE, READERS, WRITERS } from "../../differential/ground.ts";
import { generate } from "../../differential/generate.ts";
import { PEER_FEATURES } from "../../differential/own_subject.ts";
import type { Program, Step } from "../../differential/program.ts";
import { run } from "../../differential/transcript.ts";
import type { BareProgram } from "./bare_machine.ts";

const FIRST_SEED = 1;
const PROGRAMS = 40;

/** The program: many of them, one after the other. */
export const TABLES_PROGRAM: BareProgram = {
  name: "programs without a guest: stage 1, stage 2 and both, with granules of 4, 16 and 64 KiB",
  features: PEER_FEATURES,
  endpoints: [...WRITERS, ...READERS].map((streamId) => ({ streamId })),
  run: async (subject) => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + PROGRAMS; seed++) {
      await run(written(generate(seed)), subject);
    }
  },
};

/** All functions of this machine write. */
function written(program: Program): Program {
  const steps = program.steps.map((step): Step =>
    step.kind === "fetch"
      ? { kind: "write", stream: step.stream, iova: step.iova, bytes: step.bytes, gpa: PLACE.data }
      : step
  );
  return { ...program, steps };
}
