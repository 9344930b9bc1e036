/**
 * A function that makes one DMA write on request and says what came of it. The registers, pattern and results are
 * those of QEMU's `iommu-testdev` (docs/specs/iommu-testdev.rst), so programs for that device run on this one. With
 * PASIDs, ATS or page requests a second page of registers follows, which that device does not have.
 * @module
 */
import type { AtsPort } from "../ats_port.ts";
import type { DmaPort, MmioDevice, Requester, StallableDmaPort } from "../device.ts";
import { bits, get } from "../bits.ts";
import type { GuestMemory } from "../guest_memory.ts";
import { type Capability, ConfigSpace } from "../pci/config_space.ts";
import { expressCapability } from "../pci/express.ts";
import type { Bar, PciFunction } from "../pci/function.ts";
import { Addressing, DmaTestAts } from "./dma_test_ats.ts";
import { DmaTestPageRequests } from "./dma_test_page_requests.ts";
import { PASID_CONTROL, pasidCapability } from "../pci/pasid.ts";
import { type ConfigRegister, PortType, rw } from "../pci/registers.ts";

/** Register offsets; each has 32 bits. */
const REG = {
  TRIGGER: 0x00,
  IOVA_LO: 0x04,
  IOVA_HI: 0x08,
  LEN: 0x0c,
  RESULT: 0x10,
  DBELL: 0x14,
  ATTRS: 0x18,
  GPA_LO: 0x1c,
  GPA_HI: 0x20,
  /** Of the second page: the PASID of the transfer. */
  PASID: 0x1000,
} as const;

/** Registers that hold what was written to them. */
const STORED: readonly number[] = [
  REG.IOVA_LO,
  REG.IOVA_HI,
  REG.LEN,
  REG.RESULT,
  REG.ATTRS,
  REG.GPA_LO,
  REG.GPA_HI,
];

/** Fields of ATTRS. */
const ATTRS = { Secure: bits(0), Space: bits(2, 1), SpaceValid: bits(3) } as const;
/** Fields of PASID: the number, and whether the transfer has one. */
const PASID = { Number: bits(19, 0), Valid: bits(31) } as const;
/** Fields of all registers that ask for something. */
const ASKED = { Execute: bits(2), Privileged: bits(3) } as const;
const Space = { Secure: 0, NonSecure: 1 } as const;

/** Values of RESULT. */
const RESULT = {
  OK: 0,
  BAD_LEN: 0xdead_0001,
  WRITE_FAILED: 0xdead_0002,
  READBACK_FAILED: 0xdead_0003,
  MISMATCH: 0xdead_0004,
  NOT_ARMED: 0xdead_0005,
  BAD_ATTRS: 0xdead_0006,
  /** Software has it stalled; the result comes when that has been answered. */
  WAITING: 0xffff_fffd,
  ARMED: 0xffff_fffe,
  IDLE: 0xffff_ffff,
} as const;

/** ATTRS after reset: Space is Non-secure, and not valid. */
const ATTRS_INITIAL = 0b0010;
const PATTERN = Uint8Array.of(0x78, 0x56, 0x34, 0x12);
/** Longest transfer in bytes; a LEN beyond it is a bad one. */
const MAX_SIZE = 0x1_0000;
const PAGE_SIZE = 0x1000;
/** PASID Control register, in the capability. PCI Express Base 5.0 §7.8.8.3. */
const CONTROL: ConfigRegister = rw(0x06, 2, 0);

/** What the test device is made of. */
export interface DmaTestDeviceOptions {
  /** As whom it writes. */
  readonly requester: Requester;
  /** Where it writes. */
  readonly dma: DmaPort;
  /** The way of transfers that may be stalled, in place of `dma`, where it can wait. */
  readonly stallable?: StallableDmaPort;
  /** Memory by GPA, for the readback that no IOMMU translates. */
  readonly memory: GuestMemory;
  /** Bits of its PASIDs, 1 to 20; it has none when absent. */
  readonly pasidWidth?: number;
  /** How it translates for itself; it does not when absent. */
  readonly ats?: AtsPort;
  /** Whether it asks for pages, by `ats`. */
  readonly pageRequests?: boolean;
}

/**
 * The test device: 1b36:0005, class 0x00ff00, BAR 0 of 4 KiB, no interrupt, no capabilities; with PASIDs, ATS or page
 * requests BAR 0 of 8 KiB, a PCI Express capability with Function Level Reset, and a capability for each of them.
 *
 * Write IOVA, GPA and LEN, arm by writing 1 to DBELL, run by reading TRIGGER, read RESULT. LEN is at most 64 KiB;
 * more is answered like 0. As in QEMU, the transfer does not depend on Command.BusMasterEnable. Of the spaces that
 * ATTRS can name only Non-secure has a way to memory here; the others are answered as a failed write. Where it can wait,
 * RESULT is 0xfffffffd while software has the transfer stalled, and DBELL and TRIGGER do nothing until it has answered.
 *
 * The second page:
 *
 * | Offset | Register | |
 * | --- | --- | --- |
 * | 0x1000 | PASID | of transfers and requests in bits 19:0, if bit 31 is set; without PASID Enable, or with more bits than the capability has, that is an ATTRS that cannot be |
 * | 0x1010 | ATS_REQUEST | a write asks for the translation of IOVA: 1 to write, 2 to execute, 3 privileged; the last two want a PASID, and its enables |
 * | 0x1014 | ATS_RESULT | 2:0 status (0 success, 1 unsupported request, 4 completer abort, 7 not sent), 8 read, 9 write, 10 execute, 11 privileged, 21:16 log2 of the size |
 * | 0x1018 | ATS_ADDRESS | of the page, 64 bits |
 * | 0x1020 | ADDRESSING | of the transfer: 0 untranslated, 1 by the ATC, which asks for what it does not have, 2 IOVA is translated already; without ATS Enable the last two are ATTRS that cannot be |
 * | 0x1024 | ATC_COUNT | translations in the ATC, which has room for 16; a write empties it |
 * | 0x1028 | ATC_INVALIDATIONS | CMD_ATC_INV so far |
 * | 0x1030 | PRI_REQUEST | a write asks for the page of IOVA: 0 to read, 1 to write, 2 to execute, 3 privileged, as above; 4 last of its group, 24:16 group |
 * | 0x1034 | PRI_RESULT | 8:0 group that was answered last, 17:16 its answer as in CMD_PRI_RESP, 30 the request was not sent, 31 there is an answer |
 * | 0x1038 | PRI_OUTSTANDING | requests that are not answered; 32 at most, and no more than the capability's allocation |
 */
export class DmaTestDevice implements PciFunction {
  /** `dma-test-device`. */
  readonly name = "dma-test-device";
  /** Configuration space. */
  readonly config: ConfigSpace;
  /** BAR 0: the registers. */
  readonly bars: readonly Bar[];

  readonly #requester: Requester;
  readonly #dma: DmaPort;
  readonly #stallable: StallableDmaPort | undefined;
  readonly #memory: GuestMemory;
  readonly #pasidWidth: number;
  readonly #ats: DmaTestAts | undefined;
  readonly #pages: DmaTestPageRequests | undefined;
  readonly #withPasid: { streamId: number; substreamId: number };
  readonly #registers: Uint32Array;
  readonly #attrs: Uint32Array;
  /** Empty without PASIDs. */
  readonly #pasid: Uint32Array;
  readonly #source = new Uint8Array(MAX_SIZE);
  readonly #target = new Uint8Array(MAX_SIZE);
  #capability = 0;
  #armed = false;
  #isWaiting = false;
  /** What was begun before the last reset is not told of any more. */
  #epoch = 0;

  /** A device that is idle and not armed. */
  constructor(options: DmaTestDeviceOptions) {
    this.#requester = options.requester;
    this.#dma = options.dma;
    this.#stallable = options.stallable;
    this.#memory = options.memory;
    this.#pasidWidth = options.pasidWidth ?? 0;
    this.#withPasid = { ...options.requester };
    const { ats, pageRequests = false } = options;
    this.#ats = ats && new DmaTestAts(ats);
    this.#pages = ats && pageRequests ? new DmaTestPageRequests(ats) : undefined;
    const isPlain = this.#pasidWidth === 0 && ats === undefined;
    const sizeBytes = isPlain ? PAGE_SIZE : 2 * PAGE_SIZE;
    this.#registers = new Uint32Array(sizeBytes / 4);
    this.#attrs = this.#registers.subarray(REG.ATTRS / 4);
    this.#pasid = this.#registers.subarray(REG.PASID / 4);
    for (let i = 0; i < MAX_SIZE; i++) this.#source[i] = PATTERN[i & 3];
    const device: MmioDevice = {
      read: (offset, into) => this.#read(offset, into),
      write: (offset, from) => this.#write(offset, from),
    };
    this.bars = [{ index: 0, sizeBytes, device }];
    this.config = new ConfigSpace({
      vendorId: 0x1b36,
      deviceId: 0x0005,
      classCode: 0x00ff00,
      bars: this.bars,
      ...(isPlain ? {} : this.#capabilities()),
    });
    this.#clear();
  }

  /** Idle and not armed again. */
  reset(): void {
    this.#clear();
    this.config.reset();
  }

  /** CMD_ATC_INV for it, as in `EndpointPort`. */
  invalidate(
    substreamId: number,
    everySubstream: boolean,
    lo: number,
    hi: number,
    log2pages: number,
  ): void {
    this.#ats?.invalidate(substreamId, everySubstream, lo, hi, log2pages);
  }

  /** An answer to its page requests, as in `EndpointPort`. */
  respond(substreamId: number, group: number, response: number): void {
    this.#pages?.respond(substreamId, group, response);
  }

  #capabilities(): { capabilities: Capability[]; extended: Capability[] } {
    const width = this.#pasidWidth;
    const hasPasids = width > 0;
    const extended: Capability[] = [];
    if (hasPasids) {
      const canAsk = this.#ats !== undefined;
      const pasid = pasidCapability({ width, execute: canAsk, privileged: canAsk });
      extended.push({ ...pasid, attach: (_config, offset) => void (this.#capability = offset) });
    }
    if (this.#ats) extended.push(this.#ats.capability());
    if (this.#pages) extended.push(this.#pages.capability());
    return {
      capabilities: [expressCapability({
        type: PortType.RootComplexIntegrated,
        ...(hasPasids ? { endToEndPrefixes: 1 } : {}),
        reset: () => this.reset(),
      })],
      extended,
    };
  }

  #clear(): void {
    this.#registers.fill(0);
    this.#registers[REG.RESULT / 4] = RESULT.IDLE;
    this.#registers[REG.ATTRS / 4] = ATTRS_INITIAL;
    this.#armed = false;
    this.#isWaiting = false;
    this.#epoch++;
    this.#ats?.clear();
    this.#pages?.clear();
  }

  /** Registers are read whole, 4 bytes; an access of 8 bytes is two. */
  #read(offset: number, into: Uint8Array): void {
    into.fill(0);
    if (offset % 4 !== 0) return;
    for (let i = 0; i + 4 <= into.length; i += 4) {
      if (offset + i === REG.TRIGGER) this.#registers[REG.RESULT / 4] = this.#run();
      const value = this.#ats?.read(offset + i) ?? this.#pages?.read(offset + i) ??
        this.#registers[(offset + i) / 4] ?? 0;
      for (let byte = 0; byte < 4; byte++) into[i + byte] = value >>> (8 * byte);
    }
  }

  #write(offset: number, from: Uint8Array): void {
    if (offset % 4 !== 0) return;
    for (let i = 0; i + 4 <= from.length; i += 4) {
      const value = from[i] | from[i + 1] << 8 | from[i + 2] << 16 | from[i + 3] << 24;
      if (offset + i === REG.DBELL) this.#ring((value & 1) !== 0);
      else if (this.#isStored(offset + i)) this.#registers[(offset + i) / 4] = value;
      else if (offset + i >= PAGE_SIZE) this.#ask(offset + i, value >>> 0);
    }
  }

  /** A register of those that ask for something. */
  #ask(offset: number, value: number): void {
    const requester = this.#mayAsk(value) ? this.#asWhom() : undefined;
    const [lo, hi] = [this.#registers[REG.IOVA_LO / 4], this.#registers[REG.IOVA_HI / 4]];
    this.#ats?.write(offset, value, requester, lo, hi);
    this.#pages?.write(offset, value, requester, lo, hi);
  }

  #isStored(offset: number): boolean {
    return STORED.includes(offset) || (offset === REG.PASID && this.#pasidWidth > 0);
  }

  /** Whether the PASID Control register lets a request be as it is to be. */
  #mayAsk(value: number): boolean {
    if (get(this.#pasid, PASID.Valid) === 0) return true;
    const { ExecutePermissionEnable, PrivilegedModeEnable } = PASID_CONTROL;
    const control = this.config.get(this.#capability, CONTROL);
    const wanted = ((value >>> ASKED.Execute.shift & 1) << ExecutePermissionEnable.shift) |
      ((value >>> ASKED.Privileged.shift & 1) << PrivilegedModeEnable.shift);
    return (control & wanted) === wanted;
  }

  #ring(armed: boolean): void {
    if (this.#isWaiting) return;
    this.#armed = armed;
    this.#registers[REG.RESULT / 4] = armed ? RESULT.ARMED : RESULT.IDLE;
  }

  #run(): number {
    if (this.#isWaiting) return RESULT.WAITING;
    if (!this.#armed) return RESULT.NOT_ARMED;
    this.#armed = false;
    const registers = this.#registers;
    const size = registers[REG.LEN / 4];
    if (size === 0 || size > MAX_SIZE) return RESULT.BAD_LEN;
    const space = this.#space();
    const requester = this.#asWhom();
    if (space < 0 || requester === undefined || !this.#canAddress()) return RESULT.BAD_ATTRS;
    const source = this.#source.subarray(0, size);
    if (space !== Space.NonSecure) return RESULT.WRITE_FAILED;
    const [lo, hi] = [registers[REG.IOVA_LO / 4], registers[REG.IOVA_HI / 4]];
    const gpa = registers[REG.GPA_HI / 4] * 0x1_0000_0000 + registers[REG.GPA_LO / 4];
    const stallable = this.#stallable;
    if (stallable === undefined || !this.#isUntranslated) {
      return this.#resultOf(this.#transfer(requester, lo, hi, source), source, gpa);
    }
    const epoch = this.#epoch;
    let result: number = RESULT.WAITING;
    this.#isWaiting = true;
    stallable.write({ ...requester }, lo, hi, source, (ok) => {
      if (epoch !== this.#epoch) return;
      this.#isWaiting = false;
      result = this.#resultOf(ok, source, gpa);
      registers[REG.RESULT / 4] = result;
    });
    return result;
  }

  /** RESULT of a transfer that has ended. */
  #resultOf(ok: boolean, source: Uint8Array, gpa: number): number {
    if (!ok) return RESULT.WRITE_FAILED;
    const target = this.#target.subarray(0, source.length);
    if (!this.#memory.read(gpa, target)) return RESULT.READBACK_FAILED;
    for (let i = 0; i < source.length; i++) if (target[i] !== source[i]) return RESULT.MISMATCH;
    return RESULT.OK;
  }

  get #isUntranslated(): boolean {
    return (this.#ats?.addressing ?? Addressing.Untranslated) === Addressing.Untranslated;
  }

  /** Whether transfers can address memory as they are to. */
  #canAddress(): boolean {
    if (this.#isUntranslated) return true;
    return this.#ats!.addressing <= Addressing.Translated && this.#ats!.isEnabled;
  }

  #transfer(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    const ats = this.#ats;
    if (ats === undefined || ats.addressing === Addressing.Untranslated) {
      return this.#dma.write(requester, lo, hi, from);
    }
    return ats.transfer(requester, lo, hi, from);
  }

  /** The requester of the transfer; none when it is to have a PASID that it cannot have. */
  #asWhom(): Requester | undefined {
    if (this.#pasidWidth === 0 || get(this.#pasid, PASID.Valid) === 0) return this.#requester;
    const { shift, mask } = PASID_CONTROL.PASIDEnable;
    const isEnabled = (this.config.get(this.#capability, CONTROL) >>> shift & mask) !== 0;
    const number = get(this.#pasid, PASID.Number);
    if (!isEnabled || number >= 2 ** this.#pasidWidth) return undefined;
    // Its owner may move the function meanwhile.
    this.#withPasid.streamId = this.#requester.streamId;
    this.#withPasid.substreamId = number;
    return this.#withPasid;
  }

  /** The space of the transfer, or -1 when ATTRS contradicts itself. */
  #space(): number {
    if (get(this.#attrs, ATTRS.SpaceValid) === 0) return Space.NonSecure;
    const space = get(this.#attrs, ATTRS.Space);
    const secure = get(this.#attrs, ATTRS.Secure) !== 0;
    const knows = space === Space.Secure || space === Space.NonSecure;
    return knows && secure !== (space === Space.Secure) ? -1 : space;
  }
}
