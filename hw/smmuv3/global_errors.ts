/**
 * Global errors: active while SMMU_GERROR and SMMU_GERRORN differ. IHI 0070 §6.3.19, §7.5 Global error recording.
 * @module
 */
import { type Field, maskOf } from "../bits.ts";
import type { Interrupts } from "./interrupts.ts";
import type { RegisterFile } from "./register_file.ts";
import { GERROR, REG } from "./spec/registers.ts";

/** The errors of one device. */
export class GlobalErrors {
  readonly #registers: RegisterFile;
  readonly #interrupts: Interrupts;

  /** As the registers have them; new ones raise an interrupt. */
  constructor(registers: RegisterFile, interrupts: Interrupts) {
    this.#registers = registers;
    this.#interrupts = interrupts;
  }

  /** Whether software has not acknowledged an error. */
  isActive(error: Field): boolean {
    const difference = this.#registers.get(REG.GERROR) ^ this.#registers.get(REG.GERRORN);
    return ((difference >>> error.shift) & error.mask) !== 0;
  }

  /** Makes an error active, and tells software. */
  raise(error: Field): void {
    // §7.5: an aborted GERROR message is itself recorded, but raises no interrupt.
    if (this.#activate(error) && !this.#interrupts.gerror()) {
      this.#activate(GERROR.MSI_GERROR_ABT_ERR);
    }
  }

  /** One that is active already stays as it is. */
  #activate(error: Field): boolean {
    if (this.isActive(error)) return false;
    this.#registers.set(REG.GERROR, this.#registers.get(REG.GERROR) ^ maskOf(error));
    return true;
  }
}
