/**
 * Tests on the kernel's mock driver: none leaves a page pinned or a descriptor open.
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { iommuTest } from "./mock_device.ts";
import { openDescriptors, SharedPages } from "./shared_pages.ts";

const BYTES = 0x40_0000;

/** A test with an iommufd and 4 MiB of memory of its own. */
export function mockTest(
  name: string,
  run: (iommufd: KernelIommufd, pages: SharedPages, t: Deno.TestContext) => void | Promise<void>,
): void {
  Deno.test(name, async (t) => {
    const before = openDescriptors();
    {
      using pages = new SharedPages(BYTES);
      {
        using iommufd = KernelIommufd.open();
        await run(iommufd, pages, t);
      }
      using another = KernelIommufd.open();
      refsAre(another, pages, 0, BYTES);
    }
    assertEquals(openDescriptors(), before, "open descriptors");
  });
}

/** Checks that each of the first `length` bytes of `pages` is pinned so often. */
export function refsAre(
  iommufd: KernelIommufd,
  pages: SharedPages,
  refs: number,
  length = 0x4000,
): void {
  iommuTest(iommufd, "MD_CHECK_REFS", 0, { length: BigInt(length), uptr: pages.address, refs });
}

/** What `call` is refused with: the call and the name of the errno. */
export function refusal(call: () => unknown): string {
  return assertThrows(call, SystemError).message.replace("Cannot ", "");
}
