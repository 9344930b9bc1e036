/**
 * The registers of the SMMU as memory that the VMM maps into the guest.
 * @module
 */
import { REGISTER_SPACE_SIZE } from "../hw/smmuv3/spec/registers.ts";
import type { Fd } from "../uapi/fd.ts";
import { Mapping } from "../uapi/mapping.ts";
import { createMemfd, F_SEAL } from "../uapi/memfd.ts";
import type { MappedRegion } from "./vfio_user/mapped_region.ts";

/** How software's accesses to the registers reach the SMMU: each traps, or they are memory. */
export type RegisterKind = "trapped" | "mapped";

/**
 * The same for as long as a machine runs: always trapped; memory while it is used, and trapped at rest, where the machine can
 * change that; or as `mapped`, but trapped also where that does more.
 */
export type RegisterMode = RegisterKind | "adaptive";

/** Nobody who has the file can make it shorter, which would kill us at the next access. */
const SEALS = F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.SEAL;

/** A file of both register pages, 64 KiB each: whole pages on every host, whatever its page size. */
export class RegisterPage implements Disposable {
  readonly #fd: Fd;
  readonly #mapping: Mapping;
  /** What is given to clients: all of BAR 0. */
  readonly mapped: ReadonlyMap<number, MappedRegion>;

  /** Throws `SystemError`. */
  constructor() {
    using stack = new DisposableStack();
    const sizeBytes = REGISTER_SPACE_SIZE;
    this.#fd = stack.use(createMemfd("smmu-registers", sizeBytes, SEALS));
    this.#mapping = stack.use(new Mapping(this.#fd, { offset: 0, sizeBytes, writable: true }));
    this.mapped = new Map([[0, { fd: this.#fd, offset: 0, areas: [{ offset: 0, sizeBytes }] }]]);
    stack.move();
  }

  /** The memory. */
  get buffer(): ArrayBuffer {
    return this.#mapping.buffer;
  }

  /** Unmaps and closes it; clients keep what they mapped. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.#fd[Symbol.dispose]();
  }
}
