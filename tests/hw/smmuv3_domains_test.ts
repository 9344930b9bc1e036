/**
 * Address spaces by number: a guest may have more of them than there are numbers, and is told no other's translations.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Domains, MOST_DOMAINS, SHARED, World } from "../../hw/smmuv3/translation/domains.ts";
import { CDS, DATA, Guest, RAM } from "../support/guest.ts";

Deno.test("each address space has a number of its own, which it keeps", () => {
  const domains = new Domains();
  const numbers = new Map<string, number>();
  for (const world of Object.values(World)) {
    for (const vmid of [0, 1, 0xffff]) {
      for (const asid of [0, 1, 0xffff, SHARED]) {
        assertEquals(domains.find(world, vmid, asid) >= 0, asid === SHARED, "only what is shared");
        numbers.set(`${world} ${vmid} ${asid}`, domains.intern(world, vmid, asid));
      }
    }
  }
  assertEquals(new Set(numbers.values()).size, 4 * 3 * 4);
  for (const [key, number] of numbers) {
    const [world, vmid, asid] = key.split(" ").map(Number);
    assertEquals([domains.find(world, vmid, asid), domains.intern(world, vmid, asid)], [
      number,
      number,
    ]);
    assertEquals(domains.sharedOf(number), numbers.get(`${world} ${vmid} ${SHARED}`));
    assertEquals(domains.isOf(number, world, vmid), true);
  }
  const other = new Domains();
  other.restore(domains.list());
  assertEquals(other.list(), domains.list());
});

Deno.test("more address spaces than numbers: all is forgotten, and nobody gets another's pages", () => {
  const guest = new Guest({ features: { stage2: true, vmid16: true } });
  const roots = [guest.root(), guest.root()];
  for (const [i, root] of roots.entries()) {
    guest.map(root, 0x1000n, DATA + i * 0x1000);
    guest.memory.setUint8(DATA - RAM + i * 0x1000, 0x10 + i);
  }
  const { domains } = guest.smmu.translator.tlb;
  let most = 0;
  let shrunk = 0;
  for (let asid = 0; asid < 3 * MOST_DOMAINS; asid++) {
    const which = asid & 1;
    guest.stage1(1, { ttb0: roots[which], asid });
    guest.command(0x03n | (1n << 32n), 1n);
    const before = domains.count;
    assertEquals(guest.dmaRead(1, 0x1000n), [0x10 + which], `ASID ${asid}`);
    most = Math.max(most, domains.count);
    if (domains.count < before) shrunk++;
  }
  assertEquals([most <= MOST_DOMAINS, shrunk >= 2], [true, true]);
  assertEquals(guest.load(CDS + 64) !== 0n, true);
});
