/**
 * `vsmmu bench`: how fast the device is, as ratios to something in the same run.
 * @module
 */
import { compare, median } from "../bench/compare.ts";
import { COMMANDS, CoreWork, PAGES } from "../bench/core.ts";
import { type MicrovmOptions, type MicrovmResult, runMicrovm } from "../microvm.ts";
import { checkLines } from "../report.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";
import { GUEST_FLAGS, guestOf, PARTS_FLAGS, partsOf } from "./machine_flags.ts";

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
  ];
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
  note("Measuring the guest's disk behind the SMMU");
  const translating = await runMicrovm(guest);
  note("Measuring the guest's disk with iommu.passthrough=1");
  const append = `${guest.append} iommu.passthrough=1`.trim();
  const bypassing = await runMicrovm({ ...guest, append });
  const failures = [translating, bypassing].flatMap(({ checks }) => checks.filter(({ ok }) => !ok));
  for (const line of checkLines(failures)) note(line);
  const measures = (["read", "write"] as const).flatMap((direction) => {
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
  return { measures, isWhole: failures.length === 0 };
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
