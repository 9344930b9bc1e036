/**
 * The device core at work on plain arrays, beside the least that the same work could be.
 * @module
 */
import { GuestRam } from "../../hw/guest_memory.ts";
import { Access } from "../../hw/smmuv3/fault.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { MinimalTlb, minimalWalk } from "./minimal.ts";

/** Pages that each round translates. */
export const PAGES = 512;
/** Commands that each round consumes. */
export const COMMANDS = 1000;

const RAM = 0x4000_0000;
const STREAM_TABLE = RAM + 0x1_0000;
const CONTEXT = RAM + 0x2_0000;
const CMDQ = RAM + 0x3_0000;
const TABLES = [0x4_0000, 0x4_1000, 0x4_2000, 0x4_3000].map((offset) => RAM + offset);
const DATA = RAM + 0x10_0000;
const LOG2_CMDQ = 10;
const ASID = 1;

// IOVA 0x12_3440_0000 to 0x12_3460_0000: one table of level 3 holds all of it.
const HI = 0x12;
const LO = 0x3440_0000;

/** Pages in an order without locality: 203 and 512 have no common factor. */
const ORDER = Uint32Array.from({ length: PAGES }, (_, i) => LO + ((i * 203) % PAGES) * 0x1000);

/** A device with one stage 1 stream and a four-level tree, and rounds of work for it. */
export class CoreWork {
  readonly #words: Uint32Array;
  readonly #smmu: SmmuV3;
  readonly #minimalTlb = new MinimalTlb(10);
  readonly #requester = { streamId: 1, substreamId: -1 };
  #prod = 0;

  /** Sets everything up; nothing is cached yet. */
  constructor() {
    const memory = new GuestRam();
    const buffer = new ArrayBuffer(0x40_0000);
    memory.map(RAM, buffer);
    this.#words = new Uint32Array(buffer);
    const quads = new BigUint64Array(buffer);
    const store = (gpa: number, value: bigint): void => void (quads[(gpa - RAM) / 8] = value);
    const iova = (BigInt(HI) << 32n) | BigInt(LO);
    TABLES.slice(0, 3).forEach((table, level) => {
      const index = Number((iova >> BigInt(39 - 9 * level)) & 0x1ffn);
      store(table + index * 8, BigInt(TABLES[level + 1]) | 0b11n);
    });
    for (let i = 0; i < PAGES; i++) store(TABLES[3] + i * 8, BigInt(DATA + i * 0x1000) | 0xc43n);
    store(STREAM_TABLE + 64, BigInt(CONTEXT) | 0b1011n);
    // CD: T0SZ 16, EPD1, V; IPS 48 bits, AA64, R, A; ASID.
    store(CONTEXT, 16n | (1n << 30n) | (1n << 31n) | (0x6205n << 32n) | (BigInt(ASID) << 48n));
    store(CONTEXT + 8, BigInt(TABLES[0]));
    for (let i = 0; i < 1 << LOG2_CMDQ; i++) {
      store(CMDQ + i * 16, 0x12n | (BigInt(ASID) << 48n)); // TLBI_NH_VA
      store(CMDQ + i * 16 + 8, (iova + BigInt(i % PAGES) * 0x1000n) | 1n);
    }
    this.#smmu = new SmmuV3({ memory });
    this.#smmu.write32(0x80, STREAM_TABLE);
    this.#smmu.write32(0x88, 4);
    this.#smmu.write32(0x90, CMDQ | LOG2_CMDQ);
    this.#smmu.write32(0x20, 0b1001);
    for (const lo of ORDER) {
      this.#minimalTlb.insert(lo, HI, ASID, DATA + (lo - LO));
    }
    this.hit();
  }

  /** Consumes `COMMANDS` TLBI_NH_VA after one write of CMDQ_PROD. */
  commands(): void {
    this.#prod = (this.#prod + COMMANDS) & ((2 << LOG2_CMDQ) - 1);
    this.#smmu.write32(0x98, this.#prod);
  }

  /** Translates all pages, each a TLB hit when they were translated before. */
  hit(): void {
    const { translator } = this.#smmu;
    for (let i = 0; i < PAGES; i++) {
      translator.translate(this.#requester, ORDER[i], HI, Access.Write);
    }
  }

  /** Translates all pages by four-level walks. */
  miss(): void {
    this.#smmu.translator.tlb.invalidateAll();
    this.hit();
  }

  /** Looks all pages up in the least that a TLB can be. */
  minimalHit(): number {
    let sum = 0;
    for (let i = 0; i < PAGES; i++) sum += this.#minimalTlb.find(ORDER[i], HI, ASID, Access.Write);
    return sum;
  }

  /** Walks for all pages with the least that a walk can be. */
  minimalMiss(): number {
    let sum = 0;
    for (let i = 0; i < PAGES; i++) sum += minimalWalk(this.#words, RAM, TABLES[0], ORDER[i], HI);
    return sum;
  }
}
