/** Updates of descriptors in a trace: recorded, replayed with their outcome, and found when they differ. */
import { assertEquals } from "@std/assert";
import { Exchange } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { LineReader, type Operation, type TraceHeader, VERSION } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";
import { rerecord } from "../../vmm/trace/replay/minimise_record.ts";
import { type DeviceMaker, Replayer } from "../../vmm/trace/replay/replayer.ts";
import { wrongIn } from "../../vmm/trace/shape.ts";
import { altered, DATA, Guest, split } from "../support/guest.ts";

const HA_HD = 0b11 << 10;
const PAGE = 0x843n;
const CLEAN = PAGE | (1n << 10n) | (1n << 7n) | (1n << 51n);
const REQUESTER = { streamId: 1, substreamId: -1 };

const header: TraceHeader = {
  format: "vsmmu-trace",
  version: `${VERSION.major}.${VERSION.minor}`,
  features: features({ httu: 2 }),
  log2tlbSets: 10,
  log2known: 12,
  guest: {},
  began: "2026-01-01T00:00:00.000Z",
};

/** A guest whose pages get their access flags, one of them while the guest changes its mind. */
function record(): Operation[] {
  const lines: string[] = [];
  const recorder = new Recorder(header, (line) => lines.push(line), () => 0);
  let races = false;
  const guest: Guest = new Guest({
    features: { httu: 2 },
    enabled: false,
    wrap: (ram) =>
      recorder.memory(altered(ram, {
        compareExchange: (gpa, expected, desired) => {
          if (races) guest.quad(gpa, BigInt(DATA + 0x3000) | PAGE);
          races = false;
          return ram.compareExchange(gpa, expected, desired);
        },
      })),
  });
  const registers = recorder.device(guest.smmu);
  const write = (at: number, value: number): void =>
    registers.write(at, new Uint8Array(Uint32Array.of(value).buffer));
  for (const [at, value] of [[0x80, 0x4010_0000], [0x88, 6], [0x20, 1]]) write(at, value);
  const { root } = guest.stage1(1, { word1: HA_HD });
  for (const [i, attributes] of [PAGE, CLEAN, PAGE].entries()) {
    guest.map(root, BigInt(i) * 0x1000n, DATA + i * 0x1000, attributes);
  }
  const dma = recorder.dma(guest.smmu.dma);
  dma.read(REQUESTER, ...split(0n), new Uint8Array(4));
  dma.write(REQUESTER, ...split(0x1000n), new Uint8Array(4));
  races = true;
  dma.write(REQUESTER, ...split(0x2000n), new Uint8Array(4));
  recorder.end();
  const reader = new LineReader();
  return lines.map((line) => reader.line(line.slice(0, -1))!).slice(1, -1).map((operation) => {
    const { c: _check, ...rest } = operation;
    return rest as unknown as Operation;
  });
}

function replay(operations: readonly Operation[], make?: DeviceMaker): string[] {
  const replayer = new Replayer(header, make);
  return operations.flatMap((operation) => replayer.step(operation)).map(({ what }) => what);
}

function exchanges(operations: readonly Operation[]): unknown[][] {
  return operations.map(({ out = [] }) =>
    out.filter(([kind]) => kind === "exchange").map((output) => output.at(-1))
  ).filter((found) => found.length > 0);
}

Deno.test("an update is an output with both quads and its outcome", () => {
  const operations = record();
  assertEquals(exchanges(operations), [[0], [0], [1, 0]]);
  const [, , , first] = operations;
  const quad = (value: bigint): string => new Uint8Array(BigUint64Array.of(value).buffer).toHex();
  const [, , expected, desired] = first.out![0];
  assertEquals([expected, desired], [
    quad(BigInt(DATA) | PAGE),
    quad(BigInt(DATA) | PAGE | 0x400n),
  ]);
  assertEquals(operations.map((operation) => wrongIn(operation as never, false)), [
    ...operations.map(() => undefined),
  ]);
});

Deno.test("a device of today does the same again, with the outcomes of the recording", () => {
  assertEquals(replay(record()), []);
});

Deno.test("recorded again from what the trace tells, it is the same", () => {
  const operations = record();
  assertEquals(exchanges(rerecord(header, operations, [...operations.keys()])).flat().length, 3);
});

Deno.test("a device that updates otherwise is found", () => {
  const found = replay(record(), (options) =>
    new SmmuV3({
      ...options,
      memory: altered(options.memory, {
        compareExchange: (gpa, expected, desired) => {
          desired.words[1] ^= 1;
          return options.memory.compareExchange(gpa, expected, desired);
        },
      }),
    }));
  assertEquals(found[0], "output 1");
  const silent = replay(record(), (options) =>
    new SmmuV3({
      ...options,
      memory: altered(options.memory, { compareExchange: () => Exchange.Done }),
    }));
  assertEquals(silent.length > 0, true);
});

Deno.test("an update that is not one is refused", () => {
  const bytes = "00".repeat(8);
  const wrong = [
    ["exchange", 0, bytes, bytes, 3],
    ["exchange", 0, bytes, "00", 0],
    ["exchange", -1, bytes, bytes, 0],
    ["exchange", 0, bytes, bytes, true],
  ];
  for (const output of wrong) {
    const operation = { op: "reset", t: 0, out: [output] };
    assertEquals(typeof wrongIn(operation, false), "string", JSON.stringify(output));
  }
});
