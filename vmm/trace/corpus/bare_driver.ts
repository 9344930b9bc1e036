/**
 * What software does in a machine without a guest, by the manual's offsets: registers, commands, tables, and the DMA test
 * devices.
 * @module
 */
import { PLACE, WINDOW } from "../../differential/ground.ts";
import type { FunctionSpace, Subject } from "../../differential/subject.ts";
import { EnvironmentError } from "../../environment_error.ts";

/** Where page requests go; the other queues are where `PLACE` has them. */
export const PAGE_REQUESTS: number = PLACE.events + 0x8000;

const CR0 = 0x20;
/** SMMUEN, EVENTQEN, CMDQEN; with page requests PRIQEN and ATSCHK too. */
const ENABLED = 0xd;
const ENABLED_ALL = 0x1f;
const TEST = { iova: 0x04, length: 0x0c, result: 0x10, doorbell: 0x14, gpa: 0x1c, pasid: 0x1000 };
/** Result of a write that was aborted. */
export const ABORTED = 0xdead_0002;

/** Drives an SMMU and the functions behind it. */
export class BareDriver {
  readonly #subject: Subject;
  readonly #memory: DataView;
  #prod = 0;

  /** Of this subject, as after power-on. */
  constructor(subject: Subject) {
    this.#subject = subject;
    const { buffer, byteOffset, byteLength } = subject.window;
    this.#memory = new DataView(buffer, byteOffset, byteLength);
  }

  /** Stores a quad. */
  store(gpa: number, value: bigint): void {
    this.#memory.setBigUint64(gpa - WINDOW.base, BigInt.asUintN(64, value), true);
  }

  /** Loads one. */
  load(gpa: number): bigint {
    return this.#memory.getBigUint64(gpa - WINDOW.base, true);
  }

  /** Sets bits `high` to `low` of the structure at `gpa`, as the manual counts them; they share a quad. */
  field(gpa: number, high: number, low: number, value: number | bigint): void {
    const at = gpa + (low >> 6) * 8;
    const shift = BigInt(low & 63);
    const mask = ((1n << BigInt(high - low + 1)) - 1n) << shift;
    this.store(at, (this.load(at) & ~mask) | ((BigInt(value) << shift) & mask));
  }

  /** Writes a register of the SMMU. */
  async write(offset: number, value: number): Promise<void> {
    await this.#subject.perform([{ kind: "write", offset, value: BigInt(value >>> 0), bytes: 4 }]);
  }

  /** Reads one. */
  async read(offset: number): Promise<number> {
    const [value] = await this.#subject.perform([{ kind: "read", offset }]);
    return value;
  }

  /** Brings the SMMU up, with queues of 2^log2 entries, that of page requests if it has one, and a linear stream table of 128. */
  async bringUp(log2queue: number, log2requests?: number): Promise<void> {
    const enabled = log2requests === undefined ? ENABLED : ENABLED_ALL;
    const registers: [number, number][] = [
      [0x28, 0xd75],
      // PTM, RECINVSID, REC_CFG_ATS
      [0x2c, 0xe],
      [0x80, PLACE.streamTable],
      [0x88, 7],
      [0x90, PLACE.commands | log2queue],
      [0xa0, PLACE.events | log2queue],
      [0xc0, log2requests === undefined ? 0 : PAGE_REQUESTS | log2requests],
      [0x50, 7],
      [CR0, 0xc],
      [CR0, enabled],
    ];
    for (const [offset, value] of registers) await this.write(offset, value);
    this.#prod = 0;
    this.#log2queue = log2queue;
    await this.expect("CR0ACK", await this.read(0x24), enabled);
  }

  #log2queue = 0;

  /** Queues commands and a CMD_SYNC, and waits. */
  async commands(...commands: (readonly [bigint, bigint])[]): Promise<void> {
    for (const [w0, w1] of [...commands, [0x46n, 0n] as const]) {
      const gpa = PLACE.commands + (this.#prod & ((1 << this.#log2queue) - 1)) * 16;
      this.store(gpa, w0);
      this.store(gpa + 8, w1);
      this.#prod = (this.#prod + 1) & ((2 << this.#log2queue) - 1);
    }
    await this.write(0x98, this.#prod);
    await this.expect("CMDQ_CONS", await this.read(0x9c), this.#prod);
  }

  /** The numbers of the events in the queue, which are taken. */
  async events(): Promise<number[]> {
    const [prod, cons] = [await this.read(0x1_00a8), await this.read(0x1_00ac)];
    const mask = (2 << this.#log2queue) - 1;
    const numbers: number[] = [];
    for (let at = cons & mask; at !== (prod & mask); at = (at + 1) & mask) {
      const gpa = PLACE.events + (at & (mask >> 1)) * 32;
      numbers.push(Number(this.load(gpa) & 0xffn));
    }
    await this.write(0x1_00ac, prod);
    return numbers;
  }

  /** Writes 32 bits of a function. */
  async poke(
    stream: number,
    offset: number,
    value: number,
    space: FunctionSpace = "registers",
  ): Promise<void> {
    await this.#subject.perform([{ kind: "poke", stream, space, offset, value }]);
  }

  /** Reads them. */
  async peek(stream: number, offset: number, space: FunctionSpace = "registers"): Promise<number> {
    const [value] = await this.#subject.perform([{ kind: "peek", stream, space, offset }]);
    return value;
  }

  /** Lets a function use PASIDs, ATS and page requests. */
  async enable(stream: number): Promise<void> {
    for (let at = 0x100; at !== 0;) {
      const head = await this.peek(stream, at, "config");
      const id = head & 0xffff;
      if (id === 0x1b) await this.poke(stream, at + 4, 1 << 16, "config");
      if (id === 0x0f) await this.poke(stream, at + 4, 1 << 31, "config");
      if (id === 0x13) {
        await this.poke(stream, at + 12, 32, "config");
        await this.poke(stream, at + 4, 1, "config");
      }
      at = head >>> 20;
    }
  }

  /** What the function does next is of a PASID (or -1, without), at an IOVA. */
  async aim(stream: number, iova: bigint, pasid: number = -1): Promise<void> {
    await this.poke(stream, TEST.iova, Number(iova & 0xffff_ffffn));
    await this.poke(stream, TEST.iova + 4, Number(iova >> 32n));
    await this.poke(stream, TEST.pasid, pasid < 0 ? 0 : pasid | 1 << 31);
  }

  /** It writes 4 bytes, and looks for them at `gpa`; returns its result, 0 for success. */
  async transfer(stream: number, gpa: number): Promise<number> {
    await this.poke(stream, TEST.length, 4);
    await this.poke(stream, TEST.gpa, gpa);
    await this.poke(stream, TEST.gpa + 4, 0);
    await this.poke(stream, TEST.doorbell, 1);
    await this.peek(stream, 0);
    return await this.peek(stream, TEST.result);
  }

  /** Throws an `EnvironmentError` when something is not what it has to be. */
  expect(what: string, seen: unknown, wanted: unknown): Promise<void> {
    const [a, b] = [JSON.stringify(seen), JSON.stringify(wanted)];
    if (a === b) return Promise.resolve();
    return Promise.reject(new EnvironmentError(`${what} is ${a} instead of ${b}`));
  }
}
