/**
 * `vsmmu bench`: how fast the device is, as ratios to something in the same run.
 * @module
 */
import { compare, median } from "../bench/compare.ts";
import { COMMANDS, CoreWork, PAGES } from "../bench/core.ts";
import { type MicrovmResult, runMicrovm } from "../microvm.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";
import { GUEST_FLAGS, PARTS_FLAGS, partsOf } from "./machine_flags.ts";

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
      help: "How much the guest reads each time; 256 by default, a multiple of 8",
    },
    json: { help: "Print the measures as one JSON object" },
    ...GUEST_FLAGS,
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const both = values.on("core") === values.on("guest");
  const measures = [
    ...(both || values.on("core") ? measureCore(io) : []),
    ...(both || values.on("guest") ? await measureDisk(values, io) : []),
  ];
  if (values.on("json")) io.out(JSON.stringify({ measures }, undefined, 2));
  else for (const measure of measures) io.out(describe(measure));
  return EXIT.ok;
}

function measureCore(io: Io): Measure[] {
  io.note("Measuring the device core");
  const core = new CoreWork();
  const hit = compare(() => core.hit(), () => void core.minimalHit());
  const miss = compare(() => core.miss(), () => void core.minimalMiss());
  const commands = compare(() => core.commands(), () => {});
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
  ];
}

function ratio(name: string, value: number, yardstick: number, most: number): Measure {
  const ratio = value / yardstick;
  const aim = `at most ${most} times a minimal loop`;
  return { name, value, unit: "ns", yardstick, ratio, aim, isWithin: ratio <= most };
}

async function measureDisk(values: Values, io: Io): Promise<Measure[]> {
  io.note("Measuring the guest's disk behind the SMMU");
  const translating = await runGuest(values, io, "");
  io.note("Measuring the guest's disk with iommu.passthrough=1");
  const bypassing = await runGuest(values, io, "iommu.passthrough=1");
  return (["read", "write"] as const).flatMap((direction) => {
    const value = throughput(translating, direction);
    const yardstick = throughput(bypassing, direction);
    if (value === undefined || yardstick === undefined) return [];
    return [{
      name: `Guest disk, sequential ${direction}`,
      value,
      unit: "MiB/s",
      yardstick,
      ratio: value / yardstick,
      aim: "at least 0.7 of iommu.passthrough=1",
      isWithin: value / yardstick >= 0.7,
    }];
  });
}

async function runGuest(values: Values, io: Io, append: string): Promise<MicrovmResult> {
  const result = await runMicrovm({
    parts: partsOf(values),
    cpuCount: values.integer("smp", 2, 1, 64),
    memoryMiB: values.integer("memory", 1024, 256, 65536),
    append: `${values.text("append") ?? ""} ${append}`.trim(),
    actions: ["bench"],
    benchMiB: values.integer("size", 256, 8, 65536),
    interrupts: values.choice("interrupts", "msix", ["msix", "intx"]),
    interactive: false,
    timeoutSeconds: 600,
    console: () => {},
    progress: io.note,
    signal: io.signal,
  });
  for (const { name, ok, seen } of result.checks) if (!ok) io.note(`FAILED  ${name}: ${seen}`);
  return result;
}

/** MiB a second: the median of the guest's rounds. */
function throughput({ transfers }: MicrovmResult, direction: string): number | undefined {
  const rates = transfers
    .filter((transfer) => transfer.direction === direction)
    .map(({ bytes, seconds }) => bytes / seconds / 2 ** 20);
  return rates.length === 0 ? undefined : median(rates);
}

function describe({ name, value, unit, yardstick, ratio, aim, isWithin }: Measure): string {
  const against = yardstick === undefined || ratio === undefined
    ? ""
    : ` against ${yardstick.toFixed(1)}: ${ratio.toFixed(2)}`;
  const measured = `${value.toFixed(1)} ${unit}${against}`;
  return `${name.padEnd(30)} ${measured.padEnd(36)} ${aim}: ${isWithin ? "yes" : "NO"}`;
}
