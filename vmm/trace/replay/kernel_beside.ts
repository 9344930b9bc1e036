/**
 * The kernel's iommufd beside the model of a replay: each call is made at both, and they have to agree.
 * @module
 */
import { createMemfd } from "../../../uapi/memfd.ts";
import type { Fd } from "../../../uapi/fd.ts";
import { KernelIommufd } from "../../iommufd/kernel.ts";
import { type Disagreement, TwinIommufd } from "../../iommufd/twin.ts";
import { EnvironmentError } from "../../environment_error.ts";
import type { Beside } from "./replayer_hardware.ts";

/** The kernel's iommufd, with devices that stand for those of the recording. */
export class KernelBeside implements Beside {
  readonly join: Beside["join"];
  readonly #kernel: KernelIommufd;
  readonly #files = new Map<number, Fd>();
  readonly #stack = new DisposableStack();
  #twin: TwinIommufd | undefined;

  /** `devices` are the paths of VFIO character devices, one for each stream of the recording. Throws `SystemError`. */
  constructor(devices: readonly string[]) {
    this.#kernel = this.#stack.use(KernelIommufd.open());
    this.join = (model) => {
      const twin = this.#twin = new TwinIommufd(model, this.#kernel);
      return {
        iommufd: twin,
        bind: (index, device) => {
          const path = devices[index];
          if (path === undefined) {
            throw new EnvironmentError(
              `Cannot replay: the recording has ${index + 1} devices or more, ` +
                `and ${devices.length} are given`,
            );
          }
          return twin.bind(device, this.#kernel.bindVfio(path));
        },
      };
    };
  }

  /** Where model and kernel answered differently. */
  get disagreements(): readonly Disagreement[] {
    return this.#twin?.disagreements ?? [];
  }

  /** How many calls both answered. */
  get calls(): number {
    return this.#twin?.calls ?? 0;
  }

  fileOf(file: number, sizeBytes: number): number {
    const known = this.#files.get(file);
    if (known !== undefined) return known.number;
    const made = this.#stack.use(createMemfd(`file ${file} of a recording`, sizeBytes));
    this.#files.set(file, made);
    return made.number;
  }

  /** Closes everything; the replay's hardware must be gone. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }
}
