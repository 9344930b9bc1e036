/**
 * `vsmmu replay`: recorded guests against a fresh device.
 * @module
 */
import { type Divergence, divergenceLines } from "../trace/replay/divergence.ts";
import { type RunOptions, runReplay, type RunResult } from "../trace/replay/replayer_run.ts";
import { parseSnapshot, snapshotText } from "../trace/replay/replayer_snapshot.ts";
import { openTrace, TraceError } from "../trace/trace_file.ts";
import type { Disagreement } from "../iommufd/twin.ts";
import type { TraceHeader } from "../trace/format.ts";
import { KernelBeside } from "../trace/replay/kernel_beside.ts";
import { DEVICE_FLAG, deviceOf } from "./device_flag.ts";
import { type Command, EXIT, type Io, UsageError, type Values } from "./command.ts";

/** The last line that a trace may have. */
const LAST_LINE = Number.MAX_SAFE_INTEGER;
const MOST_SHOWN = 10;

/** The command. */
export const replay: Command = {
  name: "replay",
  summary: "feeds recorded guests to a fresh device and stops at the first difference",
  operand: "FILE…",
  flags: {
    seek: { value: "LINE", help: "Tell what is around this line, and only divergences from there" },
    until: { value: "LINE", help: "Stop after this line" },
    all: { help: "Go on after a divergence; count them, and show the first of each kind" },
    snapshot: { value: "PATH", help: "Write the state of the replay at its end, or at --until" },
    "from-snapshot": { value: "PATH", help: "Begin with such a state instead of a fresh device" },
    ...DEVICE_FLAG,
    iommufd: {
      value: "KIND",
      help:
        "What is asked where a trace has an iommufd: model (default), or kernel, this machine's too",
    },
    devices: {
      value: "PATH,…",
      help:
        "VFIO devices for --iommufd kernel, such as /dev/vfio/devices/vfio0, one for each stream",
    },
    json: { help: "Print the result as one JSON object" },
  },
  run: runCommand,
};

/** What came of one file. */
interface FileResult extends RunResult {
  readonly file: string;
  /** Where the kernel answered otherwise than the model. */
  readonly disagreements: readonly Disagreement[];
  readonly seconds: number;
}

async function runCommand(values: Values, io: Io): Promise<number> {
  const { operands } = values;
  for (const flag of ["seek", "snapshot", "from-snapshot"]) {
    if (operands.length > 1 && values.on(flag)) {
      throw new UsageError(`Cannot use --${flag} with ${operands.length} files: it is for one`);
    }
  }
  const plan = {
    seek: values.integer("seek", 0, 2, LAST_LINE),
    until: values.integer("until", LAST_LINE, 2, LAST_LINE),
    all: values.on("all"),
    make: await deviceOf(values),
  };
  const results: FileResult[] = [];
  for (const file of operands) {
    const result = await replayFile(file, plan, values, io).catch((error) => {
      // One file that cannot be read does not keep the others from being replayed.
      if (operands.length === 1 || !(error instanceof TraceError)) throw error;
      return unreadable(file, error);
    });
    results.push(result);
    if (!values.on("json")) { for (const line of resultLines(result)) io.out(line); }
    if (result.damage !== undefined) io.note(result.damage.message);
  }
  if (values.on("json")) io.out(JSON.stringify(jsonOf(results), undefined, 2));
  if (results.some(({ damage }) => damage !== undefined)) return EXIT.environment;
  const isSame = results.every(({ kinds, disagreements }) =>
    kinds.length === 0 && disagreements.length === 0
  );
  return isSame ? EXIT.ok : EXIT.failed;
}

async function replayFile(
  file: string,
  plan: RunOptions,
  values: Values,
  io: Io,
): Promise<FileResult> {
  const began = performance.now();
  const { header, operations } = await openTrace(file);
  const path = values.text("from-snapshot");
  const from = path === undefined
    ? undefined
    : parseSnapshot(await Deno.readTextFile(path), path, header);
  const onLine = progress(file, io);
  using beside = besideOf(values, header, file);
  const { result, replayer } = await runReplay(header, operations, {
    ...plan,
    from,
    onLine,
    beside,
  });
  const to = values.text("snapshot");
  if (to !== undefined) await Deno.writeTextFile(to, snapshotText(header, replayer.snapshot()));
  const disagreements = beside?.disagreements ?? [];
  return { ...result, file, disagreements, seconds: (performance.now() - began) / 1000 };
}

/** The kernel's iommufd, where that is asked for. */
function besideOf(
  values: Values,
  { iommufd }: TraceHeader,
  file: string,
): KernelBeside | undefined {
  if (values.choice("iommufd", "model", ["model", "kernel"]) === "model") return undefined;
  if (iommufd === undefined) {
    throw new UsageError(
      `Cannot use --iommufd kernel with ${file}: it was recorded without iommufd`,
    );
  }
  const devices = (values.text("devices") ?? "").split(",").filter((path) => path !== "");
  if (devices.length !== iommufd.streams.length) {
    throw new UsageError(
      `Cannot use --devices with ${devices.length} paths: ${file} has ${iommufd.streams.length} streams`,
    );
  }
  return new KernelBeside(devices);
}

function unreadable(file: string, damage: Error): FileResult {
  const nothing = {
    operations: 0,
    line: 0,
    kinds: [],
    passedOver: 0,
    around: [],
    seconds: 0,
    disagreements: [],
  };
  return { ...nothing, file, damage };
}

/** Says where it is every two seconds, and ends on Ctrl-C. */
function progress(file: string, io: Io): (line: number) => void {
  let next = performance.now() + 2000;
  return (line) => {
    if ((line & 0x3ff) !== 0) return;
    io.signal.throwIfAborted();
    if (performance.now() < next) return;
    next += 2000;
    io.note(`${file}: line ${line}`);
  };
}

function resultLines(result: FileResult): string[] {
  const { file, operations, line, seconds, kinds, passedOver, around, damage } = result;
  const lines = around.map(({ line, what }) => `  line ${line}: ${what}`);
  if (lines.length > 0) lines.push("");
  for (const { first, count } of kinds) {
    lines.push(...divergenceLines(first, file));
    if (count > 1) lines.push(`${count} divergences of this kind: ${first.kind}`);
    lines.push("");
  }
  const before = passedOver === 0 ? "" : `, ${passedOver} divergences before were passed over`;
  const total = kinds.reduce((sum, { count }) => sum + count, 0);
  const said = kinds.length > 0
    ? `${total === 1 ? "1 divergence" : `${total} divergences of ${kinds.length} kinds`}`
    : operations === 0
    ? "nothing was compared"
    : `identical, ${Math.round(operations / seconds)} a second`;
  const end = damage === undefined ? "" : `, up to line ${line}`;
  for (const { number, call, first, second } of result.disagreements.slice(0, MOST_SHOWN)) {
    lines.push(`iommufd call ${number}: ${call}`, `  model ${first}, kernel ${second}`);
  }
  return [...lines, `${file}: ${operations} operations, ${said}${before}${end}`];
}

function jsonOf(results: readonly FileResult[]): unknown {
  const files = results.map((result) => {
    const { file, operations, line, seconds, kinds, passedOver, around, damage } = result;
    const { disagreements } = result;
    const ok = kinds.length === 0 && damage === undefined && disagreements.length === 0;
    const divergence: Divergence | null = kinds[0]?.first ?? null;
    const error = damage?.message ?? null;
    return {
      file,
      ok,
      operations,
      line,
      seconds,
      error,
      divergence,
      kinds,
      passedOver,
      around,
      disagreements,
    };
  });
  return { ok: files.every(({ ok }) => ok), files };
}
