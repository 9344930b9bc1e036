/**
 * The command queue: records in, one after the other, until it is empty or one is wrong. IHI 0070 §3.5.1, §7.1.
 * @module
 */
import { get } from "../../bits.ts";
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { Command, CommandTarget } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import type { Features } from "../features.ts";
import type { HostBatch } from "../host_batch.ts";
import type { Observer } from "../observer.ts";
import { advance, indexMask, slotOf, startOf } from "./queue.ts";
import type { RegisterFile } from "../register_file.ts";
import { CFGI, COMMAND_SIZE } from "../spec/commands.ts";
import { CERROR, QUEUE_BASE, REG } from "../spec/registers.ts";

const ERR_SHIFT = 24;

/** Consumes commands from guest memory. */
export class CommandQueue {
  /** Whether an endpoint did not answer a CMD_ATC_INV since the last CMD_SYNC. */
  isUnanswered = false;

  readonly #registers: RegisterFile;
  readonly #base: Uint32Array;
  readonly #memory: GuestMemory;
  readonly #features: Features;
  readonly #target: CommandTarget;
  readonly #batch: HostBatch | undefined;
  readonly #observer: Observer | undefined;
  /** The first address beyond the OAS. */
  readonly #end: number;
  readonly #command = new Entry(COMMAND_SIZE);

  /** The queue that the registers describe, for commands that act on `target` and, by `batch`, on hardware. */
  constructor(
    registers: RegisterFile,
    memory: GuestMemory,
    features: Features,
    target: CommandTarget,
    batch: HostBatch | undefined,
    observer: Observer | undefined,
  ) {
    this.#registers = registers;
    this.#base = registers.view(REG.CMDQ_BASE);
    this.#memory = memory;
    this.#features = features;
    this.#end = 2 ** features.oas;
    this.#target = target;
    this.#batch = batch;
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
    if (cons === prod) return CERROR.NONE;
    const base = startOf(this.#base, this.#end, COMMAND_SIZE << log2size);
    const { words } = this.#command;
    while (cons !== prod) {
      const command = this.#decode(base + slotOf(cons, log2size) * COMMAND_SIZE);
      if (typeof command === "number") return this.#stop(cons, command);
      if (command.waits && !this.#settle()) return CERROR.ILL;
      if (command.completes && this.isUnanswered) {
        this.isUnanswered = false;
        return this.#stop(cons, CERROR.ATC_INV_SYNC);
      }
      if (command.run(this.#target, words) === false) this.isUnanswered = true;
      this.#observer?.command(words, CERROR.NONE);
      if (this.#reachesHardware(command)) {
        this.#batch!.add(words, cons);
        if (this.#batch!.isFull && !this.#settle()) return CERROR.ILL;
      }
      cons = advance(cons, log2size);
      // What hardware has not done yet must not look done.
      if (this.#batch?.isEmpty ?? true) this.#registers.set(REG.CMDQ_CONS, cons);
      command.signal?.(this.#target, words);
    }
    return this.#stop(cons, CERROR.NONE);
  }

  /** Fetches the command at `gpa`: its row of the table, or the error that it is. */
  #decode(gpa: number): Command | number {
    const { words } = this.#command;
    if (!this.#memory.fetch(gpa, this.#command)) return CERROR.ABT;
    const command = COMMANDS[words[0] & 0xff];
    if (command !== undefined && (command.legal?.(words, this.#features) ?? true)) return command;
    return CERROR.ILL;
  }

  #reachesHardware({ hardware }: Command): boolean {
    if (hardware === undefined || this.#batch === undefined) return false;
    return hardware === "all" || this.#target.streams!.has(get(this.#command.words, CFGI.StreamID));
  }

  /** Leaves CMDQ_CONS and its error at `cons`, once hardware has done what lies before; or at what it refused. */
  #stop(cons: number, error: number): number {
    if (!this.#settle()) return CERROR.ILL;
    if (error === CERROR.ILL || error === CERROR.ATC_INV_SYNC) {
      this.#observer?.command(this.#command.words, error);
    }
    this.#registers.set(REG.CMDQ_CONS, cons | (error << ERR_SHIFT));
    return error;
  }

  /** Has hardware do what it was not yet told; false when it refused one, where CMDQ_CONS then is. */
  #settle(): boolean {
    const refused = this.#batch?.flush() ?? -1;
    if (refused < 0) return true;
    this.#observer?.command(this.#batch!.refused, CERROR.ILL);
    this.#registers.set(REG.CMDQ_CONS, refused | (CERROR.ILL << ERR_SHIFT));
    return false;
  }
}
