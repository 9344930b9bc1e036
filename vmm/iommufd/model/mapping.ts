/**
 * What the ways to map have in common. As drivers/iommu/iommufd/ioas.c has it.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import { IOMMU_IOAS_MAP } from "../../../uapi/iommufd/mod.ts";
import type { Pages } from "./area.ts";
import { refuse } from "./objects.ts";
import type { Ioas } from "./page_tables.ts";

const LAST = 0xffff_ffff_ffff_ffffn;
const PAGE = 4096n;
const { FIXED_IOVA, WRITEABLE, READABLE } = IOMMU_IOAS_MAP;

/** What comes before the IOAS is looked up. */
export function checkMap(flags: number, iova: bigint, length: bigint, call: string): void {
  if ((flags & ~(FIXED_IOVA | WRITEABLE | READABLE)) !== 0) refuse(call, ERRNO.EOPNOTSUPP);
  if (iova >= LAST || length >= LAST) refuse(call, ERRNO.EOVERFLOW);
  if ((flags & (WRITEABLE | READABLE)) === 0) refuse(call, ERRNO.EINVAL);
}

/** What comes before memory of the process is looked at. */
export function checkUser(userVa: bigint, length: bigint, call: string): void {
  if (length === 0n) refuse(call, ERRNO.EINVAL);
  if (userVa + length > LAST) refuse(call, ERRNO.EOVERFLOW);
}

/** What comes before a file is looked at; it may end with the last of all bytes. */
export function checkFile(start: bigint, length: bigint, call: string): void {
  if (length === 0n) refuse(call, ERRNO.EINVAL);
  if (start + length - 1n > LAST) refuse(call, ERRNO.EOVERFLOW);
}

/** What devices may do, by the flags. */
export function rightsOf(
  flags: number,
): { readonly readable: boolean; readonly writable: boolean } {
  return { readable: (flags & READABLE) !== 0, writable: (flags & WRITEABLE) !== 0 };
}

/** Maps new memory; returns the IOVA. */
export function insert(
  { table }: Ioas,
  source: Pages["source"],
  flags: number,
  length: bigint,
  iova: bigint,
  call: string,
): bigint {
  if (length > LAST - PAGE) refuse(call, ERRNO.EINVAL);
  const rights = rightsOf(flags);
  const { writable } = rights;
  const pages: Pages = { source, length, writable, physical: undefined, shownBy: new Set() };
  const fixed = flags & FIXED_IOVA ? iova : undefined;
  return table.insert([{ pages, offset: 0n, length }], fixed, rights, call);
}
