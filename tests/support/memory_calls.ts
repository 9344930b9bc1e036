/**
 * Calls of iommufd that map memory for mock devices, at places where they meet.
 * @module
 */
import type { Iommufd } from "../../vmm/iommufd/iommufd.ts";
import type { Choices } from "./choices.ts";

const PAGE = 0x1000n;
const LAST = 0xffff_ffff_ffff_ffffn;
/** The last IOVA of a mock domain with large tables. */
const HUGE_LAST = (1n << 38n) - 1n;

/** What calls may use. */
export interface MemoryGround {
  readonly iommufd: Iommufd;
  /** Memory of this process that can be pinned, and has the content of the file. */
  readonly userVa: bigint;
  readonly fd: number;
  readonly sizeBytes: bigint;
}

/** A range of an IOAS. */
export interface IoasRange {
  readonly ioasId: number;
  readonly iova: bigint;
  readonly length: bigint;
  /** Where its memory is in this process, if that is known. */
  readonly userVa?: bigint;
}

/** The calls. */
export class MemoryCalls {
  readonly #ground: MemoryGround;
  readonly #choices: Choices;
  readonly #ioasId: () => number;
  readonly #mapped: IoasRange[] = [];

  /** In what `ioasId` names. */
  constructor(ground: MemoryGround, choices: Choices, ioasId: () => number) {
    this.#ground = ground;
    this.#choices = choices;
    this.#ioasId = ioasId;
  }

  /** An IOVA. */
  iova(): bigint {
    const base = this.#choices.mostly(
      0x100_0000n,
      0n,
      0x7fff_8000n,
      HUGE_LAST + 1n - 8n * PAGE,
      LAST - 7n * PAGE,
    );
    const page = BigInt(this.#choices.below(24)) * PAGE;
    return (base + page + this.#choices.nearlyAlways(0n, 0x800n, 1n)) & LAST;
  }

  /** Bytes. */
  length(): bigint {
    const pages = BigInt(1 + this.#choices.below(12)) * PAGE;
    return this.#choices.nearlyAlways(
      pages,
      0n,
      0x800n,
      pages + 0x800n,
      pages + 1n,
      LAST,
      1n << 40n,
    );
  }

  #offset(): bigint {
    return BigInt(this.#choices.below(32)) * PAGE + this.#choices.nearlyAlways(0n, 0x800n, 1n);
  }

  #flags(): number {
    return this.#choices.nearlyAlways(this.#choices.of([7, 7, 7, 6, 3, 5]), 0, 1, 8);
  }

  /** Mostly what was mapped, or a part of it. */
  range(): IoasRange {
    const known = this.#mapped.length > 0 && this.#choices.below(6) !== 0;
    const whole = known
      ? this.#choices.of(this.#mapped)
      : { ioasId: this.#ioasId(), iova: this.iova(), length: this.length() };
    const { ioasId, iova, length } = whole;
    return this.#choices.mostly(
      whole,
      { ioasId, iova, length: length / 2n },
      { ioasId, iova: (iova + PAGE) & LAST, length: length > PAGE ? length - PAGE : length },
      { ioasId, iova: iova & ~0x1_ffffn, length: (length + 0x4_0000n) & LAST },
      { ioasId, iova, length: (length + PAGE) & LAST },
    );
  }

  /** What was mapped, with where its memory is, mostly. */
  placed(): Required<IoasRange> {
    const range = this.#mapped.length > 0 ? this.#choices.of(this.#mapped) : this.range();
    const userVa = range.userVa ?? this.#ground.userVa + this.#offset();
    const { ioasId, iova, length } = range;
    return {
      ioasId,
      iova,
      length,
      userVa: this.#choices.nearlyAlways(userVa, this.#ground.userVa),
    };
  }

  /** IOMMU_IOAS_MAP. */
  map(ioasId: number, iova: bigint, length: bigint): void {
    const userVa = this.#choices.nearlyAlways(
      this.#ground.userVa + this.#offset(),
      PAGE,
      LAST - PAGE,
    );
    const map = { flags: this.#flags(), ioasId, userVa, length, iova };
    this.#mapped.push({ ...map, iova: this.#ground.iommufd.ioasMap(map) });
  }

  /** IOMMU_IOAS_MAP_FILE. */
  mapFile(): void {
    const { fd, sizeBytes, userVa } = this.#ground;
    const map = {
      flags: this.#flags(),
      ioasId: this.#ioasId(),
      fd: this.#choices.nearlyAlways(fd, -1),
      start: this.#choices.nearlyAlways(this.#offset(), sizeBytes - PAGE, sizeBytes),
      length: this.length(),
      iova: this.iova(),
    };
    const iova = this.#ground.iommufd.ioasMapFile(map);
    this.#mapped.push({ ...map, iova, userVa: userVa + map.start });
  }

  /** IOMMU_IOAS_COPY. */
  copy(): void {
    const { ioasId, iova, length } = this.range();
    const dstIoasId = this.#ioasId();
    const made = this.#ground.iommufd.ioasCopy({
      flags: this.#flags(),
      dstIoasId,
      srcIoasId: ioasId,
      length,
      dstIova: this.iova(),
      srcIova: iova,
    });
    this.#mapped.push({ ioasId: dstIoasId, iova: made, length });
  }

  /** IOMMU_IOAS_UNMAP. */
  unmap(): void {
    const { ioasId, iova, length } = this.range();
    if (this.#choices.below(6) === 0) this.#ground.iommufd.ioasUnmap(ioasId, 0n, LAST);
    else this.#ground.iommufd.ioasUnmap(ioasId, iova, length);
  }

  /** IOMMU_IOAS_ALLOW_IOVAS. */
  allow(): void {
    const ranges = Array.from({ length: this.#choices.below(3) }, () => {
      const start = this.iova();
      return { start, last: (start + this.length()) & LAST };
    });
    this.#ground.iommufd.ioasAllowIovas(this.#ioasId(), ranges);
  }
}
