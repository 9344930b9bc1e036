/**
 * Circular queues against a model that counts, over all indices. IHI 0070 §3.5.1.
 * @module
 */
import { assertEquals } from "@std/assert";
import { advance, indexMask, isEmpty, isFull, slotOf } from "../../hw/smmuv3/queues/queue.ts";

const LOG2SIZES = [0, 1, 2, 3, 4];

Deno.test("isEmpty() and isFull() tell 0 and 2^n entries from all other fill levels", async (t) => {
  for (const log2size of LOG2SIZES) {
    await t.step(`n = ${log2size}`, () => {
      const size = [1, 2, 4, 8, 16][log2size];
      for (let cons = 0; cons < 2 * size; cons++) {
        for (let prod = 0; prod < 2 * size; prod++) {
          const entries = (prod - cons + 2 * size) % (2 * size);
          const found = [isEmpty(prod, cons, log2size), isFull(prod, cons, log2size)];
          assertEquals(found, [entries === 0, entries === size], `prod ${prod}, cons ${cons}`);
        }
      }
    });
  }
});

Deno.test("bits above the wrap bit are ignored", async (t) => {
  for (const log2size of LOG2SIZES) {
    await t.step(`n = ${log2size}`, () => {
      const laps = [2, 4, 8, 16, 32][log2size];
      for (const above of [0x8000_0000, 0x0010_0000, laps, 0x8000_0000 + laps]) {
        assertEquals(isEmpty(above + 1, 1, log2size), true);
        assertEquals(isFull(above + laps / 2, 0, log2size), true);
        assertEquals(slotOf(above, log2size), 0);
        assertEquals(advance(above, log2size), 1);
      }
    });
  }
});

Deno.test("advance() visits every slot once per lap and toggles the wrap bit between laps", async (t) => {
  for (const log2size of LOG2SIZES) {
    await t.step(`n = ${log2size}`, () => {
      const size = [1, 2, 4, 8, 16][log2size];
      let index = 0;
      for (let step = 0; step < 4 * size; step++) {
        assertEquals(slotOf(index, log2size), step % size);
        assertEquals(index >= size, Math.floor(step / size) % 2 === 1, `wrap bit of step ${step}`);
        index = advance(index, log2size);
      }
      assertEquals(index, 0);
    });
  }
});

Deno.test("indexMask() holds the slot's bits and one more", () => {
  assertEquals([0, 1, 4, 10, 19].map(indexMask), [0x1, 0x3, 0x1f, 0x7ff, 0xf_ffff]);
});
