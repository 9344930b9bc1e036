/**
 * `vsmmu microvm`: a Linux guest behind our SMMUv3, from nothing.
 * @module
 */
import { runMicrovm } from "../microvm.ts";
import { resultLines } from "../report.ts";
import { type Command, EXIT, type Io, UsageError, type Values } from "./command.ts";
import { GUEST_FLAGS, guestOf, PARTS_FLAGS, partsOf } from "./machine_flags.ts";
import { RECORD_FLAGS, recordingOf } from "./record_flags.ts";

const ACTIONS: readonly string[] = [
  "disk",
  "fault",
  "domains",
  "renumber",
  "bench",
  "maps",
  "ats",
  "shell",
  "reboot",
];
const LONGEST_S = 86_400;

/** The command. */
export const microvm: Command = {
  name: "microvm",
  summary:
    "boots an arm64 Linux under QEMU with its disk behind our SMMUv3, and says what happened",
  flags: {
    ...GUEST_FLAGS,
    fault: { help: "The DMA test device writes to an unmapped address first" },
    run: {
      value: "ACTIONS",
      help:
        `What the guest does, of ${ACTIONS.join(",")}, in this order; after a reboot it goes on; ` +
        `disk by default, nothing with --disk`,
    },
    "bench-size": {
      value: "MIB",
      help: "How much bench reads each time, a multiple of 8, at most the disk; 256 by default",
    },
    ...RECORD_FLAGS,
    timeout: {
      value: "SECONDS",
      help: "Ends a guest that takes longer; 300 by default, a day with a shell",
    },
    quiet: { help: "Do not show the guest's console" },
    json: { help: "Print the result as one JSON object; the console goes to standard error" },
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const json = values.on("json");
  const actions = actionsOf(values);
  const interactive = actions.includes("shell");
  if (interactive && json) {
    throw new UsageError("Cannot use --json with a shell: both want standard output");
  }
  const show = json ? io.note : io.out;
  const result = await runMicrovm({
    ...guestOf(values),
    parts: partsOf(values),
    record: recordingOf(values),
    actions,
    benchMiB: values.integer("bench-size", 256, 8, 65536, 8),
    interactive,
    timeoutSeconds: values.integer("timeout", interactive ? LONGEST_S : 300, 1, LONGEST_S),
    console: values.on("quiet") ? () => {} : show,
    progress: io.note,
    signal: io.signal,
  });
  if (json) io.out(JSON.stringify({ ...result, kernel: result.kernel ?? null }, undefined, 2));
  else for (const line of resultLines(result)) io.out(line);
  return result.ok ? EXIT.ok : EXIT.failed;
}

function actionsOf(values: Values): string[] {
  const otherwise = values.text("disk") === undefined ? "disk" : "";
  const words = (values.text("run") ?? otherwise).split(",").filter((word) => word !== "");
  const unknown = words.find((word) => !ACTIONS.includes(word));
  if (unknown !== undefined) {
    throw new UsageError(`Cannot use --run ${unknown}: it is one of ${ACTIONS.join(", ")}`);
  }
  return values.on("fault") && !words.includes("fault") ? ["fault", ...words] : words;
}
