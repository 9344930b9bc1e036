/**
 * Writes the steps of a program: stores, accesses to registers, commands and transfers.
 * @module
 */
import type { Random } from "../random.ts";
import { CommandMix, type CommandWords } from "./command_mix.ts";
import { COPY, READERS, WRITERS } from "./ground.ts";
import type { Step } from "./program.ts";
import type { Scene, SceneStream, Visit } from "./scene.ts";

/** The steps so far, and how more of them are made. */
export class StepWriter {
  /** What was written. */
  readonly steps: Step[] = [];
  protected readonly random: Random;
  protected readonly scene: Scene;
  protected readonly commands: CommandMix;
  /** log2 of the records that the event queue holds. */
  protected log2events = 0;
  #slot = 0;

  /** No steps yet; what is not decided `random` decides. */
  constructor(random: Random, scene: Scene) {
    this.random = random;
    this.scene = scene;
    this.commands = new CommandMix(random);
  }

  protected store(gpa: number, value: bigint): void {
    const note = this.scene.image.noteAt(gpa);
    this.steps.push({ kind: "store", gpa, value, ...(note ? { note } : {}) });
  }

  protected register(offset: number, value: number | bigint, bytes: 4 | 8 = 4): void {
    this.steps.push({ kind: "register", offset, value: BigInt(value), bytes });
  }

  /** A register of 64 bits, at once or by halves. */
  protected wide(offset: number, value: bigint): void {
    if (this.random.chance(0.5)) return this.register(offset, value, 8);
    this.register(offset, value & 0xffff_ffffn);
    this.register(offset + 4, value >> 32n);
  }

  /** A base address with RA; now and then with bits set that the size of what is there leaves no room for. */
  protected address(gpa: number, log2size: number, probability: number): bigint {
    const extra = this.random.chance(probability) ? this.random.below(2 ** log2size) >> 6 << 6 : 0;
    return BigInt(gpa + extra) | 1n << 62n;
  }

  protected send(commands: readonly CommandWords[]): void {
    const sync = this.commands.sync();
    this.steps.push({ kind: "commands", commands: [...commands, sync] });
  }

  /** A transfer of up to four bytes, which is one transaction for QEMU too; sometimes of more. `isFar`: from the visit. */
  protected transfer(
    { streamId, below }: SceneStream,
    { iova, gpa, sizeBytes, leaves }: Visit,
    isFar: boolean = false,
  ): void {
    const random = this.random;
    const bytes = this.log2events < 7 || random.chance(0.93)
      ? random.of([1, 2, 4, 4, 4])
      : random.of([8, 16, 64]);
    const inside = bytes === 64 ? 0 : random.below(64 / bytes) * bytes;
    // Not aligned now and then, but never in two pages: which of them fails first is nobody's matter.
    const isOdd = this.log2events === 7 && inside + bytes < 64 && random.chance(0.05);
    const block = random.below(Math.min(sizeBytes, 0x1000) / 64) * 64;
    const at = block + inside + (isOdd ? 1 : 0);
    const through = isFar || leaves.length === 0
      ? undefined
      : [...leaves.map(({ leaf }) => leaf), ...below].flatMap(({ descriptor, above }) => [
        descriptor,
        ...above,
      ]);
    const common = { stream: streamId, iova: iova - iova % 4096n + BigInt(at), bytes, through };
    if (WRITERS.includes(streamId)) {
      this.steps.push({ kind: "write", ...common, gpa: gpa - gpa % 4096 + at });
    } else if (READERS.includes(streamId)) {
      // What is there before tells apart where reads come from.
      const slot = this.#slot++ % (COPY.bufferBytes / COPY.slotBytes);
      if (leaves.length > 0) this.store(gpa - gpa % 4096 + at - at % 8, random.quad());
      this.steps.push({ kind: "fetch", ...common, slot });
    }
  }
}
