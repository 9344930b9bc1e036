/**
 * The command queue: records in, one after the other, until it is empty or one is wrong. IHI 0070 §3.5.1, §7.1.
 * @module
 */
import { get, getAddress } from "../bits.ts";
import { Entry, type GuestMemory } from "../guest_memory.ts";
import { COMMANDS, type CommandTarget } from "./commands.ts";
import type { Features } from "./features.ts";
import type { Observer } from "./observer.ts";
import { advance, indexMask, slotOf } from "./queue.ts";
import type { RegisterFile } from "./register_file.ts";
import { COMMAND_SIZE } from "./spec/commands.ts";
import { CERROR, QUEUE_BASE, REG } from "./spec/registers.ts";

const ERR_SHIFT = 24;

/** Consumes commands from guest memory. */
export class CommandQueue {
  readonly #registers: RegisterFile;
  readonly #base: Uint32Array;
  readonly #memory: GuestMemory;
  readonly #features: Features;
  readonly #target: CommandTarget;
  readonly #observer: Observer | undefined;
  readonly #command = new Entry(COMMAND_SIZE);

  /** The queue that the registers describe, for commands that act on `target`. */
  constructor(
    registers: RegisterFile,
    memory: GuestMemory,
    features: Features,
    target: CommandTarget,
    observer: Observer | undefined,
  ) {
    this.#registers = registers;
    this.#base = registers.view(REG.CMDQ_BASE);
    this.#memory = memory;
    this.#features = features;
    this.#target = target;
    this.#observer = observer;
  }

  /**
   * Consumes all commands up to CMDQ_PROD. Returns CERROR_NONE, or the code of the error that stopped it, with
   * CMDQ_CONS at the culprit. Indices that contradict each other consume nothing (§3.5.1), so that no guest can make
   * this longer than the queue.
   */
  consume(): number {
    const log2size = Math.min(
      get(this.#base, QUEUE_BASE.LOG2SIZE),
      this.#features.log2CommandQueue,
    );
    const mask = indexMask(log2size);
    const prod = this.#registers.get(REG.CMDQ_PROD) & mask;
    let cons = this.#registers.get(REG.CMDQ_CONS) & mask;
    if (((prod - cons) & mask) > 1 << log2size) return CERROR.NONE;
    const address = getAddress(this.#base, QUEUE_BASE.ADDR) % 2 ** this.#features.oas;
    const base = address - address % Math.max(COMMAND_SIZE << log2size, 32);
    const { words } = this.#command;
    while (cons !== prod) {
      const error = this.#execute(base + slotOf(cons, log2size) * COMMAND_SIZE);
      if (error !== CERROR.NONE) {
        this.#registers.set(REG.CMDQ_CONS, cons | (error << ERR_SHIFT));
        return error;
      }
      cons = advance(cons, log2size);
      this.#registers.set(REG.CMDQ_CONS, cons);
      COMMANDS[words[0] & 0xff]?.signal?.(this.#target, words);
    }
    return CERROR.NONE;
  }

  #execute(gpa: number): number {
    const command = this.#command;
    if (!this.#memory.fetch(gpa, command)) return CERROR.ABT;
    const { words } = command;
    const entry = COMMANDS[words[0] & 0xff];
    const legal = entry !== undefined &&
      (entry.legal === undefined || entry.legal(words, this.#features));
    if (legal) entry.run(this.#target, words);
    const error = legal ? CERROR.NONE : CERROR.ILL;
    this.#observer?.command(words, error);
    return error;
  }
}
