/**
 * The way of an endpoint's transactions through the SMMU to guest memory, page by page.
 * @module
 */
import type { DmaPort, MsiPort, Requester } from "../device.ts";
import type { GuestMemory } from "../guest_memory.ts";
import { Access, Termination } from "./fault.ts";
import type { Observer } from "./observer.ts";
import type { Translator } from "./translate.ts";

/** DMA with translation. */
export class TranslatedDma implements DmaPort {
  readonly #translator: Translator;
  readonly #memory: GuestMemory;
  readonly #msi: MsiPort | undefined;
  readonly #observer: Observer | undefined;

  /** DMA to `memory`, and of messages to `msi`, as `translator` says. */
  constructor(
    translator: Translator,
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

  #transfer(
    requester: Requester,
    lo: number,
    hi: number,
    bytes: Uint8Array,
    write: boolean,
  ): boolean {
    const access = write ? Access.Write : Access.Read;
    const translator = this.#translator;
    for (let done = 0; done < bytes.length;) {
      const low = lo + done;
      const pageLo = low >>> 0;
      const pageHi = (hi + Math.floor(low / 0x1_0000_0000)) >>> 0;
      const termination = translator.translate(requester, pageLo, pageHi, access);
      if (termination === Termination.Abort) return false;
      const span = termination === 0 ? translator.spanBytes : 0x1000 - (pageLo & 0xfff);
      const count = Math.min(span, bytes.length - done);
      const part = count === bytes.length ? bytes : bytes.subarray(done, done + count);
      if (termination === Termination.RazWi) {
        if (!write) part.fill(0);
      } else if (!this.#move(translator.gpa, part, write)) {
        return false;
      } else {
        this.#observer?.transfer(requester, write, count);
      }
      done += count;
    }
    return true;
  }

  #move(gpa: number, bytes: Uint8Array, write: boolean): boolean {
    return write ? this.#memory.write(gpa, bytes) : this.#memory.read(gpa, bytes);
  }
}
