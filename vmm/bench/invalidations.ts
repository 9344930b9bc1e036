/**
 * What an invalidation costs: how long a guest waits for it, and how long a processor of the host works. Without a guest: one
 * thread stores commands and spins, and the device thread answers.
 * @module
 */
import { delay } from "@std/async/delay";
import { processTimeUs, threadTimeUs } from "../../uapi/thread_clock.ts";
import type { IommufdKind } from "../device_configuration.ts";
import { DeviceThread } from "../device_thread.ts";
import type { RegisterKind } from "../register_page.ts";
import { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { median } from "./compare.ts";
import { Echo } from "./echo.ts";
import { InvalidatingGuest } from "./invalidating_guest.ts";
import type { Measure } from "./measure.ts";

/** A turn: so many questions to the device, then so many to the yardstick. */
const TURNS = 20;
const QUESTIONS = 1000;
/** What a guest does between two unmaps. */
const THINK_US = 10;
/** So long does nothing happen before nobody looks at registers any more, and so often is the device woken from that. */
const IDLE_MS = 1500;
const WAKES = 11;
/** How long the cost of idling is looked at. */
const REST_MS = 1000;

/** A device to be measured. */
interface Subject {
  readonly name: string;
  readonly registers: RegisterKind;
  readonly iommufd: IommufdKind;
}

/** The last is what the others are compared with. */
const SUBJECTS: readonly Subject[] = [
  { name: "mapped", registers: "mapped", iommufd: "model" },
  { name: "mapped, no iommufd", registers: "mapped", iommufd: "none" },
  { name: "trapped", registers: "trapped", iommufd: "model" },
];

/** What was seen of one, in microseconds. */
interface Times {
  /** How long answers took, those of the yardstick, and those after a rest. */
  readonly answers: readonly number[];
  readonly echoes: readonly number[];
  readonly firsts: readonly number[];
  /** Processor time of the host for each invalidation. */
  readonly hostUs: number;
  /** Processor time of the host while nothing happens, of each second. */
  readonly idleUs: number;
}

/** Measures it with registers mapped and trapped, with a model of iommufd behind the SMMU and without. */
export async function measureInvalidations(signal: AbortSignal): Promise<Measure[]> {
  const times: Times[] = [];
  for (const subject of SUBJECTS) times.push(await timesOf(subject, signal));
  const trapped = times.at(-1);
  return SUBJECTS.flatMap((subject, i) =>
    describe(subject, times[i], times[i] === trapped ? undefined : trapped)
  );
}

async function timesOf({ registers, iommufd }: Subject, signal: AbortSignal): Promise<Times> {
  using directory = await RuntimeDirectory.make();
  const smmuSocketPath = directory.file("smmu.sock");
  const memory = registers === "mapped"
    ? { smmuMemorySocketPath: directory.file("memory.sock") }
    : {};
  await using devices = await DeviceThread.start({
    smmuSocketPath,
    ...memory,
    registers,
    iommufd,
    endpoints: [{ kind: "dma-test", socketPath: directory.file("dma.sock"), streamId: 8 }],
  }, () => {});
  using echo = new Echo();
  using guest = new InvalidatingGuest(smmuSocketPath, memory.smmuMemorySocketPath);
  devices.showBy((areMemory) => {
    guest.show(areMemory);
    return Promise.resolve();
  });
  const [answers, echoes, firsts]: number[][] = [[], [], []];
  let hostUs = 0;
  for (let turn = -1; turn < TURNS; turn++) {
    await delay(0, { signal });
    const before = othersTimeUs();
    const answered = questions(() => guest.invalidate());
    const spentUs = othersTimeUs() - before;
    echo.keepAwake(true);
    echo.ask();
    const echoed = questions(() => echo.ask());
    echo.keepAwake(false);
    if (turn < 0) continue;
    answers.push(...answered);
    echoes.push(...echoed);
    hostUs += spentUs / QUESTIONS / TURNS;
  }
  for (let wake = 0; wake < WAKES; wake++) {
    await delay(IDLE_MS, { signal });
    firsts.push(guest.invalidate());
  }
  await delay(IDLE_MS, { signal });
  const before = othersTimeUs();
  await delay(REST_MS, { signal });
  const idleUs = (othersTimeUs() - before) * 1000 / REST_MS;
  return { answers, echoes, firsts, hostUs, idleUs };
}

function questions(ask: () => number): number[] {
  return Array.from({ length: QUESTIONS }, () => {
    const us = ask();
    const end = performance.now() + THINK_US / 1000;
    while (performance.now() < end);
    return us;
  });
}

/** Processor time of all threads but this one. */
function othersTimeUs(): number {
  return processTimeUs() - threadTimeUs();
}

function describe({ name }: Subject, times: Times, trapped: Times | undefined): Measure[] {
  const { answers, echoes, firsts, hostUs, idleUs } = times;
  const us = (what: string, value: number, yardstick?: number): Measure => ({
    name: `${what}, ${name}`,
    value,
    unit: "µs",
    ...(yardstick === undefined ? {} : { yardstick, ratio: value / yardstick }),
  });
  const first = us(
    "First invalidation after a rest",
    median(firsts),
    trapped && median(trapped.firsts),
  );
  return [
    us("Invalidation", median(answers), median(echoes)),
    us("Fastest of ten invalidations", percentile(answers, 10), percentile(echoes, 10)),
    us("Slowest of a hundred", percentile(answers, 99), percentile(echoes, 99)),
    us("Host time of an invalidation", hostUs),
    trapped === undefined ? first : {
      ...first,
      aim: "at most 100 µs more than trapped",
      isWithin: first.value <= median(trapped.firsts) + 100,
    },
    {
      name: `Host time at rest, ${name}`,
      value: idleUs / 1e4,
      unit: "%",
      aim: "at most 3 % of a processor",
      isWithin: idleUs <= 3e4,
    },
  ];
}

function percentile(values: readonly number[], percent: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * percent / 100)];
}
