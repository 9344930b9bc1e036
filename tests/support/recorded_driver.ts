/**
 * A recording of a driver that does a little of everything, small enough to be read.
 * @module
 */
import { GuestRam } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";
import type { TraceLine } from "../../vmm/trace/trace_file.ts";

const RAM = 0x4000_0000;
const CMDQ = RAM + 0x1000;
const EVENTQ = RAM + 0x2000;
const L1 = RAM + 0x3000;
const L2 = RAM + 0x4000;
const CONTEXT = RAM + 0x5000;
const TABLE2 = RAM + 0x6000;
const TABLE3 = RAM + 0x7000;
const PAGE = RAM + 0x8000;
const SYNCED = RAM + 0xf000;

/** A trace in memory. */
export interface RecordedDriver {
  readonly header: TraceHeader;
  readonly lines: readonly TraceLine[];
  /** The same as a file has it, without newlines. */
  readonly text: readonly string[];
}

/** A guest that writes down what it does. */
class Driver {
  readonly header: TraceHeader = {
    format: "vsmmu-trace",
    version: "1.0",
    features: features(),
    log2tlbSets: 4,
    log2known: 12,
    guest: { name: "driver of a test" },
    began: "2026-01-01T00:00:00.000Z",
  };
  readonly text: string[] = [];
  readonly recorder: Recorder;
  readonly #quads: BigUint64Array;
  readonly #registers;
  readonly #dma;
  readonly #reset: () => void;
  #prod = 0;
  #time = 0;

  constructor() {
    const ram = new GuestRam();
    const bytes = new ArrayBuffer(0x40_0000);
    ram.map(RAM, bytes);
    this.#quads = new BigUint64Array(bytes);
    const sink = (line: string): void => void this.text.push(line.trimEnd());
    const recorder = this.recorder = new Recorder(this.header, sink, () => this.#time += 0.001);
    const wire = { pulse: (): void => {}, set: (): void => {} };
    const smmu = new SmmuV3({
      memory: recorder.memory(ram),
      log2tlbSets: 4,
      lines: { eventq: recorder.wire("eventq", wire), gerror: recorder.wire("gerror", wire) },
      msi: recorder.msi({ send: () => true }),
    });
    this.#registers = recorder.device(smmu);
    this.#dma = recorder.dma(smmu.dma);
    this.#reset = recorder.reset(() => smmu.reset());
  }

  quad(gpa: number, value: bigint): void {
    this.#quads[(gpa - RAM) / 8] = value;
  }

  write(at: number, value: number): void {
    this.#registers.write(at, new Uint8Array(Uint32Array.of(value).buffer));
  }

  read(at: number): number {
    const into = new Uint8Array(4);
    this.#registers.read(at, into);
    return new Uint32Array(into.buffer)[0];
  }

  command(...commands: [bigint, bigint][]): void {
    for (const [w0, w1] of commands) {
      const slot = this.#prod & 15;
      this.quad(CMDQ + slot * 16, w0);
      this.quad(CMDQ + slot * 16 + 8, w1);
      this.#prod = (this.#prod + 1) & 31;
    }
    this.write(0x98, this.#prod);
  }

  sync(): void {
    this.command([0x46n | (1n << 12n) | (5n << 32n), BigInt(SYNCED)]);
  }

  dmaRead(streamId: number, iova: number, sizeBytes: number = 16): boolean {
    return this.#dma.read({ streamId, substreamId: -1 }, iova, 0, new Uint8Array(sizeBytes));
  }

  dmaWrite(streamId: number, iova: number, sizeBytes: number = 16): boolean {
    return this.#dma.write({ streamId, substreamId: -1 }, iova, 0, new Uint8Array(sizeBytes));
  }

  /** Takes all events, as a driver does on the interrupt. */
  drain(): void {
    this.write(0x1_00ac, this.read(0x1_00a8));
  }

  reset(): void {
    this.#reset();
  }
}

/** Records it. */
export function recordDriver(): RecordedDriver {
  const driver = new Driver();
  begin(driver);
  tables(driver);
  invalidations(driver);
  faults(driver);
  errors(driver);
  driver.recorder.end();
  const reader = new LineReader();
  const values = driver.text.map((text) => reader.line(text)!);
  const lines = values.slice(1, -1).map((operation, i) => ({
    number: i + 2,
    offset: 0,
    operation: operation as unknown as Operation,
  }));
  return { header: values[0] as unknown as TraceHeader, lines, text: driver.text };
}

/** Queues of 16 commands and 4 events, a stream table of two levels. */
function begin(driver: Driver): void {
  driver.reset();
  driver.write(0x80, L1);
  driver.write(0x88, 0x1_0000 | (6 << 6) | 8);
  driver.write(0x90, CMDQ | 4);
  driver.write(0xa0, EVENTQ | 2);
  driver.write(0x50, 5);
  driver.write(0x20, 0xd);
  driver.read(0x24);
  // L1STD: 4 entries.
  driver.quad(L1, BigInt(L2) | 3n);
  for (const streamId of [1, 2]) {
    driver.quad(L2 + streamId * 64, BigInt(CONTEXT + streamId * 64) | 0b1011n);
    context(driver, streamId, TABLE2);
  }
  // Stream 3 aborts.
  driver.quad(L2 + 3 * 64, 1n);
}

/** A CD of ASID `streamId`: 30 bits of address, so that the walk begins at level 2. */
function context(driver: Driver, streamId: number, table: number): void {
  const low = 34n | (1n << 30n) | (1n << 31n);
  driver.quad(CONTEXT + streamId * 64, low | (0x6205n << 32n) | (BigInt(streamId) << 48n));
  driver.quad(CONTEXT + streamId * 64 + 8, BigInt(table));
}

function tables(driver: Driver): void {
  driver.quad(TABLE2, BigInt(TABLE3) | 3n);
  driver.quad(TABLE3 + 3 * 8, BigInt(PAGE) | 0xc43n);
  driver.quad(TABLE3 + 4 * 8, BigInt(PAGE + 0x1000) | 0xc43n);
  // Read-only; access flag clear; a block of 2 MiB.
  driver.quad(TABLE3 + 5 * 8, BigInt(PAGE + 0x2000) | 0xcc3n);
  driver.quad(TABLE3 + 6 * 8, BigInt(PAGE + 0x3000) | 0x843n);
  driver.quad(TABLE2 + 8, BigInt(RAM + 0x20_0000) | 0xc41n);
  driver.dmaWrite(1, 0x3000);
  driver.dmaRead(1, 0x4000);
  driver.dmaRead(1, 0x5000);
  driver.dmaWrite(1, 0x20_0000);
  driver.dmaWrite(1, 0x20_3000);
  driver.dmaWrite(3, 0x3000);
}

function invalidations(driver: Driver): void {
  driver.sync();
  driver.quad(TABLE3 + 3 * 8, BigInt(PAGE + 0x4000) | 0xc43n);
  driver.command([0x12n | (1n << 48n), 0x3001n]);
  driver.sync();
  driver.dmaWrite(1, 0x3000);
  driver.quad(TABLE3 + 4 * 8, BigInt(PAGE + 0x5000) | 0xc43n);
  driver.command([0x11n | (1n << 48n), 0n]);
  driver.sync();
  driver.dmaRead(1, 0x4000);
  // Another ASID for the same stream.
  driver.quad(CONTEXT + 64, 34n | (1n << 30n) | (1n << 31n) | (0x7_6205n << 32n));
  driver.command([0x05n | (1n << 32n), 1n]);
  driver.sync();
  driver.dmaRead(1, 0x4000);
  // Round the command queue, one by one.
  for (let i = 0; i < 20; i++) driver.command([0x46n, 0n]);
  driver.read(0x9c);
}

function faults(driver: Driver): void {
  driver.dmaWrite(2, 0x9000);
  driver.dmaWrite(2, 0x5000);
  driver.dmaWrite(2, 0x6000);
  driver.drain();
  for (let i = 0; i < 6; i++) driver.dmaRead(2, 0x9000 + i * 0x1000);
  driver.drain();
  driver.dmaRead(2, 0x9000);
  driver.drain();
}

function errors(driver: Driver): void {
  driver.command([0x99n, 0n]);
  driver.read(0x60);
  driver.read(0x9c);
  driver.write(0x64, driver.read(0x60));
}
