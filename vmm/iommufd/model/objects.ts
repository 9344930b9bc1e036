/**
 * The objects of one iommufd: ids, what is which, and what may go. As drivers/iommu/iommufd/main.c has it: an id is the
 * lowest that is free, 0 is none; what somebody uses is busy.
 * @module
 */
import { ERRNO, SystemError } from "../../../uapi/errno.ts";

/** An object. */
export abstract class ModelObject {
  /** How many others need it. */
  users = 0;
  /** Its id; 0 before it has one. */
  id = 0;

  /** Lets go of what it needs. */
  release(): void {}
}

/** Refuses a call. */
export function refuse(call: string, errno: number): never {
  throw new SystemError(call, errno);
}

/** Objects by id. */
export class ObjectTable {
  readonly #objects = new Map<number, ModelObject>();
  /** Ids that are not given again: a vDEVICE went with its device. */
  readonly #tombstones = new Set<number>();

  /** How many objects there are. */
  get size(): number {
    return this.#objects.size;
  }

  /** Gives an object the lowest free id. */
  add<T extends ModelObject>(object: T): T {
    let id = 1;
    while (this.#objects.has(id) || this.#tombstones.has(id)) id++;
    object.id = id;
    this.#objects.set(id, object);
    return object;
  }

  /** Any object with an id. */
  find(id: number): ModelObject | undefined {
    return this.#objects.get(id);
  }

  /** The object with an id. What is of another kind is not there: ENOENT. */
  get<T extends ModelObject>(
    id: number,
    kind: abstract new (...args: never[]) => T,
    call: string,
  ): T {
    const object = this.#objects.get(id);
    return object instanceof kind ? object : refuse(call, ERRNO.ENOENT);
  }

  /** Whether there is any object of a kind. */
  *all<T extends ModelObject>(kind: abstract new (...args: never[]) => T): Generator<T> {
    for (const object of this.#objects.values()) if (object instanceof kind) yield object;
  }

  /** Destroys an object at the user's wish. */
  destroy(id: number): void {
    const object = this.#objects.get(id) ?? refuse("IOMMU_DESTROY", ERRNO.ENOENT);
    if (object.users > 0) refuse("IOMMU_DESTROY", ERRNO.EBUSY);
    this.remove(object);
  }

  /** Removes an object that nobody uses; with a tombstone its id is never given again. */
  remove(object: ModelObject, isTombstoned: boolean = false): void {
    this.#objects.delete(object.id);
    if (isTombstoned) this.#tombstones.add(object.id);
    object.release();
  }
}
