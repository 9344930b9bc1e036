/**
 * A guest made of numbers: RAM, an SMMUv3 and the few things a driver does, written out by the manual's offsets.
 * @module
 */
import type { FindWaiting, IrqLine, Requester } from "../../hw/device.ts";
import { type GuestMemory, GuestRam } from "../../hw/guest_memory.ts";
import type { EndpointPort } from "../../hw/smmuv3/endpoint_port.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import type { HostIommu } from "../../hw/smmuv3/host_iommu.ts";
import type { Observer } from "../../hw/smmuv3/observer.ts";
import type { SmmuV3Options } from "../../hw/smmuv3/options.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";

/** Where things are in the guest's RAM. */
export const RAM = 0x4000_0000;
export const CMDQ = 0x4001_0000;
export const EVENTQ = 0x4002_0000;
export const STRTAB = 0x4010_0000;
export const CDS = 0x4020_0000;
export const TABLES = 0x4030_0000;
export const DATA = 0x4080_0000;

const RAM_SIZE = 0x100_0000;
/** Where the guest's RAM ends; nothing is there. */
export const NOWHERE = 0x4100_0000;

/** Takes messages; no RAM is there. */
export const DOORBELL = 0x0802_0040;

/** A wired interrupt that counts. */
export class CountingLine implements IrqLine {
  pulses = 0;
  asserted = false;

  pulse(): void {
    this.pulses++;
  }

  set(asserted: boolean): void {
    this.asserted = asserted;
  }
}

/** How a test wants its guest; the defaults are boring. */
export interface GuestOptions {
  features?: Partial<Features>;
  /** log2 of entries of both queues. */
  log2queue?: number;
  observer?: Observer;
  /** Hardware behind some streams. */
  host?: HostIommu;
  /** False leaves the device as it is after reset. */
  enabled?: boolean;
  /** log2 of the TLB's sets of four entries. */
  log2tlbSets?: number;
  /** Endpoints that hear of CMD_ATC_INV and CMD_PRI_RESP. */
  endpoints?: EndpointPort;
  /** Registers that are memory. */
  page?: ArrayBuffer;
  /** Puts something between the device and the guest's RAM. */
  wrap?: (ram: GuestRam) => GuestMemory;
}

/** One stage 1 context, in the manual's values. */
export interface CdOptions {
  t0sz?: number;
  t1sz?: number;
  ttb0?: number;
  ttb1?: number;
  epd0?: boolean;
  epd1?: boolean;
  asid?: number;
  ips?: number;
  tbi?: number;
  /** Bits of word 1 (63:32) to set besides AA64, R, A, ASET. */
  word1?: number;
  /** Bits of word 1 to clear. */
  clear1?: number;
}

export class Guest {
  readonly ram = new GuestRam();
  readonly memory: DataView;
  smmu: SmmuV3;
  readonly eventq = new CountingLine();
  readonly gerror = new CountingLine();
  readonly cmdSync = new CountingLine();
  readonly priq = new CountingLine();
  readonly messages: { gpa: number; data: number }[] = [];
  readonly log2queue: number;
  /** Where registers are memory. */
  page: ArrayBuffer | undefined;
  readonly #deviceOptions: SmmuV3Options;
  #prod = 0;
  #nextTable = TABLES;

  constructor(options: GuestOptions = {}) {
    const { features, log2queue = 4, observer, enabled = true, log2tlbSets, wrap } = options;
    // One that may be resized is zeroed page by page, when they are touched.
    const buffer = new ArrayBuffer(RAM_SIZE, { maxByteLength: RAM_SIZE });
    this.memory = new DataView(buffer);
    this.ram.map(RAM, buffer);
    this.log2queue = log2queue;
    this.page = options.page;
    this.#deviceOptions = {
      memory: wrap ? wrap(this.ram) : this.ram,
      lines: { eventq: this.eventq, gerror: this.gerror, cmdSync: this.cmdSync, priq: this.priq },
      msi: {
        send: (gpa, data): boolean => {
          if (gpa !== DOORBELL) return false;
          this.messages.push({ gpa, data });
          return true;
        },
      },
      ...(features ? { features } : {}),
      ...(options.endpoints ? { endpoints: options.endpoints } : {}),
      ...(observer ? { observer } : {}),
      host: options.host,
      page: options.page,
      ...(log2tlbSets !== undefined ? { log2tlbSets } : {}),
    };
    this.smmu = new SmmuV3(this.#deviceOptions);
    if (enabled) this.enable();
  }

  /** Whether the registers are memory, so that the device hears late of what is written there. */
  get isMapped(): boolean {
    return this.page !== undefined;
  }

  /** Replaces the device by a fresh one that restores what JSON makes of a snapshot; registers that are memory are new too. */
  renew(find?: FindWaiting): void {
    if (this.page !== undefined) this.page = new ArrayBuffer(this.page.byteLength);
    const fresh = new SmmuV3({ ...this.#deviceOptions, page: this.page });
    fresh.restore(JSON.parse(JSON.stringify(this.smmu.snapshot())), find);
    this.smmu = fresh;
  }

  /** Brings the device up as Linux does, with a linear stream table of 64 entries. */
  enable(): void {
    const { smmu } = this;
    smmu.write32(0x28, 0xd75); // CR1
    smmu.write32(0x2c, 0x6); // CR2: PTM, RECINVSID
    smmu.write32(0x80, STRTAB);
    smmu.write32(0x84, 0x4000_0000); // RA
    smmu.write32(0x88, 6); // STRTAB_BASE_CFG: linear, 64 entries
    smmu.write32(0x90, CMDQ | this.log2queue);
    smmu.write32(0x94, 0x4000_0000);
    smmu.write32(0x98, 0);
    smmu.write32(0x9c, 0);
    smmu.write32(0x20, 0x8); // CMDQEN
    smmu.write32(0xa0, EVENTQ | this.log2queue);
    smmu.write32(0xa4, 0x4000_0000);
    smmu.write32(0x1_00a8, 0);
    smmu.write32(0x1_00ac, 0);
    smmu.write32(0x20, 0xc); // EVENTQEN
    smmu.write32(0x50, 0x5); // IRQ_CTRL: EVENTQ, GERROR
    smmu.write32(0x20, 0xd); // SMMUEN
    this.#prod = 0;
  }

  /** Puts a command of two 64-bit halves into the queue, without telling the device. */
  queue(w0: bigint, w1: bigint = 0n): number {
    const gpa = CMDQ + (this.#prod & ((1 << this.log2queue) - 1)) * 16;
    this.memory.setBigUint64(gpa - RAM, w0, true);
    this.memory.setBigUint64(gpa - RAM + 8, w1, true);
    this.#prod = (this.#prod + 1) & ((2 << this.log2queue) - 1);
    return gpa;
  }

  /** Tells the device about queued commands. */
  ring(): void {
    this.smmu.write32(0x98, this.#prod);
  }

  /** Queues one command and tells the device. */
  command(w0: bigint, w1: bigint = 0n): void {
    this.queue(w0, w1);
    this.ring();
  }

  /** Drops all cached configuration and translations, as a driver does after a change, and all events. */
  forget(): void {
    this.queue(0x04n, 0x1fn); // CMD_CFGI_ALL
    this.queue(0x30n); // CMD_TLBI_NSNH_ALL
    this.ring();
    this.events();
  }

  /** Writes the first two quads of the STE of a stream. */
  ste(streamId: number, q0: bigint, q1: bigint = 0n): void {
    this.memory.setBigUint64(STRTAB - RAM + streamId * 64, q0, true);
    this.memory.setBigUint64(STRTAB - RAM + streamId * 64 + 8, q1, true);
  }

  /** Stage 2 in the STE at an address: 4 KiB tables of four levels for 48 bits. Config is another matter. */
  stage2(ste: number, root: number, vmid: number = 0): void {
    const fields: [number, number, number][] = [
      [143, 128, vmid],
      [165, 160, 16], // S2T0SZ
      [167, 166, 2], // S2SL0: level 0
      [178, 176, 5], // S2PS
      [179, 179, 1], // S2AA64
      [186, 186, 1], // S2R
      [243, 196, root >> 4],
    ];
    for (const [high, low, value] of fields) this.field(ste, high, low, value);
  }

  /** Writes a CD at `gpa` and returns its address. */
  cd(gpa: number, options: CdOptions = {}): number {
    const { t0sz = 16, t1sz = 16, ttb0 = this.root(), ttb1 = 0, epd0 = false, epd1 = true } =
      options;
    const { asid = 1, ips = 5, tbi = 0, word1 = 0, clear1 = 0 } = options;
    const at = gpa - RAM;
    // TG1 = 0b10 is 4 KiB; bit 31 is V.
    const word0 = t0sz | (Number(epd0) << 14) | (t1sz << 16) | (0b10 << 22) | (Number(epd1) << 30) |
      (1 << 31);
    // AA64 41, R 45, A 46, ASET 47.
    const high = (ips | (tbi << 6) | (1 << 9) | (1 << 13) | (1 << 14) | (1 << 15) | word1) &
      ~clear1;
    this.memory.setUint32(at, word0 >>> 0, true);
    this.memory.setUint32(at + 4, (high & 0xffff) | (asid << 16), true);
    this.memory.setBigUint64(at + 8, BigInt(ttb0), true);
    this.memory.setBigUint64(at + 16, BigInt(ttb1), true);
    return gpa;
  }

  /** A stage 1 stream with one CD. */
  stage1(streamId: number, options: CdOptions = {}): { root: number; cd: number } {
    const root = options.ttb0 ?? this.root();
    const cd = this.cd(CDS + streamId * 64, { ...options, ttb0: root });
    this.ste(streamId, BigInt(cd) | 0b1011n);
    return { root, cd };
  }

  /** A zeroed 4 KiB table. */
  root(): number {
    const gpa = this.#nextTable;
    this.#nextTable += 0x1000;
    return gpa;
  }

  /**
   * Maps the page of `iova` with a leaf descriptor at `level` (3: 4 KiB, 2: 2 MiB, 1: 1 GiB), building tables from a
   * 4-level root; returns the address of the leaf descriptor. `attributes` default to read-write, unprivileged, AF, nG.
   */
  map(
    root: number,
    iova: bigint,
    gpa: number,
    attributes: bigint = 0xc40n,
    level: number = 3,
  ): number {
    let table = root;
    for (let at = 0;; at++) {
      const shift = BigInt(39 - 9 * at);
      const entry = table + Number((iova >> shift) & 0x1ffn) * 8;
      if (at === level) {
        const type = level === 3 ? 0b11n : 0b01n;
        this.quad(entry, BigInt(gpa) | attributes | type);
        return entry;
      }
      const old = this.memory.getBigUint64(entry - RAM, true);
      if ((old & 1n) === 0n) this.quad(entry, BigInt(this.root()) | 0b11n);
      table = Number(this.memory.getBigUint64(entry - RAM, true) & 0x0000_ffff_ffff_f000n);
    }
  }

  /** Stores a 64-bit value. */
  quad(gpa: number, value: bigint): void {
    this.memory.setBigUint64(gpa - RAM, value, true);
  }

  /** Loads a 64-bit value. */
  load(gpa: number): bigint {
    return this.memory.getBigUint64(gpa - RAM, true);
  }

  /** Replaces bits `high` to `low` of the structure at `gpa`, as the manual counts them; they share a 64-bit quad. */
  field(gpa: number, high: number, low: number, value: number | bigint): void {
    const at = gpa + (low >> 6) * 8;
    const shift = BigInt(low & 63);
    const mask = ((1n << BigInt(high - low + 1)) - 1n) << shift;
    this.quad(at, (this.load(at) & ~mask) | ((BigInt(value) << shift) & mask));
  }

  /** Loads a 32-bit value. */
  word(gpa: number): number {
    return this.memory.getUint32(gpa - RAM, true);
  }

  /** An endpoint's write; true when it was not aborted. */
  dmaWrite(streamId: number, iova: bigint, bytes: number[], substreamId: number = -1): boolean {
    const requester: Requester = { streamId, substreamId };
    return this.smmu.dma.write(requester, ...split(iova), Uint8Array.from(bytes));
  }

  /** An endpoint's read; undefined when it was aborted. */
  dmaRead(
    streamId: number,
    iova: bigint,
    sizeBytes: number = 1,
    substreamId: number = -1,
  ): number[] | undefined {
    const into = new Uint8Array(sizeBytes).fill(0xee);
    const done = this.smmu.dma.read({ streamId, substreamId }, ...split(iova), into);
    return done ? [...into] : undefined;
  }

  /** What becomes of a read of one byte: `data 1`, `event 10` (numbers in hexadecimal) or a silent `abort`. */
  probe(streamId: number, iova: bigint, substreamId: number = -1): string {
    const data = this.dmaRead(streamId, iova, 1, substreamId);
    const events = this.eventNumbers().map((number) => `event ${number.toString(16)}`);
    if (data !== undefined) return [`data ${data[0].toString(16)}`, ...events].join(", ");
    return events.length === 0 ? "abort" : events.join(", ");
  }

  /** The numbers of the records between EVENTQ_CONS and EVENTQ_PROD; acknowledged. */
  eventNumbers(): number[] {
    return this.events().map(([quad]) => Number(quad & 0xffn));
  }

  /** The records between EVENTQ_CONS and EVENTQ_PROD, as four quads each; acknowledged. */
  events(): bigint[][] {
    const mask = (2 << this.log2queue) - 1;
    const records: bigint[][] = [];
    const prod = this.smmu.read32(0x1_00a8);
    let cons = this.smmu.read32(0x1_00ac) & mask;
    while (cons !== (prod & mask)) {
      const gpa = EVENTQ + (cons & (mask >> 1)) * 32;
      records.push([0, 8, 16, 24].map((at) => this.memory.getBigUint64(gpa - RAM + at, true)));
      cons = (cons + 1) & mask;
    }
    this.smmu.write32(0x1_00ac, ((prod & 0x8000_0000) | cons) >>> 0);
    return records;
  }
}

/** Guest memory of which some methods are replaced. */
export function altered(ram: GuestMemory, methods: Partial<GuestMemory>): GuestMemory {
  return {
    fetch: (gpa, into) => ram.fetch(gpa, into),
    store: (gpa, from) => ram.store(gpa, from),
    store32: (gpa, value) => ram.store32(gpa, value),
    compareExchange: (gpa, expected, desired) => ram.compareExchange(gpa, expected, desired),
    read: (gpa, into) => ram.read(gpa, into),
    write: (gpa, from) => ram.write(gpa, from),
    ...methods,
  };
}

/** The low and the high word of an address. */
export function split(iova: bigint): [number, number] {
  return [Number(iova & 0xffff_ffffn), Number(iova >> 32n)];
}
