/**
 * Rounds of work for a device with everything: what misses cost, by tables and stages; invalidations of a full TLB; events;
 * snapshots.
 * @module
 */
import { type AtsPort, TranslationCompletion } from "../../hw/ats_port.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import { Access } from "../../hw/smmuv3/fault.ts";
import { SmmuV3, type SmmuV3Snapshot } from "../../hw/smmuv3/smmuv3.ts";

/** Pages that each round of misses translates. */
export const MISSES = 256;
/** Commands of each round of invalidations. */
export const INVALIDATIONS = 512;
/** Events of each round. */
export const EVENTS = 256;
/** What the TLB holds when it is full. */
export const TLB_ENTRIES = 4096;

/** Invalidations: each round has one of these. */
export type InvalidationKind = "VA" | "range" | "ASID" | "VMID";

const RAM = 0x4000_0000;
const STREAMS = RAM + 0x1_0000;
const CONTEXTS = RAM + 0x2_0000;
const COMMANDS = RAM + 0x3_0000;
const EVENT_QUEUE = RAM + 0x4_0000;
const DATA = RAM + 0x100_0000;
const SIZE = 0x200_0000;
const LOG2_QUEUE = 10;
const ASID = 1;
const VMID = 1;

/** A stream's tables. */
interface Kind {
  readonly streamId: number;
  readonly log2granule: number;
  readonly tg0: number;
  readonly nested: boolean;
  readonly substreams: boolean;
}

/** Which tables a miss walks. */
export const KINDS = {
  "4 KiB": { streamId: 1, log2granule: 12, tg0: 0, nested: false, substreams: false },
  "16 KiB": { streamId: 2, log2granule: 14, tg0: 2, nested: false, substreams: false },
  "64 KiB": { streamId: 3, log2granule: 16, tg0: 1, nested: false, substreams: false },
  "nested": { streamId: 4, log2granule: 12, tg0: 0, nested: true, substreams: false },
  "two-level CD table": { streamId: 5, log2granule: 12, tg0: 0, nested: false, substreams: true },
} as const satisfies Record<string, Kind>;

const ENDPOINT = { streamId: KINDS["4 KiB"].streamId, substreamId: -1 };
const TO_WRITE = { write: true, execute: false, privileged: false };

/** A kind of tables. */
export type KindName = keyof typeof KINDS;

/** The device, and its guest's memory. */
export class DeviceWork {
  /** The device. */
  readonly smmu: SmmuV3;
  readonly #quads: BigUint64Array;
  readonly #snapshot: SmmuV3Snapshot;
  readonly #port: AtsPort;
  readonly #completion = new TranslationCompletion();
  #free = RAM + 0x10_0000;
  #below = 0;

  /** A device whose memory `wrap` may put something in front of. */
  constructor(wrap: (ram: GuestRam) => GuestRam = (ram): GuestRam => ram) {
    const ram = new GuestRam();
    const buffer = new ArrayBuffer(SIZE);
    ram.map(RAM, buffer);
    this.#quads = new BigUint64Array(buffer);
    this.smmu = new SmmuV3({
      memory: wrap(ram),
      features: {
        stage2: true,
        granule16K: true,
        granule64K: true,
        twoLevelContextTable: true,
        ats: true,
      },
    });
    this.#port = this.smmu.atsPort();
    this.#below = this.#table(12);
    // Memory below stage 2 is where it is, page by page.
    for (let gpa = RAM; gpa < RAM + SIZE; gpa += 0x1000) {
      this.#map(this.#below, 12, gpa, gpa, 0x4ffn);
    }
    for (const kind of Object.values(KINDS)) this.#stream(kind);
    const { smmu } = this;
    const writes = [
      [0x80, STREAMS],
      [0x88, 4],
      [0x90, COMMANDS | LOG2_QUEUE],
      [0xa0, EVENT_QUEUE | LOG2_QUEUE],
      [0x20, 0xd],
    ];
    for (const [offset, value] of writes) smmu.write32(offset, value);
    this.fill();
    this.#snapshot = smmu.snapshot();
  }

  /** Translates pages of one kind, of which none is cached. */
  miss(name: KindName): void {
    const { streamId, log2granule, substreams }: Kind = KINDS[name];
    const { translator } = this.smmu;
    const requester = { streamId, substreamId: substreams ? 1 : -1 };
    translator.tlb.invalidateAll();
    for (let i = 0; i < MISSES; i++) {
      if (substreams) translator.contexts.invalidateSubstream(streamId, 1);
      translator.translate(requester, i << log2granule, 0, Access.Write);
    }
  }

  /** Asks for translations of pages of one stream as an endpoint does, of which the TLB has every other one. */
  requests(): void {
    const { tlb } = this.smmu.translator;
    tlb.invalidateAll();
    for (let i = 0; i < MISSES; i++) {
      this.#port.translate(ENDPOINT, (i >>> 1) << 12, 0, TO_WRITE, this.#completion);
    }
  }

  /** Fills the TLB with pages of one stream. */
  fill(): void {
    const { translator } = this.smmu;
    const requester = { streamId: KINDS["4 KiB"].streamId, substreamId: -1 };
    for (let i = 0; i < TLB_ENTRIES; i++) {
      translator.translate(requester, i * 0x1000, 0, Access.Read);
    }
  }

  /** Writes commands of a kind into the whole queue. */
  queue(kind: InvalidationKind): void {
    const tags = (BigInt(VMID) << 32n) | (BigInt(ASID) << 48n);
    for (let i = 0; i < 1 << LOG2_QUEUE; i++) {
      const page = BigInt(i * 4) << 12n;
      // A range of 512 pages: TG 4 KiB, NUM 31, SCALE 4.
      const [w0, w1] = {
        VA: [0x12n | tags, page | 1n],
        range: [0x12n | tags | (31n << 12n) | (4n << 20n), page | (1n << 10n)],
        ASID: [0x11n | tags, 0n],
        VMID: [0x10n | tags, 0n],
      }[kind];
      this.#store(COMMANDS + i * 16, w0);
      this.#store(COMMANDS + i * 16 + 8, w1);
    }
  }

  /** Consumes `INVALIDATIONS` of what is queued. */
  invalidate(): void {
    const { smmu } = this;
    smmu.write32(0x98, (smmu.read32(0x98) + INVALIDATIONS) & ((2 << LOG2_QUEUE) - 1));
  }

  /** Has `EVENTS` faults recorded, and reads them. */
  faults(): void {
    const { smmu } = this;
    const requester = { streamId: 9, substreamId: -1 };
    for (let i = 0; i < EVENTS; i++) smmu.translator.translate(requester, i << 12, 0, Access.Read);
    smmu.write32(0x1_00ac, smmu.read32(0x1_00a8));
  }

  /** Takes a snapshot of a device with a full TLB. */
  snapshot(): SmmuV3Snapshot {
    return this.smmu.snapshot();
  }

  /** Becomes what it was at the beginning, with a full TLB. */
  restore(): void {
    this.smmu.restore(this.#snapshot);
  }

  #store(gpa: number, value: bigint): void {
    this.#quads[(gpa - RAM) / 8] = value;
  }

  #load(gpa: number): bigint {
    return this.#quads[(gpa - RAM) / 8];
  }

  #table(log2size: number): number {
    const size = 1 << log2size;
    const gpa = Math.ceil(this.#free / size) * size;
    this.#free = gpa + size;
    return gpa;
  }

  /** Maps a page by tables of 48 bits of input. */
  #map(root: number, log2granule: number, input: number, output: number, leaf: bigint): void {
    const stride = log2granule - 3;
    let table = root;
    for (let shift = log2granule + 3 * stride; shift >= log2granule; shift -= stride) {
      if (shift >= 48) continue;
      const at = table + (Math.floor(input / 2 ** shift) % 2 ** stride) * 8;
      if (shift === log2granule) return this.#store(at, BigInt(output) | leaf);
      if (this.#load(at) === 0n) this.#store(at, BigInt(this.#table(log2granule)) | 3n);
      table = Number(this.#load(at) & 0xffff_ffff_f000n);
    }
  }

  #stream({ streamId, log2granule, tg0, nested, substreams }: Kind): void {
    const root = this.#table(log2granule);
    const pages = streamId === KINDS["4 KiB"].streamId ? TLB_ENTRIES : MISSES;
    for (let page = 0; page < pages; page++) {
      const output = DATA + (page << log2granule) % 0x80_0000;
      this.#map(root, log2granule, page << log2granule, output, 0xc43n);
    }
    // With substreams the first level 1 descriptor leads to the leaf with the CD of substream 1.
    const context = CONTEXTS + streamId * 0x1000;
    const leaf = context + 0x8000;
    const at = substreams ? leaf + 64 : context;
    if (substreams) this.#store(context, BigInt(leaf) | 1n);
    // CD: T0SZ 16, TG0, EPD1, V; IPS 48 bits, AA64, R, A; ASID.
    const low = 16n | (BigInt(tg0) << 6n) | (1n << 30n) | (1n << 31n);
    this.#store(at, low | (0x6205n << 32n) | (BigInt(ASID) << 48n));
    this.#store(at + 8, BigInt(root));
    const ste = STREAMS + streamId * 64;
    const shape = substreams ? (1n << 4n) | (7n << 59n) : 0n;
    this.#store(ste, BigInt(context) | shape | (nested ? 0b1111n : 0b1011n));
    this.#store(ste + 8, 1n << 28n); // EATS: full ATS
    // S2VMID; 48 bits from level 0, 48 bits out, S2AA64, S2R
    const stage2 = (16n << 32n) | (2n << 38n) | (5n << 48n) | (1n << 51n) | (1n << 58n);
    this.#store(ste + 16, BigInt(VMID) | stage2);
    this.#store(ste + 24, BigInt(this.#below));
  }
}
