/**
 * Registers that are memory: software's accesses do not trap, and the device looks at what changed. IHI 0070 §6.2.
 *
 * The page is a mirror. What the device knows is its own, and what it finds in the page that it did not put there is
 * a write, to be masked, guarded and answered as one that traps.
 *
 * **Order.** A look treats what it finds as written in this order, each register by its latest value:
 *
 * 1. settings: bases, sizes, attributes, message addresses, indices that only an idle queue has written;
 * 2. GBPA, GERRORN, EVENTQ_CONS, PRIQ_CONS, CMDQ_PROD;
 * 3. IRQ_CTRL, then CR0.
 *
 * This is an order in which correct software may have written them. The fields that guard others come last, and the
 * manual has software make sure, "by an appropriate barrier" (§6.2), that what they guard is seen before them;
 * whoever clears one waits for its acknowledge register before it writes what was guarded (§6.3.9, §6.3.16), and so
 * in a later look. An acknowledged error restarts the queue up to the old CMDQ_PROD, then the new one is taken, which
 * is the same as both at once (§7.1). A value that was overwritten before anybody looked had no effect that software
 * could have waited for: indices only grow, and everything else has an acknowledgement.
 *
 * Drivers that rely on the order of accesses to Device memory, without a barrier, lose it where a hypervisor turns
 * that memory into Normal memory (FEAT_S2FWB) or translates the guest's instructions. So before a change of a
 * guarding field is acted upon, the settings are read again until one whole reading finds nothing new.
 *
 * **Memory model.** Every word is read with acquire and written with release semantics: `Atomics` are sequentially
 * consistent for each other (LDAR and STLR on Arm, MOV and XCHG on x86), engines neither drop nor hoist them, also
 * where the buffer is not a `SharedArrayBuffer`, and they are single-copy atomic. So commands that software wrote
 * before CMDQ_PROD are there when we see CMDQ_PROD; an event record is there before EVENTQ_PROD, slots are free
 * before we reuse them, and CMDQ_CONS and its error before GERROR. An interrupt must not be seen before what it tells
 * of (§3.18, §4.7.3): messages to RAM are release stores, and messages by socket pass the locks of the kernel.
 *
 * Plain reads only decide whether there is anything to look at, as an atomic one costs as much as all of them:
 * nothing that they saw is acted upon. An engine may move or merge them, but not across the atomic read that each
 * glance begins with, so none is old for longer than that.
 *
 * **Nothing is lost.** The device changes a word by compare-and-exchange from what it last knew or saw there, so a
 * write of software that came in between stays and is found by the next look.
 *
 * **Traps in between.** The same registers may be shown in two ways, of which one traps. What software wrote to
 * memory before an access that traps was stored before that left its processor, so all of it is taken first
 * (`settle`), guards last.
 * @module
 */
import { RegisterFile, type RegisterMirror } from "./register_file.ts";
import { REG, REGISTER_SPACE_SIZE } from "./spec/registers.ts";

/** Takes writes that software made: the device, or a door before it. */
export interface RegisterWriter {
  /** The 32-bit register, or half register, at `offset` was written. */
  write32(offset: number, value: number): void;
}

const WORDS = REGISTER_SPACE_SIZE / 4;
/** Readings of the settings before a guarding field is acted upon, for software that never stops writing them. */
const MOST_READINGS = 8;
/** Words of the whole space that a look repairs, apart from the registers that it looks at. */
const SWEEP = 32;

/** The word that each word shows: its own, or that of which it is the alias. */
const SHOWN = Int32Array.from({ length: WORDS }, (_, word) => RegisterFile.resolve(word * 4) / 4);
const WRITABLE = Uint8Array.from(SHOWN, (word) => Number(RegisterFile.writable(word * 4) !== 0));
/** The alias of a word, or -1. */
const ALIAS = new Int32Array(WORDS).fill(-1);
SHOWN.forEach((shown, word) => shown === word || (ALIAS[shown] = word));

/** The words in which software writes a register. */
function wordsOf({ offset }: { readonly offset: number }): number[] {
  const alias = ALIAS[offset / 4];
  return alias < 0 ? [offset / 4] : [alias, offset / 4];
}

const GUARDS = [REG.IRQ_CTRL, REG.CR0].flatMap(wordsOf);
const RUNNING = [REG.GBPA, REG.GERRORN, REG.EVENTQ_CONS, REG.PRIQ_CONS, REG.CMDQ_PROD]
  .flatMap(wordsOf);
const SETTINGS = [...WRITABLE.keys()].filter((word) =>
  WRITABLE[word] === 1 && !GUARDS.includes(word) && !RUNNING.includes(word)
);
/** What a glance is at: words that have their turn in each. */
const GLANCED = [...GUARDS, ...RUNNING];
const CMDQ_PROD = REG.CMDQ_PROD.offset / 4;
const HAS_TURN = Uint8Array.from({ length: WORDS }, (_, word) => Number(GLANCED.includes(word)));

/** What a snapshot says of the page: what software wrote there that was not found yet. */
export interface MappedSnapshot {
  /** Words of the page that are not what the device knows. */
  readonly unseen: readonly (readonly [offset: number, value: number])[];
  /** The word with which the next look goes on. */
  readonly swept: number;
}

/** The page, and how it is kept in step with what the device knows. */
export class MappedRegisters implements RegisterMirror {
  readonly #page: Uint32Array;
  readonly #words: Uint32Array;
  #swept = 0;

  /** Mirrors `words` in `page`, 128 KiB. Throws a RangeError when the page is shorter. */
  constructor(page: ArrayBufferLike, words: Uint32Array) {
    this.#page = new Uint32Array(page, 0, WORDS);
    this.#words = words;
  }

  /** Shows that a word of the device changed from `old` to `value`. */
  show(word: number, old: number, value: number): void {
    if (old === value) return;
    Atomics.compareExchange(this.#page, word, old, value);
    if (ALIAS[word] >= 0) Atomics.compareExchange(this.#page, ALIAS[word], old, value);
  }

  /** Shows all words anew, whatever software wrote there. */
  showAll(): void {
    for (let word = 0; word < WORDS; word++) Atomics.store(this.#page, word, this.#truth(word));
  }

  /** What software wrote that was not found yet. */
  snapshot(): MappedSnapshot {
    const unseen: [number, number][] = [];
    for (let word = 0; word < WORDS; word++) {
      const seen = Atomics.load(this.#page, word);
      if (seen !== this.#truth(word)) unseen.push([word * 4, seen]);
    }
    return { unseen, swept: this.#swept };
  }

  /** All words are shown already; software had written these. */
  restore({ unseen, swept }: MappedSnapshot): void {
    for (const [offset, value] of unseen) Atomics.store(this.#page, offset / 4, value);
    this.#swept = swept % WORDS;
  }

  /**
   * Hands what software wrote to `writer`, and puts right what it could not write; returns the number of writes. Some words
   * have their turn in each look, the others in one of several.
   */
  look(writer: RegisterWriter): number {
    return this.glance(writer) + this.#sweep(writer);
  }

  /** The same for all registers that software may write, at once: what comes next has not come by memory. */
  settle(writer: RegisterWriter): number {
    let found = 0;
    for (let reading = 0; reading < MOST_READINGS; reading++) {
      const more = this.#take(SETTINGS, writer) + this.#take(RUNNING, writer);
      found += more;
      if (more === 0) break;
    }
    return found + this.#take(GUARDS, writer);
  }

  /** The same for the registers that software writes while the device runs, which is all that it waits for. */
  glance(writer: RegisterWriter): number {
    if (this.#isQuiet()) return 0;
    return this.#differ(GUARDS) ? this.settle(writer) : this.#take(RUNNING, writer);
  }

  /** Whether a glance has nothing to find: a hint, which the next one corrects. */
  #isQuiet(): boolean {
    const page = this.#page;
    if (Atomics.load(page, CMDQ_PROD) !== this.#truth(CMDQ_PROD)) return false;
    for (let i = 0; i < GLANCED.length; i++) {
      if (page[GLANCED[i]] !== this.#truth(GLANCED[i])) return false;
    }
    return true;
  }

  #differ(words: readonly number[]): boolean {
    for (let i = 0; i < words.length; i++) {
      if (Atomics.load(this.#page, words[i]) !== this.#truth(words[i])) return true;
    }
    return false;
  }

  #take(words: readonly number[], writer: RegisterWriter): number {
    let found = 0;
    for (let i = 0; i < words.length; i++) found += this.#takeWord(words[i], writer);
    return found;
  }

  /** 1 when software wrote the word. */
  #takeWord(word: number, writer: RegisterWriter): number {
    const seen = Atomics.load(this.#page, word);
    if (seen === this.#truth(word)) return 0;
    if (WRITABLE[word] === 1) writer.write32(word * 4, seen);
    const truth = this.#truth(word);
    if (truth !== seen) Atomics.compareExchange(this.#page, word, seen, truth);
    return WRITABLE[word];
  }

  /** Goes through the whole space, a few words at a time. */
  #sweep(writer: RegisterWriter): number {
    let found = 0;
    const end = this.#swept + SWEEP;
    for (let word = this.#swept; word < end; word++) {
      if (this.#page[word] === this.#truth(word) || HAS_TURN[word] === 1) continue;
      found += this.#takeWord(word, writer);
    }
    this.#swept = end % WORDS;
    return found;
  }

  #truth(word: number): number {
    return this.#words[SHOWN[word]];
  }
}
