/**
 * The way of an endpoint's transactions through the SMMU to guest memory, page by page.
 * @module
 */
import type { DmaPort, MsiPort, Requester } from "../device.ts";
import type { GuestMemory } from "../guest_memory.ts";
import { Access, Termination } from "./fault.ts";
import type { Observer } from "./observer.ts";

const SMALLEST_PAGE = 0x1000;

/** Translates a page at a time; the results stay in its fields until the next one. */
export interface PageTranslator {
  /** Guest physical address of the last translation, in bytes. */
  readonly gpa: number;
  /** How many bytes from `gpa` on belong to the same page. */
  readonly spanBytes: number;
  /** See `Translator.translate`. */
  translate(requester: Requester, lo: number, hi: number, access: number): number;
}

/** DMA with translation. */
export class TranslatedDma implements DmaPort {
  readonly #translator: PageTranslator;
  readonly #memory: GuestMemory;
  readonly #msi: MsiPort | undefined;
  readonly #observer: Observer | undefined;

  /** DMA to `memory`, and of messages to `msi`, as `translator` says. */
  constructor(
    translator: PageTranslator,
    memory: GuestMemory,
    msi: MsiPort | undefined,
    observer: Observer | undefined,
  ) {
    this.#translator = translator;
    this.#memory = memory;
    this.#msi = msi;
    this.#observer = observer;
  }

  read(requester: Requester, lo: number, hi: number, into: Uint8Array): boolean {
    return this.#transfer(requester, lo, hi, into, false);
  }

  write(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    return this.#transfer(requester, lo, hi, from, true);
  }

  message(requester: Requester, lo: number, hi: number, data: number): boolean {
    const termination = this.#translator.translate(requester, lo, hi, Access.Write);
    if (termination !== 0) return termination === Termination.RazWi;
    const { gpa } = this.#translator;
    return this.#memory.store32(gpa, data) || (this.#msi?.send(gpa, data) ?? false);
  }

  /** Pages whose addresses follow each other are moved in one go. */
  #transfer(
    requester: Requester,
    lo: number,
    hi: number,
    bytes: Uint8Array,
    write: boolean,
  ): boolean {
    const access = write ? Access.Write : Access.Read;
    const translator = this.#translator;
    let runStart = 0;
    let runGpa = 0;
    for (let done = 0; done < bytes.length;) {
      const low = lo + done;
      const pageHi = low > 0xffff_ffff ? (hi + Math.floor(low / 0x1_0000_0000)) >>> 0 : hi;
      const termination = translator.translate(requester, low >>> 0, pageHi, access);
      const { gpa } = translator;
      if (termination !== 0 || gpa !== runGpa + (done - runStart)) {
        if (!this.#move(requester, runGpa, bytes, runStart, done, write)) return false;
        runStart = done;
        runGpa = gpa;
      }
      if (termination === Termination.Abort) return false;
      const left = bytes.length - done;
      if (termination === Termination.RazWi) {
        const count = Math.min(SMALLEST_PAGE - (low & (SMALLEST_PAGE - 1)), left);
        if (!write) bytes.fill(0, done, done + count);
        done += count;
        runStart = done;
      } else {
        done += Math.min(translator.spanBytes, left);
      }
    }
    return this.#move(requester, runGpa, bytes, runStart, bytes.length, write);
  }

  /** Moves the bytes from `start` to `end`, if any. */
  #move(
    requester: Requester,
    gpa: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    write: boolean,
  ): boolean {
    if (start === end) return true;
    const part = end - start === bytes.length ? bytes : bytes.subarray(start, end);
    const moved = write ? this.#memory.write(gpa, part) : this.#memory.read(gpa, part);
    if (moved) this.#observer?.transfer(requester, write, part.length);
    return moved;
  }
}
