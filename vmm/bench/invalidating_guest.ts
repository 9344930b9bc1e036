/**
 * A guest that does nothing but invalidate: commands in RAM, CMDQ_PROD, and a spin until CMD_SYNC has answered, as Linux does
 * it. IHI 0070 §4.7.3 CMD_SYNC.
 * @module
 */
import { maskOf, set, setAddress } from "../../hw/bits.ts";
import { advance, slotOf } from "../../hw/smmuv3/queues/queue.ts";
import { CMD, COMMAND_SIZE, CS, OP, SYNC, TLBI } from "../../hw/smmuv3/spec/commands.ts";
import { CR0, QUEUE_BASE, REG } from "../../hw/smmuv3/spec/registers.ts";
import { SmmuClient } from "./smmu_client.ts";

const RAM = 0x4000_0000;
const SIZE_BYTES = 0x10_0000;
/** What the client of the registers that are memory brings, since it has to bring some. */
const LEAST_BYTES = 0x1000;
const LOG2_QUEUE = 8;
const COMMAND_WORDS = COMMAND_SIZE / 4;
const ASID = 1;
const TIMEOUT_MS = 5000;
/** Looks at what is waited for between two looks at the clock. */
const LOOKS = 100_000;

/** The guest. */
export class InvalidatingGuest implements Disposable {
  readonly #client: SmmuClient;
  readonly #memoryClient: SmmuClient | undefined;
  /** Where they can be memory. */
  readonly #memory: Uint32Array | undefined;
  /** Whether the guest meets them. */
  #isMemory = false;
  readonly #queue: Uint32Array;
  #prod = 0;
  #page = 0;

  /**
   * Behind the SMMU whose server listens at `path`, and that of its registers that are memory at `memoryPath`; they
   * trap at first. Throws when these do not answer.
   */
  constructor(path: string, memoryPath?: string) {
    using stack = new DisposableStack();
    this.#client = stack.use(new SmmuClient(path, RAM, SIZE_BYTES));
    this.#memoryClient = memoryPath === undefined
      ? undefined
      : stack.use(new SmmuClient(memoryPath, RAM + SIZE_BYTES, LEAST_BYTES));
    this.#memory = this.#memoryClient?.map();
    this.#queue = new Uint32Array(this.#client.ram);
    const base = new Uint32Array(2);
    setAddress(base, QUEUE_BASE.ADDR, RAM);
    set(base, QUEUE_BASE.LOG2SIZE, LOG2_QUEUE);
    base.forEach((word, i) => this.#write(REG.CMDQ_BASE.offset + i * 4, word));
    this.#write(REG.CR0.offset, maskOf(CR0.CMDQEN));
    stack.move();
  }

  /** Has it meet registers that are memory, or such that trap. */
  show(areMemory: boolean): void {
    this.#isMemory = areMemory;
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
    this.#write(REG.CMDQ_PROD.offset, this.#prod);
    wait(this.#queue, at, 0);
    return (performance.now() - began) * 1000;
  }

  /** Leaves. */
  [Symbol.dispose](): void {
    this.#memoryClient?.[Symbol.dispose]();
    this.#client[Symbol.dispose]();
  }

  #write(offset: number, value: number): void {
    if (this.#isMemory && this.#memory) Atomics.store(this.#memory, offset / 4, value);
    else this.#client.post(offset, value);
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
