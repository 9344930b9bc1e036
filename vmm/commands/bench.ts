/**
 * `vsmmu bench`: how fast the device is, as ratios to something in the same run.
 * @module
 */
import { allocatedBytes } from "../bench/allocation.ts";
import { DeviceWork, MISSES } from "../bench/device_work.ts";
import { compare, median } from "../bench/compare.ts";
import { COMMANDS, CoreWork, PAGES } from "../bench/core.ts";
import { type GuestTable, tableLines } from "../bench/guest_table.ts";
import { measureGuests } from "../bench/guests.ts";
import { describeMachine, machineLine } from "../bench/machine_description.ts";
import { measureInvalidations } from "../bench/invalidations.ts";
import { mapsKernel } from "../bench/maps_kernel.ts";
import { describeMeasure, type Measure } from "../bench/measure.ts";
import { type MicrovmOptions, type MicrovmResult, runMicrovm } from "../microvm.ts";
import { isKernelVersion } from "../provision/kernel.ts";
import { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { checkLines } from "../report.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";
import { GUEST_FLAGS, guestOf, PARTS_FLAGS, partsOf } from "./machine_flags.ts";

/** Operations that are looked at for what they allocate. */
const OPERATIONS = 10_000_000;
/** The least that an operation can allocate is more than that; what a round does besides is less. */
const MOST_ALLOCATED = 4;

const KERNEL_VARIABLE = "VSMMU_HOST_KERNEL";

/** The command. */
export const bench: Command = {
  name: "bench",
  summary: "measures the device core and a guest's disk, each beside a yardstick of the same run",
  flags: {
    core: { help: "Only the device core" },
    invalidations: {
      help: "Only what an invalidation costs, registers mapped and trapped, without a guest",
    },
    storage: { help: "Only the guest's disk, behind the SMMU, past it, and recorded" },
    guest: {
      help:
        `DMA mappings and disk of a guest behind QEMU's own SMMU, ours with registers trapped ` +
        `and mapped, and none. Wants a kernel with dma_map_benchmark: --kernel, $${KERNEL_VARIABLE}, ` +
        `or the one that hostvm builds`,
    },
    rounds: {
      value: "N",
      help: "How often each guest runs, or measures with --guest, 1 to 99; 3 by default",
    },
    seconds: {
      value: "N",
      help:
        "How long each kind of mapping is measured each time with --guest, 1 to 60; 1 by default",
    },
    threads: {
      value: "N,…",
      help: "How many threads map at once in --guest, 1 to 64; 1,2,4 by default",
    },
    pages: {
      value: "N,…",
      help: "How many pages each of their mappings has, 1 to 1024; 1,16,64 by default",
    },
    size: {
      value: "MIB",
      help: "How much the guest reads each time, a multiple of 8, at most the disk; 256 by default",
    },
    json: { help: "Print machine and measures as one JSON object" },
    ...GUEST_FLAGS,
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const guest = guestFrom(values, io);
  const rounds = values.integer("rounds", 3, 1, 99);
  const seconds = values.integer("seconds", 1, 1, 60);
  const threads = values.integers("threads", [1, 2, 4], 1, 64);
  const pages = values.integers("pages", [1, 16, 64], 1, 1024);
  const isAll = !["core", "invalidations", "storage", "guest"].some((flag) => values.on(flag));
  const measures: Measure[] = [];
  let isWhole = true;
  let guests: GuestTable | undefined;
  if (isAll || values.on("core")) measures.push(...await measureCore(io));
  if (isAll || values.on("invalidations")) {
    io.note("Measuring invalidations without a guest");
    measures.push(...await measureInvalidations(io.signal));
  }
  if (isAll || values.on("storage")) {
    const disk = await measureDisk(guest, rounds, io);
    measures.push(...disk.measures);
    isWhole = disk.isWhole;
  }
  if (values.on("guest")) {
    const kernel = await kernelOf(values, guest);
    guests = await measureGuests(
      { ...guest, parts: { ...guest.parts, kernel } },
      { rounds, seconds, threads, pages },
    );
    measures.push(...guests.aims);
  }
  const machine = describeMachine();
  if (values.on("json")) {
    io.out(JSON.stringify({ machine, measures, ...(guests ? { guests } : {}) }, undefined, 2));
  } else {
    for (const line of guests ? tableLines(guests) : []) io.out(line);
    for (const measure of measures) io.out(describeMeasure(measure));
    io.out(machineLine(machine));
  }
  return isWhole ? EXIT.ok : EXIT.failed;
}

/** The kernel for `--guest`. A version of Debian's is somebody's wish, although none has the benchmark today. */
async function kernelOf(
  values: Values,
  { parts, progress, signal }: MicrovmOptions,
): Promise<string> {
  const asked = values.text("kernel");
  if (asked !== undefined && isKernelVersion(asked)) return asked;
  const given = asked ?? (Deno.env.get(KERNEL_VARIABLE) || undefined);
  return await mapsKernel(given, { ...parts, progress, signal });
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
  const device = new DeviceWork();
  const works: [name: string, work: () => void, operations: number][] = [
    ["TLB hit", () => core.hit(), PAGES],
    ["four-level walk", () => core.miss(), PAGES],
    ["TLBI_NH_VA", () => core.commands(), COMMANDS],
    ["translation request", () => device.requests(), MISSES],
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
  rounds: number,
  { note }: Io,
): Promise<{ measures: Measure[]; isWhole: boolean }> {
  const append = `${guest.append} iommu.passthrough=1`.trim();
  using directory = await RuntimeDirectory.make();
  const record = { path: directory.file("bench.jsonl.gz") };
  const translating: MicrovmResult[] = [];
  const bypassing: MicrovmResult[] = [];
  const recorded: MicrovmResult[] = [];
  // In turns, so that all meet the same noise.
  for (let round = 1; round <= rounds; round++) {
    note(`Measuring the guest's disk behind the SMMU, ${round} of ${rounds}`);
    translating.push(await runMicrovm(guest));
    note(`Measuring the guest's disk with iommu.passthrough=1, ${round} of ${rounds}`);
    bypassing.push(await runMicrovm({ ...guest, append }));
    note(`Measuring the guest's disk behind the SMMU with --record, ${round} of ${rounds}`);
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
