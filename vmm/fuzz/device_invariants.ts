/**
 * What registers, queues and interrupts have to do with each other, whatever a guest writes. IHI 0070 §3.5, §6.3, §7.2, §7.5.
 * @module
 */
import type { IrqLine } from "../../hw/device.ts";
import type { InterruptLines } from "../../hw/smmuv3/interrupts.ts";
import type { Observer } from "../../hw/smmuv3/observer.ts";
import type { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import type { Reach } from "./reach.ts";
import type { Step } from "./step.ts";

const [CR0, CR0ACK, GBPA, IRQ_CTRL, IRQ_CTRLACK] = [0x20, 0x24, 0x44, 0x50, 0x54];
const [GERROR, GERRORN, CMDQ_PROD, CMDQ_CONS] = [0x60, 0x64, 0x98, 0x9c];
const [CMDQ_BASE, EVENTQ_BASE, EVENTQ_BASE_HIGH] = [0x90, 0xa0, 0xa4];
const [EVENTQ_PROD, EVENTQ_CONS, EVENTQ_IRQ_CFG0] = [0x1_00a8, 0x1_00ac, 0xb0];
const [EVENTQEN, CMDQEN] = [4, 8];
const EVENTQ_IRQEN = 4;
const EVENTQ_ABT_ERR = 4;
const RECORD_SIZE = 32;
const IDS = [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c];

/** Looks at a device before and after each step, and at what it does meanwhile. */
export class DeviceInvariants implements Observer {
  /** The device's wires. */
  readonly lines: InterruptLines;
  /** Commands that were consumed or refused since the step began; of them, answers to stalls. */
  commands = 0;
  /** CMD_RESUME and CMD_STALL_TERM. */
  answers = 0;
  #smmu!: SmmuV3;
  #ids: readonly number[] = [];
  #gerror = 0;
  #gerrorn = 0;
  /** Records that came into an empty queue while that is told, and interrupts that told so. */
  #firsts = 0;
  #told = 0;
  #prod = 0;

  readonly #reach: Reach;

  /** Nothing to look at yet; what happens is counted too. */
  constructor(reach: Reach) {
    this.#reach = reach;
    const line: IrqLine = { pulse: () => {}, set: () => {} };
    this.lines = { eventq: line, gerror: line, cmdSync: line };
  }

  /** Looks at this device from now on. */
  begin(smmu: SmmuV3): void {
    this.#smmu = smmu;
    this.#ids = IDS.map((offset) => smmu.read32(offset));
  }

  /** A step comes. */
  before(_step: Step): void {
    this.#gerror = this.#read(GERROR);
    this.#gerrorn = this.#read(GERRORN);
    this.#firsts = 0;
    this.#told = 0;
    this.commands = 0;
    this.answers = 0;
    this.#prod = this.#read(EVENTQ_PROD);
  }

  /** A step is done, in which event records were written at these addresses. Throws when something does not hold. */
  after(step: Step, records: readonly number[]): void {
    this.#acknowledged();
    if (step.do !== "reset" && step.do !== "restore") this.#errors();
    this.#commands();
    for (const gpa of records) this.#inQueue(gpa);
    const isByWire = this.#read(EVENTQ_IRQ_CFG0) === 0 && this.#read(EVENTQ_IRQ_CFG0 + 4) === 0;
    // A message may have been aborted, which is an error and not an interrupt.
    if (isByWire ? this.#told !== this.#firsts : this.#told > this.#firsts) {
      throw new Error(
        `EVENTQ was told ${this.#told} times, but ${this.#firsts} changes from empty`,
      );
    }
    if (step.do === "transfer" && records.length > 0 && this.#read(EVENTQ_PROD) === this.#prod) {
      if (!this.#isActive(EVENTQ_ABT_ERR)) throw new Error("A record was written, and not told of");
    }
  }

  command(words: Uint32Array, error: number): void {
    this.#reach.command(words, error);
    this.commands++;
    const opcode = words[0] & 0xff;
    if (opcode === 0x44 || opcode === 0x45) this.answers++;
  }

  translation(requester: unknown, how: number): void {
    this.#reach.translation(requester, how);
  }

  transfer(): void {}

  event(words: Uint32Array, recorded: boolean): void {
    this.#reach.event(words);
    if (!recorded) return;
    const mask = this.#mask(EVENTQ_BASE, this.#smmu.features.log2EventQueue);
    const before = (this.#read(EVENTQ_PROD) - 1) & mask;
    const isFirst = before === (this.#read(EVENTQ_CONS) & mask);
    if (isFirst && (this.#read(IRQ_CTRL) & EVENTQ_IRQEN) !== 0) this.#firsts++;
    if ((this.#read(CR0) & EVENTQEN) === 0) {
      throw new Error("A record was written while EVENTQEN is 0");
    }
  }

  interrupt(source: string): void {
    this.#reach.interrupt();
    if (source === "eventq") this.#told++;
  }

  #read(offset: number): number {
    return this.#smmu.read32(offset);
  }

  #isActive(error: number): boolean {
    return ((this.#read(GERROR) ^ this.#read(GERRORN)) & error) !== 0;
  }

  #mask(base: number, most: number): number {
    return (2 << Math.min(this.#read(base) & 31, most)) - 1;
  }

  #acknowledged(): void {
    if (this.#read(CR0) !== this.#read(CR0ACK)) throw new Error("CR0ACK is not CR0");
    if (this.#read(IRQ_CTRL) !== this.#read(IRQ_CTRLACK)) {
      throw new Error("IRQ_CTRLACK is not IRQ_CTRL");
    }
    if (this.#read(GBPA) >>> 31 !== 0) throw new Error("GBPA.Update is 1");
    const changed = IDS.find((offset, i) => this.#read(offset) !== this.#ids[i]);
    if (changed !== undefined) throw new Error(`ID register 0x${changed.toString(16)} changed`);
  }

  /** An error that is active already does not toggle: whether it was before what was written to GERRORN, or since. */
  #errors(): void {
    const toggled = this.#gerror ^ this.#read(GERROR);
    const wasActive = (this.#gerror ^ this.#gerrorn) & (this.#gerror ^ this.#read(GERRORN));
    if ((toggled & wasActive) !== 0) {
      throw new Error(`GERROR toggled 0x${(toggled & wasActive).toString(16)}, which was active`);
    }
  }

  /** Everything between indices that do not contradict each other is consumed. */
  #commands(): void {
    if ((this.#read(CR0) & CMDQEN) === 0 || this.#isActive(1)) return;
    const mask = this.#mask(CMDQ_BASE, this.#smmu.features.log2CommandQueue);
    const left = (this.#read(CMDQ_PROD) - this.#read(CMDQ_CONS)) & mask;
    if (left !== 0 && left <= (mask + 1) / 2) throw new Error(`${left} commands were not consumed`);
  }

  #inQueue(gpa: number): void {
    const log2size = Math.min(this.#read(EVENTQ_BASE) & 31, this.#smmu.features.log2EventQueue);
    const size = RECORD_SIZE << log2size;
    const low = (this.#read(EVENTQ_BASE) & ~31) >>> 0;
    const high = this.#read(EVENTQ_BASE_HIGH) & 0xf_ffff;
    const address = (high * 2 ** 32 + low) % 2 ** this.#smmu.features.oas;
    const base = address - address % size;
    if (gpa < base || gpa >= base + size) {
      throw new Error(`A record was written at 0x${gpa.toString(16)}, outside the queue`);
    }
  }
}
