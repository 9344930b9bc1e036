/**
 * The host's huge pages as the memory of a guest: each page of 2 MiB of the guest is one piece of the host's memory, so
 * that stage 2 is short and no buffer of the guest's drivers lies in pieces. Linux, admin-guide/mm/hugetlbpage.rst.
 * @module
 */
import { EnvironmentError } from "./environment_error.ts";

/** Bytes of a huge page that a guest's memory may be of. */
export const HUGE_PAGE_BYTES = 0x20_0000;

/** Where Linux counts them. */
export const HUGE_PAGES_FOLDER = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/** Throws an `EnvironmentError` when the host has fewer free ones than a guest of `memoryMiB` MiB needs. */
export async function checkHugePages(
  memoryMiB: number,
  folder: string = HUGE_PAGES_FOLDER,
): Promise<void> {
  const needed = Math.ceil(memoryMiB * 0x10_0000 / HUGE_PAGE_BYTES);
  const free = await Deno.readTextFile(`${folder}/free_hugepages`).then(Number, (error) => {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  });
  if (free >= needed) return;
  throw new EnvironmentError(
    `Cannot take ${memoryMiB} MiB of guest memory from huge pages: ${needed} of 2 MiB are needed, the host has ${free} free; ` +
      `echo ${needed} > ${folder}/nr_hugepages reserves them`,
  );
}
