/**
 * Guest RAM as the VMM hands it out: the files that DMA_MAP carries become one `GuestRam`.
 *
 * A VMM sends the same maps to every function. The first makes the RAM, the others share it, and it goes when the last
 * of them unmaps it or leaves.
 * @module
 */
import type { GuestRam } from "../hw/guest_memory.ts";
import { ERRNO, SystemError } from "../uapi/errno.ts";
import type { Fd } from "../uapi/fd.ts";
import { Mapping } from "../uapi/mapping.ts";
import { sealAgainstShrinking, sealsOf } from "../uapi/memfd.ts";
import { type FileStatus, statusOf } from "../uapi/stat.ts";

/** A range of guest physical addresses to be mapped. All in bytes. */
export interface RamRange {
  /** Where it lies for the guest. */
  readonly gpa: number;
  /** How long it is. */
  readonly sizeBytes: number;
  /** Where it begins in its file. */
  readonly offset: number;
  /** Whether the device may write to it. */
  readonly writable: boolean;
}

/** Why something was not done. */
export interface Refusal {
  /** A positive error number. */
  readonly errno: number;
  /** One clause for people, naming both sides. */
  readonly reason: string;
}

/** Hardware that is to see the same RAM. */
export interface RamMirror {
  /** Shows a range of `fd` to it. Throws `SystemError` when it cannot. */
  map(range: RamRange, fd: Fd): void;
  /** Takes away a range that was shown. */
  unmap(range: RamRange): void;
}

/** Options of `GuestRamMap`. */
export interface GuestRamMapOptions {
  /** Told, once, about RAM that is used although its file may shrink. */
  readonly log?: (line: string) => void;
}

/** Most maps of one owner, and most pieces of RAM. */
export const MOST_MAPS = 512;

const PAGE = 0x1000;
const GPA_END = 2 ** 52;
/** The longest buffer that V8 was seen to take. */
const LONGEST = 2 ** 44;

/** A piece of RAM and who asked for it. */
interface Piece extends RamRange {
  readonly identity: string;
  readonly mapping: Mapping;
  readonly owners: Set<GuestRamOwner>;
}

/** Makes one `GuestRam` out of what several owners map. */
export class GuestRamMap {
  readonly #ram: GuestRam;
  readonly #log: (line: string) => void;
  readonly #pieces: Piece[] = [];
  #mirror: RamMirror | undefined;
  #hasWarned = false;

  /** Feeds `ram`. */
  constructor(ram: GuestRam, { log = () => {} }: GuestRamMapOptions = {}) {
    this.#ram = ram;
    this.#log = log;
  }

  /** Someone who may map; `name` is for messages to people. */
  owner(name: string): GuestRamOwner {
    return new GuestRamOwner(name, {
      acquire: (range, fd, owner) => this.#acquire(range, fd, owner),
      release: (piece, owner) => this.#release(piece, owner),
    });
  }

  /** From now on, before anything is mapped, hardware sees what is mapped. */
  mirrorTo(mirror: RamMirror): void {
    this.#mirror = mirror;
  }

  /** Where a byte of a file lies in guest RAM; undefined when it is not mapped. Throws `SystemError`. */
  locate(fd: Pick<Fd, "number">, offset: number): number | undefined {
    const { identity } = statusOf(fd);
    const piece = this.#pieces.find((piece) =>
      piece.identity === identity && offset >= piece.offset &&
      offset < piece.offset + piece.sizeBytes
    );
    return piece && piece.gpa + offset - piece.offset;
  }

  #acquire(range: RamRange, fd: Fd, owner: GuestRamOwner): Piece | Refusal {
    // Asked first: any other file system may let us wait, now or at each access.
    if (sealsOf(fd) < 0) return invalid(`${describe(range)} does not come from a file in memory`);
    // Sealed before it is measured, so that the size we see is the size that stays.
    const isSealed = sealAgainstShrinking(fd);
    const status = statusOf(fd);
    const other = this.#pieces.find((piece) => overlaps(piece, range));
    if (other !== undefined) return share(other, range, status, owner);
    const unfit = this.#unfit(range, status);
    if (unfit !== undefined) return unfit;
    const mapping = new Mapping(fd, range);
    if (!this.#ram.map(range.gpa, mapping.buffer, range.writable)) {
      mapping[Symbol.dispose]();
      return invalid(`${describe(range)} overlaps RAM that no client mapped`);
    }
    if (!isSealed && !this.#hasWarned) {
      this.#hasWarned = true;
      this.#log(
        `${owner.name}: ${describe(range)} lies in a file that may shrink, which would end us`,
      );
    }
    const { identity } = status;
    const piece = { ...range, identity, mapping, owners: new Set([owner]) };
    this.#pieces.push(piece);
    try {
      this.#mirror?.map(range, fd);
    } catch (error) {
      this.#remove(piece);
      throw error;
    }
    return piece;
  }

  #unfit(range: RamRange, { sizeBytes }: FileStatus): Refusal | undefined {
    if (range.offset + range.sizeBytes > sizeBytes) {
      return invalid(`${describe(range)} ends beyond its file of ${sizeBytes} bytes`);
    }
    if (this.#pieces.length >= MOST_MAPS) {
      return { errno: ERRNO.ENOSPC, reason: `there are ${MOST_MAPS} pieces of RAM already` };
    }
    return undefined;
  }

  #release(piece: Piece, owner: GuestRamOwner): void {
    piece.owners.delete(owner);
    if (piece.owners.size > 0) return;
    // Hardware first: nothing may reach pages that are ours no longer.
    this.#mirror?.unmap(piece);
    this.#remove(piece);
  }

  #remove(piece: Piece): void {
    this.#pieces.splice(this.#pieces.indexOf(piece), 1);
    this.#ram.unmap(piece.gpa);
    piece.mapping[Symbol.dispose]();
  }
}

/** What an owner needs of the map that made it. */
interface Pieces {
  acquire(range: RamRange, fd: Fd, owner: GuestRamOwner): Piece | Refusal;
  release(piece: Piece, owner: GuestRamOwner): void;
}

/** A map of one owner; without a piece it is a range that we know and cannot reach. */
interface Claim {
  readonly range: RamRange;
  readonly piece: Piece | undefined;
}

/** One client's view: its maps, and nobody else's, can be unmapped through it. */
export class GuestRamOwner implements Disposable {
  /** For messages to people. */
  readonly name: string;
  readonly #pieces: Pieces;
  #claims: readonly Claim[] = [];

  /** Made by `GuestRamMap.owner`. */
  constructor(name: string, pieces: Pieces) {
    this.name = name;
    this.#pieces = pieces;
  }

  /**
   * Maps a range of `fd`, which may be closed afterwards. Without `fd` the range is remembered as one that is not RAM
   * for us. Returns why not, or undefined.
   */
  map(range: RamRange, fd: Fd | undefined): Refusal | undefined {
    const { gpa, sizeBytes, offset } = range;
    if (gpa % PAGE !== 0 || sizeBytes % PAGE !== 0 || offset % PAGE !== 0) {
      return invalid(`${describe(range)} is not made of whole pages`);
    }
    if (sizeBytes === 0 || sizeBytes > LONGEST || gpa + sizeBytes > GPA_END) {
      return invalid(`${describe(range)} is no range of guest memory`);
    }
    const other = this.#claims.find((claim) => overlaps(claim.range, range));
    if (other !== undefined) {
      return invalid(`${describe(range)} overlaps its own ${describe(other.range)}`);
    }
    if (this.#claims.length >= MOST_MAPS) {
      return { errno: ERRNO.ENOSPC, reason: `it has ${MOST_MAPS} maps already` };
    }
    const piece = fd && this.#acquire(range, fd);
    if (piece !== undefined && "errno" in piece) return piece;
    this.#claims = [...this.#claims, { range, piece }];
    return undefined;
  }

  /** Unmaps all of its maps inside a range. Returns why not: it has none there, or one lies only partly inside. */
  unmap(gpa: number, sizeBytes: number): Refusal | undefined {
    const range = { gpa, sizeBytes, offset: 0, writable: false };
    const touched = this.#claims.filter((claim) => overlaps(claim.range, range));
    const cut = touched.find((claim) => !isInside(claim.range, range));
    if (cut !== undefined) {
      return invalid(`${describe(range)} covers only a part of ${describe(cut.range)}`);
    }
    if (touched.length === 0) {
      return { errno: ERRNO.ENOENT, reason: `it has no map in ${describe(range)}` };
    }
    this.#drop(touched);
    return undefined;
  }

  /** Unmaps everything of this owner. */
  unmapAll(): void {
    this.#drop(this.#claims);
  }

  /** Unmaps everything of this owner. */
  [Symbol.dispose](): void {
    this.unmapAll();
  }

  #acquire(range: RamRange, fd: Fd): Piece | Refusal {
    try {
      return this.#pieces.acquire(range, fd, this);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const errno = error instanceof SystemError ? error.errno : ERRNO.EIO;
      return { errno, reason: `${describe(range)}: ${error.message}` };
    }
  }

  #drop(claims: readonly Claim[]): void {
    this.#claims = this.#claims.filter((claim) => !claims.includes(claim));
    for (const { piece } of claims) {
      if (piece !== undefined) this.#pieces.release(piece, this);
    }
  }
}

/** Joins a piece that is the same RAM. */
function share(
  piece: Piece,
  range: RamRange,
  { identity }: FileStatus,
  owner: GuestRamOwner,
): Piece | Refusal {
  const isSame = piece.gpa === range.gpa && piece.sizeBytes === range.sizeBytes &&
    piece.offset === range.offset && piece.writable === range.writable &&
    piece.identity === identity;
  if (!isSame) {
    const [{ name }] = piece.owners;
    return invalid(`${describe(range)} differs from ${describe(piece)} that ${name} mapped`);
  }
  piece.owners.add(owner);
  return piece;
}

function invalid(reason: string): Refusal {
  return { errno: ERRNO.EINVAL, reason };
}

function overlaps(a: RamRange, b: RamRange): boolean {
  return a.gpa < b.gpa + b.sizeBytes && b.gpa < a.gpa + a.sizeBytes;
}

function isInside(a: RamRange, b: RamRange): boolean {
  return a.gpa >= b.gpa && a.gpa + a.sizeBytes <= b.gpa + b.sizeBytes;
}

/** Such as `RAM 0x40000000+0x10000000 (file offset 0x0)`. */
function describe({ gpa, sizeBytes, offset }: RamRange): string {
  return `RAM 0x${gpa.toString(16)}+0x${sizeBytes.toString(16)} (file offset 0x${
    offset.toString(16)
  })`;
}
