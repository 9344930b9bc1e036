/**
 * The device's own interrupts: by message where the guest has set one up, by wire otherwise. IHI 0070 §3.18.
 * @module
 */
import { get, getAddress } from "../bits.ts";
import type { IrqLine, MsiPort } from "../device.ts";
import type { GuestMemory } from "../guest_memory.ts";
import type { Features } from "./features.ts";
import type { Observer } from "./observer.ts";
import type { RegisterFile } from "./register_file.ts";
import { IRQ_CFG0, IRQ_CTRL, REG, type Register } from "./spec/registers.ts";

/** The wired interrupts; lines that a machine does not have may be left out. */
export interface InterruptLines {
  /** Event queue not empty. */
  readonly eventq?: IrqLine;
  /** PRI queue not empty, or the last of a group in it. */
  readonly priq?: IrqLine;
  /** Global error. */
  readonly gerror?: IrqLine;
  /** CMD_SYNC with CS=SIG_IRQ complete. */
  readonly cmdSync?: IrqLine;
}

/** Raises interrupts as the registers say. */
export class Interrupts {
  readonly #registers: RegisterFile;
  readonly #memory: GuestMemory;
  readonly #lines: InterruptLines;
  readonly #msi: MsiPort | undefined;
  readonly #features: Features;
  readonly #observer: Observer | undefined;
  /** The first address beyond the OAS. */
  readonly #end: number;

  /** Interrupts of one device; without `msi`, messages can only go to RAM. */
  constructor(
    registers: RegisterFile,
    memory: GuestMemory,
    features: Features,
    lines: InterruptLines,
    msi: MsiPort | undefined,
    observer: Observer | undefined,
  ) {
    this.#registers = registers;
    this.#memory = memory;
    this.#features = features;
    this.#lines = lines;
    this.#msi = msi;
    this.#observer = observer;
    this.#end = 2 ** features.oas;
  }

  /** The event queue became not empty. Returns false when the message was aborted. */
  eventq(): boolean {
    if (get(this.#registers.view(REG.IRQ_CTRL), IRQ_CTRL.EVENTQ_IRQEN) === 0) return true;
    return this.#raise("eventq", REG.EVENTQ_IRQ_CFG0, REG.EVENTQ_IRQ_CFG1, this.#lines.eventq);
  }

  /** The PRI queue has something to tell. Returns false when the message was aborted. */
  priq(): boolean {
    if (get(this.#registers.view(REG.IRQ_CTRL), IRQ_CTRL.PRIQ_IRQEN) === 0) return true;
    return this.#raise("priq", REG.PRIQ_IRQ_CFG0, REG.PRIQ_IRQ_CFG1, this.#lines.priq);
  }

  /** A global error became active. Returns false when the message was aborted. */
  gerror(): boolean {
    if (get(this.#registers.view(REG.IRQ_CTRL), IRQ_CTRL.GERROR_IRQEN) === 0) return true;
    return this.#raise("gerror", REG.GERROR_IRQ_CFG0, REG.GERROR_IRQ_CFG1, this.#lines.gerror);
  }

  /** A CMD_SYNC with CS=SIG_IRQ is complete; `gpa` 0 means no message. Returns false when the message was aborted. */
  cmdSync(gpa: number, data: number): boolean {
    const sent = !this.#features.msi || gpa === 0 || this.message("cmd_sync", gpa, data);
    const line = this.#lines.cmdSync;
    if (line !== undefined) {
      line.pulse();
      this.#observer?.interrupt("cmd_sync", -1);
    }
    return sent;
  }

  /** Writes a message to RAM or to a doorbell; an address beyond the OAS is truncated. */
  message(source: string, address: number, data: number): boolean {
    const gpa = address < this.#end ? address : address % this.#end;
    const sent = this.#memory.store32(gpa, data) || (this.#msi?.send(gpa, data) ?? false);
    if (sent) this.#observer?.interrupt(source, gpa);
    return sent;
  }

  #raise(
    source: string,
    cfg0: Register,
    cfg1: Register,
    line: IrqLine | undefined,
  ): boolean {
    const gpa = this.#features.msi ? getAddress(this.#registers.view(cfg0), IRQ_CFG0.ADDR) : 0;
    if (gpa !== 0) return this.message(source, gpa, this.#registers.get(cfg1));
    if (line !== undefined) {
      line.pulse();
      this.#observer?.interrupt(source, -1);
    }
    return true;
  }
}
