/**
 * What software wrote to registers that are memory, and how often the device has to look before it may be read.
 *
 * A look takes what software waits for, and the settings when a field that guards them has changed; what else was written
 * has its turn, and until then reads as it was written, also where the device will not have it.
 * @module
 */
import { RegisterFile } from "../../hw/smmuv3/register_file.ts";
import { REG, REGISTER_SPACE_SIZE } from "../../hw/smmuv3/spec/registers.ts";

/** One look may have begun before a write; the next one sees it. */
export const LOOKS = 2;
/** So many looks are of every word, wherever they begin. */
export const LOOKS_EVERYWHERE: number = REGISTER_SPACE_SIZE / 4 / 32 + LOOKS;

/** Writes of which nothing says that the device has taken them: those of the fields that guard others do. */
const GUARDS: readonly number[] = [REG.CR0.offset, REG.IRQ_CTRL.offset];

/** Keeps account of them. */
export class UnseenWrites {
  readonly #offsets = new Set<number>();

  /** Nothing is on its way: after a reset. */
  clear(): void {
    this.#offsets.clear();
  }

  /** A register of `bytes` was written at `offset`. */
  add(offset: number, bytes: number): void {
    for (let at = offset; at < offset + bytes; at += 4) {
      if (!GUARDS.includes(at)) this.#offsets.add(RegisterFile.resolve(at));
    }
  }

  /** How many looks there have to be before the register at `offset` is read. */
  looksBefore(offset: number): number {
    if (!this.#offsets.has(RegisterFile.resolve(offset))) return 0;
    this.clear();
    return LOOKS_EVERYWHERE;
  }
}
