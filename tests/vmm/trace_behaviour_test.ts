import { assertEquals, assertRejects } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import {
  type Behaviour,
  behaviourOf,
  compareBehaviours,
  DivergedError,
} from "../../vmm/trace/corpus/behaviour.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";

/** Decisions of a guest. */
interface Choice {
  /** Where its memory is: what an allocator decides. */
  readonly ram: number;
  /** What it writes to CR1. */
  readonly cr1: number;
  /** How often it unmaps its page and maps it again. */
  readonly unmaps: number;
  /** The ASID that it invalidates. */
  readonly asid: number;
  /** The stream that it configures; the endpoint has stream 1. */
  readonly stream: number;
}

const USUAL: Choice = { ram: 0x4000_0000, cr1: 0xd75, unmaps: 2, asid: 5, stream: 1 };

/** A recording of a small driver: it brings the SMMU up, configures a stream, and has an endpoint write before each unmap. */
function record({ ram: base, cr1, unmaps, asid, stream }: Choice): string[] {
  const [cmdq, eventq, streams, context, table, page] = [1, 2, 3, 4, 5, 6]
    .map((index) => base + 0x1000 * index);
  const ram = new GuestRam();
  const bytes = new ArrayBuffer(0x1_0000);
  ram.map(base, bytes);
  const quads = new BigUint64Array(bytes);
  const store = (gpa: number, value: bigint): void => void (quads[(gpa - base) / 8] = value);
  const lines: string[] = [];
  let time = 0;
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: "1.0",
    features: features(),
    log2tlbSets: 4,
    log2known: 8,
    guest: {},
    began: "2026-01-01T00:00:00.000Z",
  };
  const recorder = new Recorder(
    header,
    (line) => lines.push(line.slice(0, -1)),
    () => time += base,
  );
  const wire = { pulse: (): void => {}, set: (): void => {} };
  const smmu = new SmmuV3({
    memory: recorder.memory(ram),
    log2tlbSets: 4,
    lines: { eventq: recorder.wire("eventq", wire) },
  });
  const registers = recorder.device(smmu);
  const dma = recorder.dma(smmu.dma);
  const write = (at: number, ...words: number[]): void =>
    registers.write(at, new Uint8Array(Uint32Array.from(words).buffer));
  let prod = 0;
  const send = (lo: bigint, hi: bigint): void => {
    store(cmdq + 16 * (prod & 15), lo);
    store(cmdq + 16 * (prod & 15) + 8, hi);
    write(0x98, ++prod & 31);
  };
  recorder.reset(() => smmu.reset())();
  write(0x28, cr1);
  write(0x80, streams, 0x4000_0000);
  write(0x88, 4);
  write(0x90, cmdq | 4, 0);
  write(0xa0, eventq | 4, 0);
  write(0x98, 0);
  write(0x50, 4);
  write(0x20, 0xd);
  // How often a wait reads is up to time.
  for (let i = 0; i < unmaps; i++) registers.read(0x24, new Uint8Array(4));
  store(streams + 64 * stream, BigInt(context) | 0b1011n);
  store(context, (0x6205n << 32n) | (1n << 31n) | (1n << 30n) | 48n);
  store(context + 8, BigInt(table));
  send(3n | (BigInt(stream) << 32n), 1n);
  for (let i = 0; i < unmaps; i++) {
    store(table + 24, BigInt(page) | 0xc43n);
    dma.write({ streamId: 1, substreamId: -1 }, 0x3000, 0, new Uint8Array(16));
    store(table + 24, 0n);
    send(0x12n | (BigInt(asid) << 48n), 0x3001n);
  }
  send(0x46n, 0n);
  recorder.end();
  return lines;
}

async function behaviour(lines: readonly string[]): Promise<Behaviour> {
  const reader = new LineReader();
  const [header, ...rest] = lines.map((line) => reader.line(line));
  const placed = rest.slice(0, -1).map((line, index) => ({
    number: index + 2,
    operation: line as unknown as Operation,
  }));
  return await behaviourOf(header as unknown as TraceHeader, ReadableStream.from(placed));
}

Deno.test("behaviourOf() tells what a guest did, without its addresses", async () => {
  assertEquals(await behaviour(record(USUAL)), {
    features: JSON.stringify(features()),
    registers: [
      "reset",
      "write CR1 0x00000d75",
      "write STRTAB_BASE 0x00000000 0x40000000",
      "write STRTAB_BASE_CFG 0x00000004",
      "write CMDQ_BASE 0x00000004 0x00000000",
      "write EVENTQ_BASE 0x00000004 0x00000000",
      "write CMDQ_PROD 0x00000000",
      "write IRQ_CTRL 0x00000004",
      "write CR0 0x0000000d",
      "read CR0ACK 0x0000000d",
    ],
    configuration: ["CMD_CFGI_STE StreamID 0x1 Range 1"],
    invalidations: ["CMD_TLBI_NH_VA ASID 5"],
    events: [],
    refusals: [],
    requests: ["dma-write StreamID 0x1 done"],
    interrupts: [],
    counts: {
      "reset": 1,
      "write": 12,
      "read": 2,
      "CMD_CFGI_STE": 1,
      "CMD_TLBI_NH_VA": 2,
      "CMD_SYNC": 1,
      "dma-write": 2,
    },
  });
});

Deno.test("compareBehaviours() takes other addresses, times and counts for the same behaviour, and nothing else", async (t) => {
  const usual = await behaviour(record(USUAL));
  const cases: { name: string; choice: Partial<Choice>; differences: string[] }[] = [
    { name: "the same", choice: {}, differences: [] },
    { name: "other addresses and times", choice: { ram: 0x8000_0000 }, differences: [] },
    {
      name: "another value of CR1",
      choice: { cr1: 0xd65 },
      differences: ["registers 2: write CR1 0x00000d75, then write CR1 0x00000d65"],
    },
    {
      name: "another ASID",
      choice: { asid: 6 },
      differences: [
        "invalidations, only in the first: CMD_TLBI_NH_VA ASID 5",
        "invalidations, only in the second: CMD_TLBI_NH_VA ASID 6",
      ],
    },
    {
      name: "another stream is configured, so the endpoint's writes fault",
      choice: { stream: 2 },
      differences: [
        "configuration 1: CMD_CFGI_STE StreamID 0x1 Range 1, then CMD_CFGI_STE StreamID 0x2 Range 1",
        "events 1: nothing, then C_BAD_STE StreamID 0x1",
        "interrupts 1: nothing, then eventq",
        "requests, only in the first: dma-write StreamID 0x1 done",
        "requests, only in the second: dma-write StreamID 0x1 not",
      ],
    },
    {
      name: "nothing is ever unmapped",
      choice: { unmaps: 0 },
      differences: [
        "registers 10: read CR0ACK 0x0000000d, then nothing",
        "invalidations, only in the first: CMD_TLBI_NH_VA ASID 5",
        "requests, only in the first: dma-write StreamID 0x1 done",
        "kinds, only in the first: read",
        "kinds, only in the first: dma-write",
        "kinds, only in the first: CMD_TLBI_NH_VA",
      ],
    },
  ];
  for (const { name, choice, differences } of cases) {
    await t.step(name, async () => {
      const other = await behaviour(record({ ...USUAL, ...choice }));
      assertEquals(compareBehaviours(usual, other).differences, differences);
    });
  }
  await t.step("more unmaps, and what comes of it", async () => {
    assertEquals(compareBehaviours(usual, await behaviour(record({ ...USUAL, unmaps: 3 }))), {
      differences: [],
      liberties: [
        "write: 12 and 13",
        "read: 2 and 3",
        "dma-write: 2 and 3",
        "CMD_TLBI_NH_VA: 2 and 3",
      ],
    });
  });
});

Deno.test("behaviourOf() refuses a trace that does not replay, with its line", async () => {
  const [header, ...rest] = record(USUAL).map((line) => JSON.parse(line));
  const at = rest.findIndex(({ op }) => op === "read");
  rest[at].bytes = "00000000";
  const placed = rest.slice(0, -1).map((operation, index) => ({ number: index + 2, operation }));
  await assertRejects(
    () => behaviourOf(header, ReadableStream.from(placed)),
    DivergedError,
    `Line ${at + 2}: result: expected "00000000", got "0d000000"`,
  );
});
