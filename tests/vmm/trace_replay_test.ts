import { assert, assertEquals } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { recordDriver } from "../support/recorded_driver.ts";

const RAM = 0x4000_0000;
const CMDQ = RAM + 0x1000;
const EVENTQ = RAM + 0x2000;
const STREAM_TABLE = RAM + 0x3000;
const CONTEXT = RAM + 0x4000;
const TABLE = RAM + 0x5000;
const PAGE = RAM + 0x6000;

/** Records a guest that maps, does DMA, changes its tables, invalidates and faults. */
function record(): string[] {
  const ram = new GuestRam();
  const bytes = new ArrayBuffer(0x1_0000);
  ram.map(RAM, bytes);
  const quads = new BigUint64Array(bytes);
  const store = (gpa: number, value: bigint): void => void (quads[(gpa - RAM) / 8] = value);
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: "1.0",
    features: features(),
    log2tlbSets: 4,
    log2known: 8,
    guest: { name: "numbers" },
    began: "2026-01-01T00:00:00.000Z",
  };
  const lines: string[] = [];
  let time = 0;
  const recorder = new Recorder(header, (line) => lines.push(line.slice(0, -1)), () => time += 0.5);
  const smmu = new SmmuV3({
    memory: recorder.memory(ram),
    log2tlbSets: 4,
    lines: { eventq: recorder.wire("eventq", { pulse: () => {}, set: () => {} }) },
    msi: recorder.msi({ send: () => true }),
  });
  const registers = recorder.device(smmu);
  const dma = recorder.dma(smmu.dma);
  const write = (at: number, value: number): void =>
    registers.write(at, new Uint8Array(Uint32Array.of(value).buffer));
  recorder.reset(() => smmu.reset())();
  write(0x80, STREAM_TABLE);
  write(0x88, 4);
  write(0x90, CMDQ | 4);
  write(0xa0, EVENTQ | 4);
  write(0x50, 4);
  write(0x20, 0xd);
  registers.read(0x24, new Uint8Array(4));
  store(STREAM_TABLE + 64, BigInt(CONTEXT) | 0b1011n);
  store(CONTEXT, (0x6205n << 32n) | (1n << 31n) | (1n << 30n) | 48n);
  store(CONTEXT + 8, BigInt(TABLE));
  store(TABLE + 24, BigInt(PAGE) | 0xc43n);
  const who = { streamId: 1, substreamId: -1 };
  dma.write(who, 0x3000, 0, new Uint8Array(16).fill(7));
  dma.read(who, 0x3000, 0, new Uint8Array(16));
  store(TABLE + 24, 0n);
  store(CMDQ, 0x12n);
  store(CMDQ + 8, 0x3001n);
  store(CMDQ + 16, 0x46n | (1n << 12n) | (5n << 32n));
  store(CMDQ + 24, BigInt(PAGE));
  write(0x98, 2);
  dma.write(who, 0x3000, 0, new Uint8Array(4));
  dma.message(who, 0x4000, 0xffff_0000, 9);
  recorder.end();
  return lines;
}

function replay(lines: readonly string[], make?: ConstructorParameters<typeof Replayer>[1]): {
  at: number;
  what: string[];
} {
  const reader = new LineReader();
  const [header, ...rest] = lines.map((line) => reader.line(line));
  const replayer = new Replayer(header as unknown as TraceHeader, make);
  for (const [at, operation] of rest.slice(0, -1).entries()) {
    const differences = replayer.step(operation as unknown as Operation);
    if (differences.length > 0) return { at, what: differences.map(({ what }) => what) };
  }
  return { at: -1, what: [] };
}

Deno.test("a recording replays identically", () => {
  const lines = record();
  assertEquals(lines.length, 15);
  assertEquals(replay(lines), { at: -1, what: [] });
});

Deno.test("two recordings of the same guest are the same", () => {
  assertEquals(record(), record());
});

Deno.test("a device that forgets an invalidation is found at the DMA that should have faulted", () => {
  const lines = record();
  const found = replay(lines, (options) => {
    const smmu = new SmmuV3(options);
    smmu.translator.tlb.invalidateRange = () => {};
    return smmu;
  });
  assertEquals(found.at, 11);
  assert(found.what.includes("result"), String(found.what));
});

Deno.test("a changed line is found, and only lines before it count", () => {
  const lines = record();
  const reader = new LineReader();
  const changed = lines.map((line, i) => i === 7 ? line.replace('"at":', '"at": ') : line);
  assertEquals(changed.findIndex((line) => reader.line(line) === undefined), 7);
});

Deno.test("an operation that a newer minor version added is passed over, and its memory is known", async () => {
  const { header, lines } = recordDriver();
  const at = lines.findIndex(({ operation }) => operation.mem !== undefined);
  const { t, mem } = lines[at].operation;
  const added = { t, op: "ats-request", mem, fetches: 1, path: 7 } as unknown as Operation;
  const operations = lines.map(({ operation }) => operation).toSpliced(at, 0, added);
  const placed = operations.map((operation, i) => ({ number: i + 2, offset: 0, operation }));
  assertEquals((await runReplay(header, placed)).result.kinds, []);
});
