/**
 * How fast the device core is, as ratios to minimal hand-written loops over the same kind of typed arrays.
 *
 * Budgets on one core: 3 million TLBI_NH_VA a second; a TLB hit at most 4 times, a four-level miss at most 3 times the
 * minimal loop of its group.
 * @module
 */
import { Access } from "../hw/smmuv3/fault.ts";
import { CMDQ, DATA, Guest, RAM } from "./support/guest.ts";
import { MinimalTlb, minimalWalk } from "./support/minimal.ts";

const PAGES = 512;
const IOVA = 0x12_3450_0000n;

function mapped(): { guest: Guest; root: number } {
  const guest = new Guest({ log2queue: 10 });
  const { root } = guest.stage1(1);
  for (let i = 0; i < PAGES; i++) guest.map(root, IOVA + BigInt(i) * 0x1000n, DATA + i * 0x1000);
  return { guest, root };
}

const { guest, root } = mapped();
const requester = { streamId: 1, substreamId: -1 };
const lo = Number(IOVA & 0xffff_ffffn);
const hi = Number(IOVA >> 32n);
// A fixed order without locality: 203 and 512 have no common factor.
const order = Uint32Array.from({ length: PAGES }, (_, i) => (i * 203) % PAGES);

for (let i = 0; i < 1 << 10; i++) {
  guest.memory.setBigUint64(CMDQ - RAM + i * 16, 0x12n | (1n << 48n), true);
  guest.memory.setBigUint64(CMDQ - RAM + i * 16 + 8, (IOVA + BigInt(i) * 0x1000n) | 1n, true);
}
let prod = 0;

Deno.bench({ name: "1000 TLBI_NH_VA, one PROD write", group: "commands", n: 200 }, () => {
  prod = (prod + 1000) & 0x7ff;
  guest.smmu.write32(0x98, prod);
});

const minimal = new MinimalTlb(10);
for (let i = 0; i < PAGES; i++) minimal.insert(lo + i * 0x1000, hi, 1, DATA + i * 0x1000);

Deno.bench({ name: "minimal lookup, 512 pages", group: "hit", baseline: true }, () => {
  let sum = 0;
  for (let i = 0; i < PAGES; i++) sum += minimal.find(lo + order[i] * 0x1000, hi, 1);
  if (sum < 0) throw new Error();
});

Deno.bench({ name: "translation on a TLB hit, 512 pages", group: "hit" }, () => {
  const { translator } = guest.smmu;
  for (let i = 0; i < PAGES; i++) {
    translator.translate(requester, lo + order[i] * 0x1000, hi, Access.Write);
  }
});

const words = new Uint32Array(guest.memory.buffer);

Deno.bench({ name: "minimal four-level walk, 512 pages", group: "miss", baseline: true }, () => {
  let sum = 0;
  for (let i = 0; i < PAGES; i++) sum += minimalWalk(words, RAM, root, lo + order[i] * 0x1000, hi);
  if (sum < 0) throw new Error();
});

Deno.bench({ name: "translation on a four-level miss, 512 pages", group: "miss" }, () => {
  const { translator } = guest.smmu;
  translator.tlb.invalidateAll();
  for (let i = 0; i < PAGES; i++) {
    translator.translate(requester, lo + order[i] * 0x1000, hi, Access.Write);
  }
});
