/**
 * Access to an IOAS by a driver of the host rather than by DMA: pinned pages that are let go when they are unmapped,
 * reads and writes. As iommufd_access of drivers/iommu/iommufd/device.c has it.
 * @module
 */
import type { GuestMemory } from "../../../hw/guest_memory.ts";
import { ERRNO } from "../../../uapi/errno.ts";
import { pageOffset } from "./area.ts";
import type { IoPagetable, Piece } from "./io_pagetable.ts";
import { ModelObject, refuse } from "./objects.ts";
import type { Ioas } from "./page_tables.ts";

const CALL = "iommufd_access";
const LAST = 0xffff_ffff_ffff_ffffn;
const PAGE = 4096n;

/** Options of an access. */
export interface ModelAccessOptions {
  /** Whether it pins pages; it works on whole ones then. */
  readonly pinsPages: boolean;
  /** Told what is unmapped, last IOVA included, so that what is pinned there can be let go. */
  readonly unmapped?: (start: bigint, last: bigint) => void;
}

/** The access. It is an object, but only its owner ends it. */
export class ModelAccess extends ModelObject {
  /** What it asks of everything that is mapped. */
  readonly alignment: bigint;
  /** Told what is unmapped. */
  readonly unmapped: (start: bigint, last: bigint) => void;
  #ioas: Ioas | undefined;

  /** To nothing yet. */
  constructor({ pinsPages, unmapped = (): void => {} }: ModelAccessOptions) {
    super();
    this.alignment = pinsPages ? PAGE : 1n;
    this.unmapped = unmapped;
    this.users = 1;
  }

  /** Where it reaches. */
  get ioas(): Ioas | undefined {
    return this.#ioas;
  }

  /** To another IOAS, or to none. Throws `SystemError`, with nothing changed. */
  move(ioas: Ioas | undefined): void {
    const old = this.#ioas;
    if (old === ioas) return;
    ioas?.table.addAccess(this, CALL);
    if (ioas !== undefined) ioas.users++;
    this.#ioas = ioas;
    if (old === undefined) return;
    this.unmapped(0n, LAST);
    old.table.removeAccess(this);
    old.users--;
  }

  /** Pins the pages of a range: the physical address of each. Throws `SystemError`. */
  pin(iova: bigint, length: bigint, write: boolean): number[] {
    const { table, pieces, isWhole } = this.#find(iova, length);
    const physical = pieces.flatMap((piece, i) => {
      const isLast = isWhole && i === pieces.length - 1;
      const inPage = pageOffset({ pages: piece.area.pages, offset: offsetOf(piece) });
      const endsInPage = (inPage + sizeOf(piece)) % PAGE !== 0n;
      if (inPage !== 0n || (endsInPage && !isLast)) refuse(CALL, ERRNO.EINVAL);
      if (!isAllowed(piece, write)) refuse(CALL, ERRNO.EPERM);
      const first = table.place(piece, piece.area.pages.writable, CALL);
      return Array.from(
        { length: Math.ceil(Number(sizeOf(piece)) / Number(PAGE)) },
        (_, page) => first + page * Number(PAGE),
      );
    });
    return isWhole ? physical : refuse(CALL, ERRNO.ENOENT);
  }

  /** Reads or writes `bytes` at an IOVA. Throws `SystemError`; what came before is done then. */
  transfer(memory: GuestMemory, iova: bigint, bytes: Uint8Array, write: boolean): void {
    const { table, pieces, isWhole } = this.#find(iova, BigInt(bytes.length));
    for (const piece of pieces) {
      if (!isAllowed(piece, write)) refuse(CALL, ERRNO.EPERM);
      const at = Number(piece.from - iova);
      const part = bytes.subarray(at, at + Number(sizeOf(piece)));
      const physical = table.place(piece, write, CALL);
      const isDone = write ? memory.write(physical, part) : memory.read(physical, part);
      if (!isDone) refuse(CALL, ERRNO.EFAULT);
    }
    if (!isWhole) refuse(CALL, ERRNO.ENOENT);
  }

  override release(): void {
    this.move(undefined);
  }

  #find(
    iova: bigint,
    length: bigint,
  ): { readonly table: IoPagetable; readonly pieces: readonly Piece[]; readonly isWhole: boolean } {
    if (length === 0n) refuse(CALL, ERRNO.EINVAL);
    const last = iova + length - 1n;
    if (last > LAST) refuse(CALL, ERRNO.EOVERFLOW);
    const { table } = this.#ioas ?? refuse(CALL, ERRNO.ENOENT);
    return { table, ...table.pieces(iova, last) };
  }
}

function sizeOf({ from, to }: Piece): bigint {
  return to - from + 1n;
}

function offsetOf({ area, from }: Piece): bigint {
  return area.offset + from - area.start;
}

function isAllowed({ area }: Piece, write: boolean): boolean {
  return write ? area.writable : area.readable;
}
