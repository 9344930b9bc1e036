/**
 * The part of the DMA test device that translates for itself: its ATC, and its registers on the second page. IHI 0070
 * §3.9, PCI Express Base 5.0 §10.
 * @module
 */
import { type AtsPort, CompletionStatus, TranslationCompletion } from "../ats_port.ts";
import { bits, set } from "../bits.ts";
import type { Requester } from "../device.ts";
import { ATS_CONTROL, ATS_CONTROL_REGISTER, atsCapability } from "../pci/ats.ts";
import type { Capability, ConfigSpace } from "../pci/config_space.ts";
import { TranslationCache } from "./translation_cache.ts";

/** Register offsets; each has 32 bits. */
const REG = {
  /** Written: asks for the translation of IOVA. */
  ATS_REQUEST: 0x1010,
  /** The answer, and where it leads. */
  ATS_RESULT: 0x1014,
  ATS_ADDRESS_LO: 0x1018,
  ATS_ADDRESS_HI: 0x101c,
  /** How the transfer addresses memory: one of `Addressing`. */
  ADDRESSING: 0x1020,
  /** Translations in the ATC; a write empties it. */
  ATC_COUNT: 0x1024,
  /** CMD_ATC_INV so far. */
  ATC_INVALIDATIONS: 0x1028,
} as const;

/** Fields of ATS_REQUEST, where PRI_REQUEST has them. */
const ATS_REQUEST = { Write: bits(1), Execute: bits(2), Privileged: bits(3) } as const;
/** Fields of ATS_RESULT. */
const ATS_RESULT = {
  Status: bits(2, 0),
  Read: bits(8),
  Write: bits(9),
  Execute: bits(10),
  Privileged: bits(11),
  Log2Size: bits(21, 16),
} as const;
/** ATS_RESULT.Status of what was not sent: ATS is not enabled, or the PASID cannot be. */
const NOT_SENT = 7;
/** Values of ADDRESSING. */
export const Addressing = {
  /** IOVA, for the SMMU to translate. */
  Untranslated: 0,
  /** IOVA, translated by the ATC, which asks for what it does not have. */
  Cached: 1,
  /** IOVA is an address that was translated already. */
  Translated: 2,
} as const;

const CACHED_TRANSLATIONS = 16;
const TO_WRITE = { write: true, execute: false, privileged: false } as const;
const FIRST = REG.ATS_REQUEST;
const END = REG.ATC_INVALIDATIONS + 4;

/** ATS of one function. */
export class DmaTestAts {
  readonly #port: AtsPort;
  readonly #words = new Uint32Array((END - FIRST) / 4);
  readonly #cache = new TranslationCache(CACHED_TRANSLATIONS);
  readonly #completion = new TranslationCompletion();
  #config: ConfigSpace | undefined;
  #at = 0;

  /** By `port`. */
  constructor(port: AtsPort) {
    this.#port = port;
  }

  /** Its capability. */
  capability(): Capability {
    return atsCapability({
      placed: (config, offset) => {
        this.#config = config;
        this.#at = offset;
      },
      controlled: () => this.isEnabled || this.#cache.clear(),
    });
  }

  /** Whether ATS Control says so. */
  get isEnabled(): boolean {
    return (this.#control() >>> ATS_CONTROL.Enable.shift) !== 0;
  }

  /** How transfers address memory: one of `Addressing`, or what else was written. */
  get addressing(): number {
    return this.#get(REG.ADDRESSING);
  }

  /** As after reset. */
  clear(): void {
    this.#words.fill(0);
    this.#cache.clear();
  }

  /** The value of a register; undefined where it has none. */
  read(offset: number): number | undefined {
    if (offset < FIRST || offset >= END) return undefined;
    if (offset === REG.ATC_COUNT) return this.#cache.count;
    return this.#get(offset);
  }

  /** A register is written. `requester` makes what it asks for, of IOVA; undefined where it cannot be. */
  write(
    offset: number,
    value: number,
    requester: Requester | undefined,
    lo: number,
    hi: number,
  ): void {
    switch (offset) {
      case REG.ATS_REQUEST:
        this.#set(offset, value);
        this.#request(value, requester, lo, hi);
        break;
      case REG.ADDRESSING:
        this.#set(offset, value);
        break;
      case REG.ATC_COUNT:
        this.#cache.clear();
        break;
    }
  }

  /** Writes as ADDRESSING says, when that is not Untranslated; false when some page was not done. */
  transfer(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    const { translated } = this.#port;
    if (this.addressing === Addressing.Translated) return translated.write(requester, lo, hi, from);
    for (let done = 0; done < from.length;) {
      const low = lo + done;
      const high = (hi + Math.floor(low / 0x1_0000_0000)) >>> 0;
      if (!this.#locate(requester, low >>> 0, high)) return false;
      const { gpa, log2size } = this.#cache;
      const inside = (low >>> 0) % 2 ** log2size;
      const part = from.subarray(done, done + 2 ** log2size - inside);
      const at = gpa + inside;
      const hiAt = Math.floor(at / 0x1_0000_0000);
      if (!translated.write(requester, at % 0x1_0000_0000, hiAt, part)) return false;
      done += part.length;
    }
    return true;
  }

  /**
   * CMD_ATC_INV. What is not enabled has nothing to forget, and answers so. An invalidation without a PASID (-1) is for
   * all of them here: a function may always forget more, and Linux has that one stand for the whole ATC
   * (`arm_smmu_atc_inv_to_cmd()`).
   */
  invalidate(
    substreamId: number,
    everySubstream: boolean,
    lo: number,
    hi: number,
    log2pages: number,
  ): void {
    this.#set(REG.ATC_INVALIDATIONS, this.#get(REG.ATC_INVALIDATIONS) + 1);
    this.#cache.invalidate(substreamId, everySubstream || substreamId < 0, lo, hi, log2pages);
  }

  /** Has the cache find a page that may be written, by a request where it has none; false when it may not be. */
  #locate(requester: Requester, lo: number, hi: number): boolean {
    const cache = this.#cache;
    const { substreamId } = requester;
    if (cache.find(substreamId, lo, hi) && cache.write) return true;
    this.#translate(requester, lo, hi, TO_WRITE);
    return cache.find(substreamId, lo, hi) && cache.write;
  }

  #translate(
    requester: Requester,
    lo: number,
    hi: number,
    kind: { write: boolean; execute: boolean; privileged: boolean },
  ): void {
    const completion = this.#completion;
    this.#port.translate(requester, lo, hi, kind, completion);
    const { status, read, write, privileged } = completion;
    // Transfers are unprivileged: what is granted to privileged ones is not for them.
    if (status !== CompletionStatus.Success || !(read || write) || privileged) return;
    this.#cache.insert(requester.substreamId, lo, hi, completion);
  }

  #request(value: number, requester: Requester | undefined, lo: number, hi: number): void {
    const result = this.#result(REG.ATS_RESULT);
    result[0] = 0;
    this.#setAddress(0);
    if (!this.isEnabled || requester === undefined) return set(result, ATS_RESULT.Status, NOT_SENT);
    const has = (bit: number): boolean => (value >>> bit & 1) !== 0;
    this.#translate(requester, lo, hi, {
      write: has(ATS_REQUEST.Write.shift),
      execute: has(ATS_REQUEST.Execute.shift),
      privileged: has(ATS_REQUEST.Privileged.shift),
    });
    const { status, gpa, log2size, read, write, execute, privileged } = this.#completion;
    set(result, ATS_RESULT.Status, status);
    if (status !== CompletionStatus.Success) return;
    set(result, ATS_RESULT.Read, Number(read));
    set(result, ATS_RESULT.Write, Number(write));
    set(result, ATS_RESULT.Execute, Number(execute));
    set(result, ATS_RESULT.Privileged, Number(privileged));
    set(result, ATS_RESULT.Log2Size, log2size);
    this.#setAddress(gpa);
  }

  #control(): number {
    return this.#config?.get(this.#at, ATS_CONTROL_REGISTER) ?? 0;
  }

  #get(offset: number): number {
    return this.#words[(offset - FIRST) / 4];
  }

  #set(offset: number, value: number): void {
    this.#words[(offset - FIRST) / 4] = value;
  }

  #result(offset: number): Uint32Array {
    return this.#words.subarray((offset - FIRST) / 4);
  }

  #setAddress(gpa: number): void {
    this.#set(REG.ATS_ADDRESS_LO, gpa % 0x1_0000_0000);
    this.#set(REG.ATS_ADDRESS_HI, Math.floor(gpa / 0x1_0000_0000));
  }
}
