/**
 * `vsmmu microvm`: a Linux guest behind our SMMUv3, from nothing.
 * @module
 */
import { type MicrovmResult, runMicrovm } from "../microvm.ts";
import { checkLines, summaryLines } from "../report.ts";
import { type Command, EXIT, type Io, UsageError, type Values } from "./command.ts";
import { GUEST_FLAGS, PARTS_FLAGS, partsOf } from "./machine_flags.ts";

const ACTIONS: readonly string[] = ["disk", "fault", "bench", "shell"];

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
      help: `What the guest does, of ${ACTIONS.join(",")}; disk by default, nothing with --disk`,
    },
    "bench-size": {
      value: "MIB",
      help: "How much bench reads each time, a multiple of 8; 256 by default",
    },
    record: { value: "FILE", help: "Record what passes the SMMU's doors; see vsmmu replay" },
    timeout: { value: "SECONDS", help: "Ends a guest that takes longer; 300 by default" },
    quiet: { help: "Do not show the guest's console" },
    json: { help: "Print the result as one JSON object; the console goes to standard error" },
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const json = values.on("json");
  const actions = actionsOf(values);
  const show = json ? io.note : io.out;
  const result = await runMicrovm({
    parts: partsOf(values),
    cpuCount: values.integer("smp", 2, 1, 64),
    memoryMiB: values.integer("memory", 1024, 256, 65536),
    append: values.text("append") ?? "",
    actions,
    benchMiB: values.integer("bench-size", 256, 8, 65536),
    interrupts: values.choice("interrupts", "msix", ["msix", "intx"]),
    record: values.text("record"),
    interactive: actions.includes("shell"),
    timeoutSeconds: values.integer("timeout", 300, 1, 86400),
    console: values.on("quiet") ? () => {} : show,
    progress: io.note,
    signal: io.signal,
  });
  if (json) io.out(JSON.stringify(result, undefined, 2));
  else print(result, io);
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

function print(result: MicrovmResult, io: Io): void {
  const { seconds } = result;
  io.out("");
  for (const line of summaryLines(result.summary)) io.out(line);
  io.out("");
  for (const { direction, bytes, seconds } of result.transfers) {
    const rate = bytes / seconds / 2 ** 20;
    io.out(
      `Guest ${direction}  ${bytes / 2 ** 20} MiB in ${seconds.toFixed(2)} s, ${
        rate.toFixed(1)
      } MiB/s`,
    );
  }
  for (const line of checkLines(result.checks)) io.out(line);
  io.out("");
  io.out(
    `${result.ok ? "All held" : "NOT all held"}: QEMU ${result.qemu}, Linux ${
      result.kernel ?? "?"
    }; ` +
      `${seconds.guest.toFixed(1)} s for the guest, ${
        seconds.provision.toFixed(1)
      } s to get its parts`,
  );
}
