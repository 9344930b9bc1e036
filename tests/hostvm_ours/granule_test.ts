/**
 * Guests with pages of 16 KiB and 64 KiB, on the real kernel's iommufd and our own SMMU. Wants `hostvm --smmu ours`. No
 * distribution has a kernel with pages of 64 KiB any more, so the tables are ours, as such a guest would write them; the
 * stage 2 below is the host's, of 4 KiB.
 */
import { assertEquals } from "@std/assert";
import { Poller } from "../../uapi/poll.ts";
import { DMA_TEST_CLASS, DmaTester, PATTERN } from "../support/dma_tester.ts";
import { GRANULE, type Granule, GranuleTables } from "../support/granule_tables.ts";
import { eventWords, KernelGuest, vfioPath, VSTE } from "../support/kernel_guest.ts";

const STREAM = 0x765;
const ASID = 5n;

const CASES: { name: keyof typeof GRANULE; inputBits: number; iova: number; hole: number }[] = [
  { name: "16 KiB", inputBits: 39, iova: 0x12_3456_8000, hole: 0x12_3457_0000 },
  { name: "16 KiB", inputBits: 48, iova: 0xffff_f000_4000, hole: 0x7fff_f000_4000 },
  { name: "64 KiB", inputBits: 42, iova: 0x3ff_fff0_0000, hole: 0x3ff_fff2_0000 },
  // IDR5.VAX: only with this granule.
  { name: "64 KiB", inputBits: 52, iova: 0xf_1234_5678_0000, hole: 0x7_1234_5678_0000 },
];

/** CMD_TLBI_NH_VA of two pages: TG, and NUM 1 with SCALE 0. §4.4.1.1 */
function tlbi({ rangeTg }: Granule, iova: number): [bigint, bigint] {
  return [0x12n | 1n << 12n | ASID << 48n, BigInt(iova) | rangeTg << 10n | 1n];
}

/** How many words of the pattern are at `offset`, one after the other, and that nothing is around them. */
function patternAt({ ram }: KernelGuest, offset: number): number {
  let count = 0;
  while (ram.view.getUint32(offset + 4 * count, true) === PATTERN) count++;
  assertEquals(ram.view.getUint32(offset - 4, true), 0);
  assertEquals(ram.view.getUint32(offset + 4 * count, true), 0);
  return count;
}

for (const { name, inputBits, iova, hole } of CASES) {
  Deno.test(`pages of ${name}, ${inputBits} bits of input`, async (t) => {
    const granule = GRANULE[name];
    const size = 2 ** granule.log2size;
    const poller = new Poller();
    using made = new KernelGuest(vfioPath(DMA_TEST_CLASS), STREAM, poller);
    using _watch = made.events.watch(() => {});
    const tester = new DmaTester(made.device.vfio);
    const tables = new GranuleTables(made, granule, inputBits);
    const block = 2 ** (2 * granule.log2size - 3) * 4;
    tables.mapBlock(block);
    tables.map(iova, 0);
    tables.map(iova + size, 0);
    // The second page is not the first one's neighbour in memory.
    const [one, two, three] = [1, 3, 5].map((page) => tables.end + page * size);
    tables.map(iova, one);
    tables.map(iova + size, two);
    made.device.attach(made.nested(VSTE.STAGE1));
    const clear = (): Uint8Array => made.ram.bytes.fill(0, tables.end);
    await t.step("bytes go where two pages say, across their border", () => {
      assertEquals(tester.write(iova + size / 2, size / 2 + 16), true);
      assertEquals(patternAt(made, one + size / 2), size / 8);
      assertEquals(patternAt(made, two), 4);
    });
    await t.step("what changed is not seen before its invalidation, and is after it", () => {
      // A TLB has pieces of the smaller pages, those of stage 2: the one that was written before.
      tables.map(iova, three);
      const reached = (): boolean[] => {
        clear();
        assertEquals(tester.write(iova + size / 2, 8), true);
        return [one, three].map((at) => made.ram.view.getUint32(at + size / 2, true) === PATTERN);
      };
      assertEquals(reached(), [true, false]);
      assertEquals(made.command(...tlbi(granule, iova + 2 * size)), { errno: 0, handled: 1 });
      assertEquals(reached(), [true, false], "an invalidation of the pages after it");
      assertEquals(made.command(...tlbi(granule, iova - size)), { errno: 0, handled: 1 });
      assertEquals(reached(), [false, true], "an invalidation of the page before it and of it");
    });
    await t.step("a block of level 2", () => {
      clear();
      assertEquals(tester.write(block + two + 0x40, 12), true);
      assertEquals(patternAt(made, two + 0x40), 3);
    });
    await t.step("a hole is an event of the guest's, at the address", () => {
      assertEquals(tester.write(hole + 0x78, 4), false);
      assertEquals(poller.step(5000), 1);
      const [, word0, word1, address] = eventWords(made.events);
      assertEquals([word0 & 0xffn, word0 >> 32n], [0x10n, BigInt(STREAM)], "F_TRANSLATION");
      assertEquals([word1 >> 35n & 1n, word1 >> 39n & 1n], [0n, 0n], "a write, at stage 1");
      assertEquals(address, BigInt(hole + 0x78));
    });
  });
}
