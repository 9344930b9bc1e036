/** A batch in one call, and the exact command that hardware refuses: Linux counts what it understood, not what it issued. */
import { assertEquals } from "@std/assert";
import { features } from "../../hw/smmuv3/features.ts";
import { Invalidator } from "../../vmm/host_iommu/invalidator.ts";
import type { HwptInvalidate, InvalidateResult } from "../../vmm/iommufd/iommufd.ts";
import { PlainIommufd } from "../support/plain_iommufd.ts";

/** Understands commands one by one, and issues them in blocks of 63, as arm_vsmmu_cache_invalidate() does. */
class BlockwiseIommufd extends PlainIommufd {
  /** ASIDs of the commands that were issued. */
  readonly issued: number[] = [];
  /** ASIDs of which no command is understood. */
  readonly refused = new Set<number>();

  override hwptInvalidate({ entries, count }: HwptInvalidate): InvalidateResult {
    this.calls.push("hwptInvalidate");
    const view = new DataView(entries.buffer, entries.byteOffset);
    const block: number[] = [];
    for (let i = 0; i < count; i++) {
      const asid = view.getUint16(i * 16 + 6, true);
      if (this.refused.has(asid)) return { errno: 5, handled: i };
      block.push(asid);
      if (block.length === 63 || i === count - 1) this.issued.push(...block.splice(0));
    }
    return { errno: 0, handled: count };
  }
}

/** CMD_TLBI_NH_ASID of the ASIDs 0 to `count - 1`. */
function commands(count: number): Uint32Array {
  const words = new Uint32Array(count * 4);
  for (let asid = 0; asid < count; asid++) words.set([0x11, asid << 16, 0, 0], asid * 4);
  return words;
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

Deno.test("a batch of any size is one call", () => {
  for (const count of [1, 16, 64, 1000]) {
    const iommufd = new BlockwiseIommufd();
    const invalidator = new Invalidator(iommufd, 1, features(), false);
    assertEquals(invalidator.run(commands(count), count), count);
    assertEquals([iommufd.calls, iommufd.issued], [["hwptInvalidate"], upTo(count)]);
  }
});

Deno.test("everything before a refused command is done, and nothing else", async (t) => {
  for (const culprit of [0, 1, 62, 63, 64, 100, 126, 127, 129]) {
    await t.step(`command ${culprit} of 130`, () => {
      const iommufd = new BlockwiseIommufd();
      iommufd.refused.add(culprit);
      const invalidator = new Invalidator(iommufd, 1, features(), false);
      assertEquals(invalidator.run(commands(130), 130), culprit);
      assertEquals(iommufd.issued, upTo(culprit));
      assertEquals(invalidator.failure?.message, "Cannot IOMMU_HWPT_INVALIDATE: EIO");
      iommufd.refused.clear();
      invalidator.run(commands(1), 1);
      assertEquals(invalidator.failure, undefined);
    });
  }
});

Deno.test("commands that are not passed on are done, and do not shift the culprit", () => {
  const iommufd = new BlockwiseIommufd();
  iommufd.refused.add(2);
  const words = commands(4);
  words[1 * 4] = 0x01; // CMD_PREFETCH_CONFIG
  const invalidator = new Invalidator(iommufd, 1, features(), false);
  assertEquals(invalidator.run(words, 4), 2);
  assertEquals(iommufd.issued, [0]);
  assertEquals(invalidator.run(Uint32Array.of(0x01, 0, 0, 0), 1), 1);
});

Deno.test("hardware that needs it gets everything twice", () => {
  const iommufd = new BlockwiseIommufd();
  const invalidator = new Invalidator(iommufd, 1, features(), true);
  assertEquals(invalidator.run(commands(3), 3), 3);
  assertEquals(iommufd.issued, [0, 1, 2, 0, 1, 2]);
});
