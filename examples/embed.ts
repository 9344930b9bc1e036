/**
 * The device in your own VMM: RAM is a plain array, the bus is a function call.
 *
 *     deno run examples/embed.ts
 *
 * It plays both sides: a driver that sets up one stream with one page, and an endpoint that writes through it.
 * @module
 */
import { GuestRam, SmmuV3 } from "../mod.ts";

const RAM = 0x4000_0000;
const CMDQ = RAM + 0x1000;
const EVENTQ = RAM + 0x2000;
const STREAM_TABLE = RAM + 0x3000;
const CONTEXT = RAM + 0x4000;
const TABLE = RAM + 0x5000;
const PAGE = RAM + 0x6000;

const bytes = new ArrayBuffer(0x10_0000);
const memory = new GuestRam();
memory.map(RAM, bytes);
const quads = new BigUint64Array(bytes);
const store = (gpa: number, value: bigint): void => void (quads[(gpa - RAM) / 8] = value);

const smmu = new SmmuV3({
  memory,
  lines: { eventq: { pulse: () => print("interrupt: event queue"), set: () => {} } },
});

// What a driver writes: queues, a stream table of 16 entries, enables.
smmu.write32(0x80, STREAM_TABLE);
smmu.write32(0x88, 4);
smmu.write32(0x90, CMDQ | 4);
smmu.write32(0xa0, EVENTQ | 4);
smmu.write32(0x50, 0b100); // IRQ_CTRL.EVENTQ_IRQEN
smmu.write32(0x20, 0b1101); // CR0: CMDQEN, EVENTQEN, SMMUEN

// StreamID 1: stage 1, one context of 16 input bits, so that a single table is the whole tree.
store(STREAM_TABLE + 64, BigInt(CONTEXT) | 0b1011n);
store(CONTEXT, (0x6205n << 32n) | (1n << 31n) | (1n << 30n) | 48n);
store(CONTEXT + 8, BigInt(TABLE));
store(TABLE + 3 * 8, BigInt(PAGE) | 0xc43n); // IOVA 0x3000, readable and writable

const requester = { streamId: 1, substreamId: -1 };
const done = smmu.dma.write(requester, 0x3010, 0, new TextEncoder().encode("hello"));
const found = new TextDecoder().decode(new Uint8Array(bytes, PAGE + 0x10 - RAM, 5));
print(`write to 0x3010: ${done ? "done" : "aborted"}, in RAM: ${found}`);

const faulty = smmu.dma.write(requester, 0x4010, 0, new Uint8Array(1));
print(`write to 0x4010: ${faulty ? "done" : "aborted"}`);
print(`event: type 0x${(quads[(EVENTQ - RAM) / 8] & 0xffn).toString(16)}`);

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
