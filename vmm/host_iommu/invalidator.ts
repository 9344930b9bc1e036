/**
 * A batch of the guest's invalidations as one IOMMU_HWPT_INVALIDATE, and the exact command when hardware refuses one.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import { SystemError } from "../../uapi/errno.ts";
import type { Iommufd } from "../iommufd/iommufd.ts";
import { COMMAND_WORDS, ForwardedCommands } from "./forwarded_command.ts";
import { IOMMU_VIOMMU_INVALIDATE_DATA } from "../../uapi/iommufd/mod.ts";

const ENTRY_SIZE = COMMAND_WORDS * 4;
/** Linux issues so many commands at once, each time with a CMD_SYNC of its own. */
const BLOCK = 63;

/** Does invalidations through a vIOMMU. */
export class Invalidator {
  /** Why `run` stopped short last time. */
  failure: SystemError | undefined;

  readonly #iommufd: Iommufd;
  readonly #viommuId: number;
  readonly #commands: ForwardedCommands;
  readonly #times: number;
  #entries = new Uint32Array(new ArrayBuffer(ENTRY_SIZE * 64));
  #bytes = new Uint8Array(this.#entries.buffer);

  /** For a guest that was offered `features`; `repeats` does everything twice. */
  constructor(iommufd: Iommufd, viommuId: number, features: Features, repeats: boolean) {
    this.#iommufd = iommufd;
    this.#viommuId = viommuId;
    this.#commands = new ForwardedCommands(features);
    this.#times = repeats ? 2 : 1;
  }

  /** Does `count` commands of four words, in order; returns how many of them are done. */
  run(commands: Uint32Array, count: number): number {
    this.failure = undefined;
    this.#reserve(count);
    let entries = 0;
    for (let i = 0; i < count; i++) {
      const from = i * COMMAND_WORDS;
      if (this.#commands.translate(commands, from, this.#entries, entries * COMMAND_WORDS)) {
        entries++;
      }
    }
    if (entries === 0) return count;
    let done = entries;
    for (let time = 0; time < this.#times && done === entries; time++) {
      done = this.#submit(0, entries);
    }
    return done === entries ? count : this.#position(commands, count, done);
  }

  /**
   * Linux counts what it understood. Of the block in which it met what it refuses, nothing was issued: those before
   * the culprit are sent once more, alone.
   */
  #submit(first: number, count: number): number {
    const { errno, handled } = this.#iommufd.hwptInvalidate({
      hwptId: this.#viommuId,
      dataType: IOMMU_VIOMMU_INVALIDATE_DATA.ARM_SMMUV3,
      entryLength: ENTRY_SIZE,
      count,
      entries: first === 0 ? this.#bytes : this.#bytes.subarray(first * ENTRY_SIZE),
    });
    if (errno === 0) return first + count;
    this.failure ??= new SystemError("IOMMU_HWPT_INVALIDATE", errno);
    const understood = Math.min(handled, count - 1);
    const issued = understood - understood % BLOCK;
    if (issued === understood) return first + issued;
    return this.#submit(first + issued, understood - issued);
  }

  /** Index of the command that entry `entry` was made of. */
  #position(commands: Uint32Array, count: number, entry: number): number {
    const scratch = new Uint32Array(COMMAND_WORDS);
    for (let i = 0, entries = 0; i < count; i++) {
      if (!this.#commands.translate(commands, i * COMMAND_WORDS, scratch, 0)) continue;
      if (entries++ === entry) return i;
    }
    return count;
  }

  #reserve(count: number): void {
    if (count * COMMAND_WORDS <= this.#entries.length) return;
    this.#entries = new Uint32Array(new ArrayBuffer(ENTRY_SIZE * count));
    this.#bytes = new Uint8Array(this.#entries.buffer);
  }
}
