/**
 * What an invalidation costs where registers are memory: how long a guest waits for it, and how long a processor of the host
 * works. Without a guest: one thread stores commands and spins, and the device thread answers.
 * @module
 */
import { delay } from "@std/async/delay";
import { processTimeUs, threadTimeUs } from "../../uapi/thread_clock.ts";
import type { IommufdKind } from "../device_configuration.ts";
import { DeviceThread } from "../device_thread.ts";
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
/** So long does nothing happen before the watcher counts as idle, and so often is it woken from that. */
const IDLE_MS = 150;
const WAKES = 20;
/** How long the cost of idling is looked at. */
const REST_MS = 1000;

/** Medians and others, in microseconds. */
interface Times {
  readonly answers: readonly number[];
  readonly echoes: readonly number[];
  readonly firsts: readonly number[];
  /** Processor time of the host for each invalidation. */
  readonly hostUs: number;
  /** Processor time of the host while nothing happens, of each second. */
  readonly idleUs: number;
}

/** Measures it with a model of iommufd behind the SMMU, and without. */
export async function measureInvalidations(signal: AbortSignal): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const iommufd of ["model", "none"] as const) {
    measures.push(...describe(iommufd, await timesOf(iommufd, signal)));
  }
  return measures;
}

async function timesOf(iommufd: IommufdKind, signal: AbortSignal): Promise<Times> {
  using directory = await RuntimeDirectory.make();
  const smmuSocketPath = directory.file("smmu.sock");
  await using _devices = await DeviceThread.start({
    smmuSocketPath,
    registers: "mapped",
    iommufd,
    endpoints: [{ kind: "dma-test", socketPath: directory.file("dma.sock"), streamId: 8 }],
  }, () => {});
  using echo = new Echo();
  using guest = new InvalidatingGuest(smmuSocketPath);
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

function describe(iommufd: IommufdKind, times: Times): Measure[] {
  const { answers, echoes, firsts, hostUs, idleUs } = times;
  const behind = iommufd === "none" ? "no iommufd" : "model of iommufd";
  const yardstick = median(echoes);
  const us = (name: string, value: number, yardstick?: number): Measure => ({
    name: `${name}, ${behind}`,
    value,
    unit: "µs",
    ...(yardstick === undefined ? {} : { yardstick, ratio: value / yardstick }),
  });
  return [
    us("Invalidation", median(answers), yardstick),
    us("Invalidation, 99 of 100", percentile(answers, 99), percentile(echoes, 99)),
    us("Host time of an invalidation", hostUs),
    us("First invalidation after a rest", median(firsts)),
    {
      name: `Host time at rest, ${behind}`,
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
