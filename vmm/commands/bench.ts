/**
 * `vsmmu bench`: how fast the device is, as ratios to something in the same run.
 * @module
 */
import { allocatedBytes } from "../bench/allocation.ts";
import { compare, median } from "../bench/compare.ts";
import { COMMANDS, CoreWork, PAGES } from "../bench/core.ts";
import { type MicrovmOptions, type MicrovmResult, runMicrovm } from "../microvm.ts";
import { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { checkLines } from "../report.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";
import { GUEST_FLAGS, guestOf, PARTS_FLAGS, partsOf } from "./machine_flags.ts";

/** Operations that are looked at for what they allocate. */
const OPERATIONS = 10_000_000;
/** The least that an operation can allocate is more than that; what a round does besides is less. */
const MOST_ALLOCATED = 4;

/** How often each guest runs. */
const ROUNDS = 3;

/** One line of the table. */
interface Measure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it is compared with, in the same unit. */
  readonly yardstick?: number;
  /** The value divided by the yardstick. */
  readonly ratio?: number;
  /** What was aimed at, as people say it. */
  readonly aim: string;
  readonly isWithin: boolean;
}

/** The command. */
export const bench: Command = {
  name: "bench",
  summary: "measures the device core and a guest's disk, each beside a yardstick of the same run",
  flags: {
    core: { help: "Only the device core" },
    guest: { help: "Only the guest's disk" },
    size: {
      value: "MIB",
      help: "How much the guest reads each time, a multiple of 8, at most the disk; 256 by default",
    },
    json: { help: "Print the measures as one JSON object" },
    ...GUEST_FLAGS,
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const isBoth = values.on("core") === values.on("guest");
  const guest = guestFrom(values, io);
  const measures: Measure[] = [];
  let isWhole = true;
  if (isBoth || values.on("core")) measures.push(...await measureCore(io));
  if (isBoth || values.on("guest")) {
    const disk = await measureDisk(guest, io);
    measures.push(...disk.measures);
    isWhole = disk.isWhole;
  }
  if (values.on("json")) io.out(JSON.stringify({ measures }, undefined, 2));
  else for (const measure of measures) io.out(describe(measure));
  return isWhole ? EXIT.ok : EXIT.failed;
}

async function measureCore({ note, signal }: Io): Promise<Measure[]> {
  note("Measuring the device core");
  const core = new CoreWork();
  const hit = await compare(() => core.hit(), () => void core.minimalHit(), signal);
  const miss = await compare(() => core.miss(), () => void core.minimalMiss(), signal);
  const commands = await compare(() => core.commands(), () => {}, signal);
  const perSecond = COMMANDS * 1e9 / commands.subjectNs;
  return [
    {
      name: "TLBI_NH_VA consumed",
      value: perSecond / 1e6,
      unit: "million/s",
      aim: "at least 3",
      isWithin: perSecond >= 3e6,
    },
    ratio("Translation, TLB hit", hit.subjectNs / PAGES, hit.yardstickNs / PAGES, 4),
    ratio("Translation, four-level walk", miss.subjectNs / PAGES, miss.yardstickNs / PAGES, 3),
    ...measureAllocation(core),
  ];
}

/** Ten million of each: nothing is allocated for one. */
function measureAllocation(core: CoreWork): Measure[] {
  const works: [name: string, work: () => void, operations: number][] = [
    ["TLB hit", () => core.hit(), PAGES],
    ["four-level walk", () => core.miss(), PAGES],
    ["TLBI_NH_VA", () => core.commands(), COMMANDS],
  ];
  return works.map(([name, work, operations]) => {
    const value = allocatedBytes(work, operations, OPERATIONS);
    return {
      name: `Allocated for a ${name}`,
      value,
      unit: "bytes",
      aim: "less than 4, none for each of ten million",
      isWithin: value < MOST_ALLOCATED,
    };
  });
}

function ratio(name: string, value: number, yardstick: number, most: number): Measure {
  const ratio = value / yardstick;
  const aim = `at most ${most} times a minimal loop`;
  return { name, value, unit: "ns", yardstick, ratio, aim, isWithin: ratio <= most };
}

/** The disk in both directions; it is not the whole story when a guest did not do what it should. */
async function measureDisk(
  guest: MicrovmOptions,
  { note }: Io,
): Promise<{ measures: Measure[]; isWhole: boolean }> {
  const append = `${guest.append} iommu.passthrough=1`.trim();
  using directory = await RuntimeDirectory.make();
  const record = { path: directory.file("bench.jsonl.gz") };
  const translating: MicrovmResult[] = [];
  const bypassing: MicrovmResult[] = [];
  const recorded: MicrovmResult[] = [];
  // In turns, so that all meet the same noise.
  for (let round = 1; round <= ROUNDS; round++) {
    note(`Measuring the guest's disk behind the SMMU, ${round} of ${ROUNDS}`);
    translating.push(await runMicrovm(guest));
    note(`Measuring the guest's disk with iommu.passthrough=1, ${round} of ${ROUNDS}`);
    bypassing.push(await runMicrovm({ ...guest, append }));
    note(`Measuring the guest's disk behind the SMMU with --record, ${round} of ${ROUNDS}`);
    recorded.push(await runMicrovm({ ...guest, record }));
  }
  const failures = [...translating, ...bypassing, ...recorded]
    .flatMap(({ checks }) => checks.filter(({ ok }) => !ok));
  for (const line of checkLines(failures)) note(line);
  const measures = [
    ...disk("Guest disk", translating, bypassing, 0.7, "iommu.passthrough=1"),
    ...disk("Recorded guest disk", recorded, translating, 0.75, "one without --record"),
  ];
  return { measures, isWhole: failures.length === 0 };
}

/** Both directions of some runs beside those of others. */
function disk(
  name: string,
  runs: readonly MicrovmResult[],
  others: readonly MicrovmResult[],
  least: number,
  what: string,
): Measure[] {
  return ["read", "write"].flatMap((direction) => {
    const value = throughput(runs, direction);
    const yardstick = throughput(others, direction);
    if (value === undefined || yardstick === undefined) return [];
    return [{
      name: `${name}, sequential ${direction}`,
      value,
      unit: "MiB/s",
      yardstick,
      ratio: value / yardstick,
      aim: `at least ${least} of ${what}`,
      isWithin: value / yardstick >= least,
    }];
  });
}

function guestFrom(values: Values, io: Io): MicrovmOptions {
  return {
    ...guestOf(values),
    parts: partsOf(values),
    actions: ["bench"],
    benchMiB: values.integer("size", 256, 8, 65536, 8),
    interactive: false,
    timeoutSeconds: 600,
    console: () => {},
    progress: io.note,
    signal: io.signal,
  };
}

/** MiB a second: the median of the guests' rounds. */
function throughput(runs: readonly MicrovmResult[], direction: string): number | undefined {
  const rates = runs.flatMap(({ transfers }) => transfers)
    .filter((transfer) => transfer.direction === direction)
    .map(({ bytes, seconds }) => bytes / seconds / 2 ** 20);
  return rates.length === 0 ? undefined : median(rates);
}

function describe({ name, value, unit, yardstick, ratio, aim, isWithin }: Measure): string {
  const against = yardstick === undefined || ratio === undefined
    ? ""
    : ` against ${yardstick.toFixed(1)}: ${ratio.toFixed(2)}`;
  const measured = `${value.toFixed(1)} ${unit}${against}`;
  return `${name.padEnd(38)} ${measured.padEnd(36)} ${aim}: ${isWithin ? "yes" : "NO"}`;
}
