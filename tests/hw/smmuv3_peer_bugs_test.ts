/**
 * Bugs that other emulations of an SMMUv3 once had, tried on ours where no other test does. Which test tries which of them
 * is in tests/vmm/peer_bugs_test.ts. IHI 0070 §4.3, §4.5, §4.7.3, §7.1.
 */
import { assertEquals } from "@std/assert";
import type { HostIommu } from "../../hw/smmuv3/host_iommu.ts";
import { altered, CMDQ, DATA, DOORBELL, Guest } from "../support/guest.ts";

const TLBI_NH_ALL = 0x10n;
const SYNC = 0x46n;
const SIG_IRQ = 1n << 12n;
const CMDQ_CONS = 0x9c;
const GERROR = 0x60;

/** Hardware behind stream 5 that does as many commands of each batch as it is told. */
function hardware(done: (count: number) => number): HostIommu {
  return { streamIds: [5], setStream: () => {}, invalidate: (_, count) => done(count) };
}

Deno.test("a CMD_SYNC gives no signal of any kind before hardware has done what lies before it", async (t) => {
  const signals: Record<string, bigint> = {
    "the wire": 0n,
    "a message to memory": BigInt(DATA),
    "a message to a doorbell": BigInt(DOORBELL),
  };
  for (const [name, address] of Object.entries(signals)) {
    await t.step(name, () => {
      const given = (): boolean =>
        guest.cmdSync.pulses > 0 || guest.word(DATA) !== 0 || guest.messages.length > 0;
      const seen: unknown[] = [];
      const guest: Guest = new Guest({
        host: hardware((count) => {
          seen.push([count, given(), guest.smmu.read32(CMDQ_CONS)]);
          return count;
        }),
      });
      guest.queue(TLBI_NH_ALL);
      guest.queue(TLBI_NH_ALL);
      guest.queue(SYNC | SIG_IRQ | (0x77n << 32n), address);
      guest.ring();
      assertEquals(seen, [[2, false, 0]]);
      assertEquals([given(), guest.smmu.read32(CMDQ_CONS)], [true, 3]);
    });
  }
});

Deno.test("CMD_ATC_INV, CMD_PRI_RESP and CMD_CFGI_CD of a stream that is nobody's do nothing", async (t) => {
  const features = { ats: true, pri: true };
  for (const host of [undefined, hardware((count) => count)]) {
    for (const streamId of [0, 63, 64, 0xffff, 0x1_0000, 0xffff_ffff]) {
      await t.step(`StreamID ${streamId} ${host ? "beside hardware" : "alone"}`, () => {
        const guest = new Guest({ features, ...(host ? { host } : {}) });
        const sid = BigInt(streamId) << 32n;
        const commands = [0x40n | sid, 0x40n | sid | (1n << 11n), 0x41n | sid, 0x05n | sid];
        for (const command of [...commands, SYNC]) guest.queue(command, 52n & 0x3fn);
        guest.ring();
        assertEquals([guest.smmu.read32(CMDQ_CONS), guest.smmu.read32(GERROR)], [5, 0]);
      });
    }
  }
});

Deno.test("CMD_CFGI_STE_RANGE of each size drops exactly its streams, also the last that there are", () => {
  const guest = new Guest({ features: { sidSize: 32 } });
  guest.smmu.write32(0x20, 0xc);
  guest.smmu.write32(0x88, 32); // a table of 2^32 entries; only its beginning is in RAM
  guest.smmu.write32(0x84, 0x4000_0000);
  guest.smmu.write32(0x80, 0);
  guest.smmu.write32(0x20, 0xd);
  // Streams whose STE is in RAM: entry n lies at 64 * n.
  const first = 0x4010_0000 / 64;
  const streams = [0, 1, 2, 3, 5, 8, 17, 33, 60].map((n) => first + n);
  for (let range = 0; range < 32; range++) {
    for (const named of [first, first + 3, first + 63, 0, 0xffff_ffff]) {
      for (const streamId of streams) guest.quad(streamId * 64, 0b1001n);
      guest.forget();
      const works = (streamId: number): boolean =>
        guest.dmaRead(streamId, BigInt(DATA)) !== undefined;
      assertEquals(streams.filter((streamId) => !works(streamId)), []);
      for (const streamId of streams) guest.quad(streamId * 64, 0n);
      guest.command(0x04n | (BigInt(named) << 32n), BigInt(range));
      const log2count = BigInt(range + 1);
      const dropped = streams.filter((streamId) =>
        BigInt(streamId) >> log2count === BigInt(named) >> log2count
      );
      const text = `Range ${range}, StreamID ${named}`;
      assertEquals(streams.filter((streamId) => !works(streamId)), dropped, text);
    }
  }
});

Deno.test("a queue that cannot be fetched is reported only when hardware has done what lies before", async (t) => {
  const cases: { name: string; done: number; cons: number }[] = [
    { name: "hardware does all: CERROR_ABT where the fetch failed", done: 3, cons: 0x0200_0003 },
    { name: "hardware refuses the second: CERROR_ILL there", done: 1, cons: 0x0100_0001 },
    { name: "hardware does none: CERROR_ILL at the first", done: 0, cons: 0x0100_0000 },
  ];
  for (const { name, done, cons } of cases) {
    await t.step(name, () => {
      const guest = new Guest({
        host: hardware((count) => Math.min(count, done)),
        wrap: (ram) =>
          altered(ram, { fetch: (gpa, into) => gpa !== CMDQ + 48 && ram.fetch(gpa, into) }),
      });
      for (let i = 0; i < 5; i++) guest.queue(TLBI_NH_ALL);
      guest.ring();
      assertEquals(guest.smmu.read32(CMDQ_CONS), cons);
      assertEquals([guest.smmu.read32(GERROR), guest.gerror.pulses], [1, 1]);
    });
  }
});
