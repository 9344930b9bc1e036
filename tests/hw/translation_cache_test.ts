/** The ATC of the test device, against a list of ranges. @module */
import { assertEquals } from "@std/assert";
import { TranslationCompletion } from "../../hw/ats_port.ts";
import { TranslationCache } from "../../hw/endpoints/translation_cache.ts";
import { split } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

interface Kept {
  readonly substreamId: number;
  readonly first: bigint;
  readonly size: bigint;
  readonly gpa: number;
}

const CAPACITY = 8;
const aligned = (address: bigint, size: bigint): bigint => address / size * size;

Deno.test("what is invalidated is forgotten, in all sizes, and nothing else is", () => {
  const random = new Random();
  for (let round = 0; round < 400; round++) {
    const cache = new TranslationCache(CAPACITY);
    let kept: Kept[] = [];
    // Addresses that have something to do with each other.
    const near = random.quad();
    const address = (): bigint => {
      const bits = BigInt(random.below(64));
      return near ^ (random.quad() & ((1n << bits) - 1n));
    };
    const completion = new TranslationCompletion();
    for (let i = 0; i < CAPACITY; i++) {
      const size = 1n << BigInt(completion.log2size = random.of([12, 14, 16, 21, 30]));
      const [substreamId, iova] = [random.below(3) - 1, address()];
      const first = aligned(iova, size);
      if (kept.some((k) => first < k.first + k.size && k.first < first + size)) continue;
      completion.gpa = (i + 1) * 2 ** 30;
      cache.insert(substreamId, ...split(iova), completion);
      kept.push({ substreamId, first, size, gpa: completion.gpa });
    }
    assertEquals(cache.count, kept.length);
    const log2pages = random.below(53);
    const size = 1n << BigInt(12 + log2pages);
    const [substreamId, every, iova] = [random.below(3) - 1, random.chance(0.3), address()];
    const first = aligned(iova, size);
    cache.invalidate(substreamId, every, ...split(iova), log2pages);
    kept = kept.filter((k) =>
      !(every || k.substreamId === substreamId) || k.first + k.size <= first ||
      first + size <= k.first
    );
    assertEquals(cache.count, kept.length, `${random}`);
    for (const k of kept) {
      const inside = k.first + (random.quad() % k.size);
      assertEquals(cache.find(k.substreamId, ...split(inside)), true, `${random}`);
      assertEquals(cache.gpa, k.gpa);
      assertEquals(cache.find(k.substreamId === 1 ? -1 : 1, ...split(inside)), false);
    }
  }
});

Deno.test("it holds as many as it has room for, and one of each address", () => {
  const cache = new TranslationCache(CAPACITY);
  const completion = new TranslationCompletion();
  completion.log2size = 12;
  for (let i = 0; i < 100; i++) cache.insert(-1, i * 0x1000, 0, completion);
  assertEquals(cache.count, CAPACITY);
  for (let i = 0; i < 100; i++) cache.insert(-1, 0x5000, 0, completion);
  assertEquals([cache.count, cache.find(-1, 0x5fff, 0)], [1, true]);
  cache.clear();
  assertEquals([cache.count, cache.find(-1, 0x5fff, 0)], [0, false]);
});
