/**
 * The INTx pin of a function. PCI Express Base 5.0 §6.1.2, §7.5.1.1.3.
 * @module
 */
import type { IrqLine } from "../device.ts";
import type { ConfigSpace } from "./config_space.ts";
import { HEADER } from "./registers.ts";

/**
 * Drives an interrupt line from a function: shows the level in Status.InterruptStatus, and asserts the line only
 * while Command.InterruptDisable is clear. The outer line is told about changes only.
 */
export class IntxPin implements IrqLine {
  readonly #config: ConfigSpace;
  readonly #line: IrqLine;
  #pending = false;
  #asserted = false;

  /** The pin of the function with this configuration space, wired to `line`. */
  constructor(config: ConfigSpace, line: IrqLine) {
    this.#config = config;
    this.#line = line;
    config.watch(HEADER.Command.offset, HEADER.Command.sizeBytes, {
      written: () => this.#update(),
    });
  }

  /** The level inside the function. */
  set(pending: boolean): void {
    this.#pending = pending;
    this.#update();
  }

  /** One edge; lost while the pin is disabled. */
  pulse(): void {
    if (!this.#config.interruptDisabled) this.#line.pulse();
  }

  #update(): void {
    this.#config.interruptStatus = this.#pending;
    const asserted = this.#pending && !this.#config.interruptDisabled;
    if (asserted === this.#asserted) return;
    this.#asserted = asserted;
    this.#line.set(asserted);
  }
}
