/**
 * A small trace that a real device makes: a guest that maps, does DMA, changes its tables, invalidates and faults.
 * @module
 */
import { GuestRam } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import type { TraceHeader } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";

const RAM = 0x4000_0000;
const CMDQ = RAM + 0x1000;
const EVENTQ = RAM + 0x2000;
const STREAM_TABLE = RAM + 0x3000;
const CONTEXT = RAM + 0x4000;
const TABLE = RAM + 0x5000;
const PAGE = RAM + 0x6000;

/** The header of the small trace. */
export const SMALL_HEADER: TraceHeader = {
  format: "vsmmu-trace",
  version: "1.0",
  features: features(),
  log2tlbSets: 4,
  log2known: 8,
  guest: { name: "numbers" },
  began: "2026-01-01T00:00:00.000Z",
};

/** Its lines, each with its newline: a header, `rounds` times 9 operations after the first 7, and an end. */
export function smallTrace(rounds: number = 1, more: Partial<TraceHeader> = {}): string[] {
  const ram = new GuestRam();
  const bytes = new ArrayBuffer(0x1_0000);
  ram.map(RAM, bytes);
  const quads = new BigUint64Array(bytes);
  const store = (gpa: number, value: bigint): void => void (quads[(gpa - RAM) / 8] = value);
  const lines: string[] = [];
  let time = 0;
  const recorder = new Recorder(
    { ...SMALL_HEADER, ...more },
    (line) => lines.push(line),
    () => time += 0.5,
  );
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
  store(STREAM_TABLE + 64, BigInt(CONTEXT) | 0b1011n);
  store(CONTEXT, (0x6205n << 32n) | (1n << 31n) | (1n << 30n) | 48n);
  store(CONTEXT + 8, BigInt(TABLE));
  const who = { streamId: 1, substreamId: -1 };
  for (let round = 0, prod = 0; round < rounds; round++) {
    store(TABLE + 24, BigInt(PAGE) | 0xc43n);
    registers.read(0x24, new Uint8Array(4));
    dma.write(who, 0x3000, 0, new Uint8Array(16).fill(7));
    dma.read(who, 0x3000, 0, new Uint8Array(16));
    dma.read({ streamId: 1, substreamId: 5 }, 0x3000, 1, new Uint8Array(2));
    store(TABLE + 24, 0n);
    const at = CMDQ + (prod & 15) * 16;
    store(at, 0x12n);
    store(at + 8, 0x3001n);
    store(at + 16, 0x46n | (1n << 12n) | (5n << 32n));
    store(at + 24, BigInt(PAGE));
    prod = (prod + 2) & 31;
    write(0x98, prod);
    dma.write(who, 0x3000, 0, new Uint8Array(4));
    dma.message(who, 0x4000, 0xffff_0000, 9);
    registers.read(0x9c, new Uint8Array(4));
    // Whatever was reported is taken.
    const taken = new Uint8Array(4);
    smmu.read(0x1_00a8, taken);
    registers.write(0x1_00ac, taken);
  }
  recorder.end();
  return lines;
}
