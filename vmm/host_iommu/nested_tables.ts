/**
 * What streams can be attached to: one nested HWPT for each vSTE that some stream has, and two that are always there.
 * @module
 */
import type { Iommufd } from "../iommufd/iommufd.ts";
import { Destroyer } from "./destroyer.ts";
import { ABORT_VSTE, BYPASS_VSTE, keyOf, type Vste } from "./vste.ts";
import { IOMMU_HWPT_DATA } from "../../uapi/iommufd/mod.ts";

/** A nested HWPT. */
export interface Table {
  /** Its object id. */
  readonly id: number;
  readonly key: string;
  /** How many streams are attached to it; one more for each that is always there. */
  users: number;
}

/** The nested HWPTs of one vIOMMU. */
export class NestedTables implements Disposable {
  /** Aborts. */
  readonly abort: Table;
  /** Bypasses stage 1. */
  readonly bypass: Table;

  readonly #iommufd: Iommufd;
  readonly #devId: () => number;
  readonly #viommuId: number;
  readonly #destroyer: Destroyer;
  readonly #tables = new Map<string, Table>();
  readonly #stack = new DisposableStack();

  /** Makes what is always there, for the device that `devId` names at the time. Throws `SystemError`, with nothing left. */
  constructor(
    iommufd: Iommufd,
    devId: () => number,
    viommuId: number,
    log: (line: string) => void,
  ) {
    using stack = new DisposableStack();
    this.#iommufd = iommufd;
    this.#devId = devId;
    this.#viommuId = viommuId;
    this.#destroyer = stack.use(new Destroyer(iommufd, log));
    stack.defer(() => {
      for (const { id } of this.#tables.values()) this.#destroyer.destroy(id);
    });
    this.abort = this.find(ABORT_VSTE);
    this.bypass = this.find(BYPASS_VSTE);
    this.abort.users++;
    this.bypass.users++;
    this.#stack = stack.move();
  }

  /** The table for a vSTE; a new one has no users yet. Throws `SystemError`. */
  find(vste: Vste): Table {
    const key = keyOf(vste);
    const known = this.#tables.get(key);
    if (known !== undefined) return known;
    const id = this.#iommufd.hwptAlloc({
      flags: 0,
      devId: this.#devId(),
      ptId: this.#viommuId,
      dataType: IOMMU_HWPT_DATA.ARM_SMMUV3,
      data: new Uint8Array(vste.buffer),
    });
    const table = { id, key, users: 0 };
    this.#tables.set(key, table);
    return table;
  }

  /** Destroys a table that nobody uses. */
  drop(table: Table): void {
    if (table.users > 0) return;
    this.#tables.delete(table.key);
    this.#destroyer.destroy(table.id);
  }

  /** Destroys all. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }
}
