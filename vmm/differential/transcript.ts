/**
 * What was seen of a subject while it ran a program.
 * @module
 */
import { get } from "../../hw/bits.ts";
import { EVENT_SIZE } from "../../hw/smmuv3/spec/events.ts";
import {
  CERROR,
  CMDQ_CONS,
  EVENTQ_PROD,
  GERROR,
  QUEUE_BASE,
  REG,
} from "../../hw/smmuv3/spec/registers.ts";
import { OP } from "../../hw/smmuv3/spec/commands.ts";
import { COPY, PLACE, READERS, WINDOW } from "./ground.ts";
import type { Program, Step } from "./program.ts";
import type { Operation, Subject } from "./subject.ts";

/** An event record: eight words. */
export type EventRecord = readonly number[];

/** What was seen after one step. */
export interface Seen {
  /** What registers read, by name, and the results of transfers. */
  readonly values: Readonly<Record<string, number>>;
  /** Records that came. */
  readonly events: readonly EventRecord[];
}

/** All of it. */
export interface Transcript {
  /** For each step. */
  readonly seen: readonly Seen[];
  /** The window at the end, without the event queue. */
  readonly memory: Uint8Array<ArrayBuffer>;
}

/** Acknowledged and repeated this often at most in one step. */
const MOST_REFUSALS = 8;
const INDEX_MASK = 0xf_ffff;

/** Runs a program on a subject. */
export async function run(program: Program, subject: Subject): Promise<Transcript> {
  await subject.reset();
  const runner = new Runner(subject);
  await runner.clear(program.steps);
  const seen: Seen[] = [];
  for (let i = 0; i < program.steps.length;) {
    const stores = storesFrom(program.steps, i);
    for (const { gpa, value } of stores) runner.store(gpa, value);
    for (let n = 0; n < stores.length; n++) seen.push({ values: {}, events: [] });
    i += stores.length;
    const step = program.steps[i];
    if (step === undefined || step.kind === "store") continue;
    seen.push(await runner.step(step));
    i++;
  }
  await runner.dump(program.steps);
  const memory = runner.memory();
  return { seen: withData(program.steps, seen, memory), memory };
}

function storesFrom(steps: readonly Step[], first: number): Extract<Step, { kind: "store" }>[] {
  const stores: Extract<Step, { kind: "store" }>[] = [];
  for (let i = first; i < steps.length; i++) {
    const step = steps[i];
    if (step.kind !== "store") break;
    stores.push(step);
  }
  return stores;
}

/** What was read is known at the end; it belongs to the step that read it. */
function withData(
  steps: readonly Step[],
  seen: readonly Seen[],
  memory: Uint8Array<ArrayBuffer>,
): Seen[] {
  const readers = readersOf(steps);
  const view = new DataView(memory.buffer);
  return seen.map((one, i) => {
    const step = steps[i];
    if (step.kind !== "fetch") return one;
    const copy = PLACE.copies - WINDOW.base + readers.indexOf(step.stream) * COPY.bufferBytes;
    const data = view.getUint32(copy + step.slot * COPY.slotBytes, true);
    return { ...one, values: { ...one.values, data } };
  });
}

/** The endpoints that read. */
function readersOf(steps: readonly Step[]): number[] {
  return READERS.filter((stream) =>
    steps.some((step) => step.kind === "fetch" && step.stream === stream)
  );
}

class Runner {
  readonly #subject: Subject;
  readonly #memory: DataView;
  #commands = { base: PLACE.commands as number, log2size: 0, prod: 0 };
  #events = { base: PLACE.events as number, log2size: 0, prod: 0 };

  constructor(subject: Subject) {
    this.#subject = subject;
    const { buffer, byteOffset, byteLength } = subject.window;
    this.#memory = new DataView(buffer, byteOffset, byteLength);
  }

  store(gpa: number, value: bigint): void {
    if (isInWindow(gpa, 8)) this.#memory.setBigUint64(gpa - WINDOW.base, value, true);
  }

  async step(step: Exclude<Step, { kind: "store" }>): Promise<Seen> {
    switch (step.kind) {
      case "register":
        this.#follow(step.offset, step.value, step.bytes);
        return await this.#look([{ ...step, kind: "write" }]);
      case "read": {
        const [value] = await this.#subject.perform([step]);
        // CMDQ_CONS.ERR is UNKNOWN while there is no error: what is left of one is no difference.
        const isCons = step.offset === REG.CMDQ_CONS.offset;
        return { values: { value: isCons ? value & INDEX_MASK : value }, events: [] };
      }
      case "commands":
        return await this.#send(step.commands);
      case "write":
        return await this.#look([{ ...step, kind: "dma-write" }], {}, "result");
      case "fetch":
        return await this.#look([{ ...step, kind: "dma-read" }]);
      case "drain":
        return await this.#drain();
    }
  }

  /** What endpoints hold outlives a reset of QEMU: while nothing is translated yet they read zeros. */
  async clear(steps: readonly Step[]): Promise<void> {
    const iova = BigInt(PLACE.copies);
    await this.#subject.perform(
      readersOf(steps).map((stream) => ({ kind: "dma-load", stream, iova }) as const),
    );
  }

  /** What endpoints have read is written to memory, past translation. */
  async dump(steps: readonly Step[]): Promise<void> {
    const readers = readersOf(steps);
    if (readers.length === 0) return;
    const off: Operation[] = [
      { kind: "write", offset: REG.CR0.offset, value: 0n, bytes: 4 },
      { kind: "write", offset: REG.GBPA.offset, value: 0x8000_1000n, bytes: 4 },
    ];
    await this.#subject.perform([
      ...off,
      ...readers.map((stream, i) =>
        ({ kind: "dma-dump", stream, iova: BigInt(PLACE.copies + i * COPY.bufferBytes) }) as const
      ),
    ]);
  }

  memory(): Uint8Array<ArrayBuffer> {
    const copy = this.#subject.window.slice();
    copy.fill(0, PLACE.commands - WINDOW.base, PLACE.streamTable - WINDOW.base);
    return copy;
  }

  /** Where the queues are: software knows what it wrote. */
  #follow(offset: number, value: bigint, bytes: number): void {
    const queue = offset >= REG.EVENTQ_BASE.offset ? this.#events : this.#commands;
    const isBase = offset === REG.CMDQ_BASE.offset || offset === REG.EVENTQ_BASE.offset;
    if (isBase) {
      const size = (offset === REG.CMDQ_BASE.offset ? 16 : EVENT_SIZE) << Number(value & 0xfn);
      queue.base = Number(value & 0xffff_ffe0n) - Number(value & 0xffff_ffe0n) % size;
      queue.log2size = Math.min(
        get(Uint32Array.of(Number(value & 0xffff_ffffn)), QUEUE_BASE.LOG2SIZE),
        10,
      );
    }
    if (bytes !== 4) return;
    if (offset === REG.CMDQ_PROD.offset) this.#commands.prod = Number(value) & INDEX_MASK;
    if (offset === REG.EVENTQ_PROD.offset) this.#events.prod = Number(value) & INDEX_MASK;
  }

  async #send(commands: readonly (readonly [bigint, bigint])[]): Promise<Seen> {
    const values: Record<string, number> = {};
    const events: EventRecord[] = [];
    const { log2size } = this.#commands;
    for (let i = 0, part = 0; i < commands.length; i += 1 << log2size, part++) {
      const seen = await this.#ring(commands.slice(i, i + (1 << log2size)));
      for (const [name, value] of Object.entries(seen.values)) {
        values[part === 0 ? name : `${name}, part ${part + 1}`] = value;
      }
      events.push(...seen.events);
    }
    return { values, events };
  }

  /** As many commands as the queue holds; those that are refused become CMD_SYNC. */
  async #ring(commands: readonly (readonly [bigint, bigint])[]): Promise<Seen> {
    const queue = this.#commands;
    const values: Record<string, number> = {};
    for (const words of commands) this.#queue(words);
    let operations: Operation[] = [
      { kind: "write", offset: REG.CMDQ_PROD.offset, value: BigInt(queue.prod), bytes: 4 },
    ];
    for (let refused = 0;; refused++) {
      const [cons, gerror, gerrorn] = (await this.#subject.perform([
        ...operations,
        { kind: "read", offset: REG.CMDQ_CONS.offset },
        { kind: "read", offset: REG.GERROR.offset },
        { kind: "read", offset: REG.GERRORN.offset },
      ])).slice(operations.length);
      const suffix = refused === 0 ? "" : ` after ${refused} refused`;
      const isStopped = ((gerror ^ gerrorn) & 1 << GERROR.CMDQ_ERR.low) !== 0;
      // §6.3.28: CMDQ_CONS.ERR is UNKNOWN while there is no error.
      values[`CMDQ_CONS${suffix}`] = isStopped ? cons : cons & INDEX_MASK;
      values[`GERROR${suffix}`] = gerror;
      if (!isStopped || refused === MOST_REFUSALS) break;
      if (get(Uint32Array.of(cons), CMDQ_CONS.ERR) === CERROR.NONE) break;
      const at = (cons & INDEX_MASK) & ((1 << queue.log2size) - 1);
      this.store(queue.base + at * 16, BigInt(OP.CMD_SYNC));
      this.store(queue.base + at * 16 + 8, 0n);
      operations = [
        { kind: "write", offset: REG.GERRORN.offset, value: BigInt(gerror), bytes: 4 },
      ];
    }
    return await this.#look([], values);
  }

  #queue([lo, hi]: readonly [bigint, bigint]): void {
    const queue = this.#commands;
    const at = queue.base + (queue.prod & ((1 << queue.log2size) - 1)) * 16;
    this.store(at, lo);
    this.store(at + 8, hi);
    queue.prod = (queue.prod + 1) & ((2 << queue.log2size) - 1);
  }

  async #drain(): Promise<Seen> {
    const [prod] = await this.#subject.perform([{ kind: "read", offset: REG.EVENTQ_PROD.offset }]);
    const cons: Operation = {
      kind: "write",
      offset: REG.EVENTQ_CONS.offset,
      value: BigInt(prod),
      bytes: 4,
    };
    return await this.#look([cons]);
  }

  /** Does operations; then the records that have come, and what says that something is wrong. */
  async #look(
    operations: readonly Operation[],
    before: Readonly<Record<string, number>> = {},
    result?: string,
  ): Promise<Seen> {
    const answers = await this.#subject.perform([
      ...operations,
      { kind: "read", offset: REG.EVENTQ_PROD.offset },
      { kind: "read", offset: REG.GERROR.offset },
    ]);
    const [prod, gerror] = answers.slice(-2);
    const values = result === undefined ? before : { ...before, [result]: answers[0] };
    const queue = this.#events;
    const mask = (2 << queue.log2size) - 1;
    const events: EventRecord[] = [];
    while ((queue.prod & mask) !== (prod & mask) && events.length <= mask) {
      if (!isInWindow(queue.base, EVENT_SIZE << queue.log2size)) break;
      events.push(this.#record(queue.base + (queue.prod & (mask >> 1)) * EVENT_SIZE));
      queue.prod = (queue.prod + 1) & mask;
    }
    const overflow = get(Uint32Array.of(prod), EVENTQ_PROD.OVFLG);
    return { values: { ...values, GERROR: gerror, "EVENTQ_PROD.OVFLG": overflow }, events };
  }

  #record(gpa: number): EventRecord {
    return Array.from(
      { length: EVENT_SIZE / 4 },
      (_, i) => this.#memory.getUint32(gpa - WINDOW.base + 4 * i, true),
    );
  }
}

function isInWindow(gpa: number, bytes: number): boolean {
  return gpa >= WINDOW.base && gpa + bytes <= WINDOW.base + WINDOW.sizeBytes;
}
