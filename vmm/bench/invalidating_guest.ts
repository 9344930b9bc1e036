/**
 * A guest that does nothing but invalidate: commands in RAM, CMDQ_PROD in memory, and a spin until CMD_SYNC has answered, as
 * Linux does it. IHI 0070 §4.7.3 CMD_SYNC.
 * @module
 */
import { set, setAddress } from "../../hw/bits.ts";
import { advance, slotOf } from "../../hw/smmuv3/queues/queue.ts";
import { CMD, COMMAND_SIZE, CS, OP, SYNC, TLBI } from "../../hw/smmuv3/spec/commands.ts";
import { CR0, QUEUE_BASE, REG } from "../../hw/smmuv3/spec/registers.ts";
import { RegisterClient } from "./register_client.ts";

const RAM = 0x4000_0000;
const SIZE_BYTES = 0x10_0000;
const LOG2_QUEUE = 8;
const COMMAND_WORDS = COMMAND_SIZE / 4;
const ASID = 1;
const TIMEOUT_MS = 5000;
/** Looks at what is waited for between two looks at the clock. */
const LOOKS = 100_000;

/** The guest. */
export class InvalidatingGuest implements Disposable {
  readonly #client: RegisterClient;
  readonly #registers: Uint32Array;
  readonly #queue: Uint32Array;
  #prod = 0;
  #page = 0;

  /** Behind the SMMU whose server listens at `path`. Throws when that does not answer. */
  constructor(path: string) {
    const client = this.#client = new RegisterClient(path, RAM, SIZE_BYTES);
    const registers = this.#registers = client.registers;
    this.#queue = new Uint32Array(client.ram);
    const base = registers.subarray(REG.CMDQ_BASE.offset / 4);
    setAddress(base, QUEUE_BASE.ADDR, RAM);
    set(base, QUEUE_BASE.LOG2SIZE, LOG2_QUEUE);
    set(registers.subarray(REG.CR0.offset / 4), CR0.CMDQEN, 1);
    wait(registers, REG.CR0ACK.offset / 4, registers[REG.CR0.offset / 4]);
  }

  /** Has one page invalidated. Returns how long that took, in microseconds; throws when it is not done within seconds. */
  invalidate(): number {
    const page = this.#next();
    set(page, CMD.Opcode, OP.CMD_TLBI_NH_VA);
    set(page, TLBI.ASID, ASID);
    page[2] = this.#page++ << 12;
    const sync = this.#next();
    const at = sync.byteOffset / 4;
    set(sync, CMD.Opcode, OP.CMD_SYNC);
    set(sync, SYNC.CS, CS.SIG_IRQ);
    setAddress(sync, SYNC.MSIAddress, RAM + sync.byteOffset);
    const began = performance.now();
    Atomics.store(this.#registers, REG.CMDQ_PROD.offset / 4, this.#prod);
    wait(this.#queue, at, 0);
    return (performance.now() - began) * 1000;
  }

  /** Leaves. */
  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }

  /** The next slot of the queue, cleared. */
  #next(): Uint32Array {
    const first = slotOf(this.#prod, LOG2_QUEUE) * COMMAND_WORDS;
    this.#prod = advance(this.#prod, LOG2_QUEUE);
    return this.#queue.subarray(first, first + COMMAND_WORDS).fill(0);
  }
}

/** Spins until a word has a value. */
function wait(words: Uint32Array, at: number, value: number): void {
  const end = performance.now() + TIMEOUT_MS;
  while (performance.now() < end) {
    for (let i = 0; i < LOOKS; i++) if (Atomics.load(words, at) === value) return;
  }
  throw new Error("The SMMU does not answer");
}
