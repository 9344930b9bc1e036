/**
 * A program with an endpoint whose transactions wait for software. No PCI function can, so there is no QEMU here: the
 * SMMU and its memory are in this process.
 * @module
 */
import { gzipSync } from "node:zlib";
import type { StallableDmaPort } from "../../../hw/device.ts";
import { GuestRam } from "../../../hw/guest_memory.ts";
import { features } from "../../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import { PLACE, WINDOW } from "../../differential/ground.ts";
import type { Subject } from "../../differential/subject.ts";
import { type TraceHeader, VERSION } from "../format.ts";
import { Recorder } from "../recorder.ts";
import { BareDriver } from "./bare_driver.ts";

const LOG2_TLB_SETS = 4;
const STREAM = 0x18;
const TABLES = PLACE.tables;
/** V, AA64, A, R, ASET, and S: faults stall. ASID 1; 25 bits less than 64 are two levels and one. */
const CONTEXT = 1n << 31n | 1n << 30n | 0xf205n << 32n | 1n << 48n | 25n;
const READ_WRITE = 0xc43n;
const WORD = 4;

/** What it is called in the trace. */
export const STALLS_NAME = "a program without a guest: transactions that wait for software";

/** Runs it, and puts its trace at `path`. Throws an `EnvironmentError` when something is not as it has to be. */
export async function recordStalls(path: string): Promise<void> {
  const lines: string[] = [];
  const began = performance.now();
  const chosen = features({ stallModel: 0, stallMax: 2, httu: 2 });
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: `${VERSION.major}.${VERSION.minor}`,
    features: chosen,
    log2tlbSets: LOG2_TLB_SETS,
    log2known: 20,
    guest: { kernel: STALLS_NAME },
    began: new Date().toISOString(),
    time: "seconds since began",
    schema: "vmm/trace/FORMAT.md",
    payload: false,
  };
  const now = (): number => (performance.now() - began) / 1000;
  const recorder = new Recorder(header, (line) => lines.push(line), now);
  const buffer = new ArrayBuffer(WINDOW.sizeBytes);
  const ram = new GuestRam();
  ram.map(WINDOW.base, buffer);
  const wire = { pulse: (): void => {}, set: (): void => {} };
  const smmu = new SmmuV3({
    memory: recorder.memory(ram),
    features: chosen,
    log2tlbSets: LOG2_TLB_SETS,
    lines: {
      eventq: recorder.wire("eventq", wire),
      gerror: recorder.wire("gerror", wire),
      priq: recorder.wire("priq", wire),
    },
    msi: recorder.msi({ send: () => false }),
  });
  await play(
    new BareDriver(subjectOf(recorder, smmu, buffer)),
    recorder.stallable(smmu.stallablePort()),
  );
  recorder.end();
  await Deno.writeFile(path, gzipSync(lines.join("")));
}

/** Only registers are reached by a bus. */
function subjectOf(recorder: Recorder, smmu: SmmuV3, buffer: ArrayBuffer): Subject {
  const device = recorder.device(smmu);
  return {
    name: "ours",
    window: new Uint8Array(buffer),
    reset: () => Promise.resolve(smmu.reset()),
    perform: (operations) =>
      Promise.resolve(operations.map((operation) => {
        const bytes = new Uint8Array(WORD);
        const view = new DataView(bytes.buffer);
        if (operation.kind === "read") device.read(operation.offset, bytes);
        if (operation.kind === "write") {
          view.setUint32(0, Number(operation.value), true);
          device.write(operation.offset, bytes);
        }
        return view.getUint32(0, true);
      })),
  };
}

async function play(driver: BareDriver, port: StallableDmaPort): Promise<void> {
  const requester = { streamId: STREAM, substreamId: -1 };
  const ends: string[] = [];
  const ended = (name: string) => (ok: boolean): void => void ends.push(`${name} ${ok}`);
  const write = (name: string, page: number): void =>
    port.write(requester, page * 0x1000, 0, new Uint8Array(WORD), ended(name));
  const expect = async (...wanted: string[]): Promise<void> =>
    await driver.expect("ends", ends.splice(0), wanted);
  const map = (page: number, attributes = READ_WRITE): void =>
    driver.store(TABLES + 0x2000 + page * 8, BigInt(PLACE.data + page * 0x1000) | attributes);
  driver.store(PLACE.streamTable + STREAM * 64, BigInt(PLACE.contexts) | 0b1011n);
  driver.store(PLACE.contexts, CONTEXT);
  driver.store(PLACE.contexts + 8, BigInt(TABLES));
  for (let level = 0; level < 2; level++) {
    driver.store(TABLES + level * 0x1000, BigInt(TABLES + (level + 1) * 0x1000) | 3n);
  }
  await driver.bringUp(2);

  // Mended and tried again, ended with an abort, and by reading zero; a record that is answered twice.
  map(0);
  write("mapped", 0);
  await expect("mapped true");
  write("mended", 1);
  write("given up", 2);
  const [mended, givenUp] = await tagsOf(driver);
  map(1);
  await driver.commands(resume(mended, 1n), resume(givenUp, 2n), resume(givenUp, 2n));
  await expect("mended true", "given up false");
  port.read(requester, 0x1ff8, 0, new Uint8Array(0x1010), ended("across"));
  const [across] = await tagsOf(driver);
  await driver.commands(resume(across, 0n));
  // Zero for the rest of its page, and its third page is not there either.
  const [rest] = await tagsOf(driver);
  map(3);
  await driver.commands(resume(rest, 1n));
  await expect("across true");

  // More than can be told of: the third is told when there is room, and by then it is mended.
  write("first", 4);
  write("second", 5);
  write("third", 6);
  map(6);
  const [first, second] = await tagsOf(driver);
  await driver.commands(resume(first, 2n));
  await expect("first false", "third true");
  await driver.commands(resume(second, 1n));
  const [again] = await tagsOf(driver);
  await driver.commands([0x45n | BigInt(STREAM) << 32n, 0n], resume(again, 1n));
  await expect("second false");

  // One that goes on when it is told its end; and the end of all of them.
  port.write(requester, 0x7000, 0, new Uint8Array(WORD), (ok) => {
    ends.push(`told ${ok}`);
    write("the next", 8);
  });
  const [told] = await tagsOf(driver);
  await driver.commands(resume(told, 2n));
  await expect("told false");
  await tagsOf(driver);
  await driver.write(0x20, 0xc);
  await expect("the next false");
}

/** CMD_RESUME: 1 tries again, 2 aborts, 0 reads as zero. */
function resume(tag: bigint, how: bigint): [bigint, bigint] {
  return [0x44n | how << 12n | BigInt(STREAM) << 32n, tag];
}

/** The tags of the records in the queue, which are taken. */
async function tagsOf(driver: BareDriver): Promise<bigint[]> {
  const cons = await driver.read(0x1_00ac);
  const numbers = await driver.events();
  await driver.expect("events", numbers.every((number) => number === 0x10), true);
  return numbers.map((_, i) => driver.load(PLACE.events + ((cons + i) & 3) * 32 + 8) & 0xffffn);
}
