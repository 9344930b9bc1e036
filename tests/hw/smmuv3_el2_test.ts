/**
 * Streams of a hypervisor: StreamWorlds EL2 and EL2-E2H, their permissions and their invalidations. IHI 0070 §3.3.4, §4.4.2.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Access } from "../../hw/smmuv3/fault.ts";
import { DATA, Guest, RAM, split } from "../support/guest.ts";

const STRW_EL2 = 2n << 30n;
const IOVA = 0x1000n;

/** Streams 1 (EL2 or EL2-E2H) and 2 (EL1) with a page each, under the same ASID. */
function scene(e2h: boolean): Guest {
  const guest = new Guest({ features: { stage2: true, hyp: true } });
  guest.smmu.write32(0x20, 0xc);
  guest.smmu.write32(0x2c, e2h ? 0x7 : 0x6);
  guest.smmu.write32(0x20, 0xd);
  for (const streamId of [1, 2]) {
    const { root, cd } = guest.stage1(streamId, { asid: 7 });
    guest.map(root, IOVA, DATA + streamId * 0x1000);
    guest.memory.setUint8(DATA - RAM + streamId * 0x1000, streamId);
    guest.ste(streamId, BigInt(cd) | 0b1011n, streamId === 1 ? STRW_EL2 : 0n);
  }
  return guest;
}

Deno.test("worlds do not answer for each other, and their invalidations reach them alone", async (t) => {
  const asid = 7n << 48n;
  const cases: {
    name: string;
    w0: bigint;
    w1?: bigint;
    el2: boolean;
    e2h: boolean;
    el1: boolean;
  }[] = [
    { name: "NH_ALL", w0: 0x10n, el2: false, e2h: false, el1: true },
    { name: "NH_ASID", w0: 0x11n | asid, el2: false, e2h: false, el1: true },
    { name: "NH_VA", w0: 0x12n | asid, w1: IOVA, el2: false, e2h: false, el1: true },
    { name: "NH_VAA", w0: 0x13n, w1: IOVA, el2: false, e2h: false, el1: true },
    { name: "EL2_ALL", w0: 0x20n, el2: true, e2h: true, el1: false },
    { name: "EL2_ASID", w0: 0x21n | asid, el2: false, e2h: true, el1: false },
    { name: "EL2_ASID of another", w0: 0x21n, el2: false, e2h: false, el1: false },
    { name: "EL2_VA", w0: 0x22n | asid, w1: IOVA, el2: true, e2h: true, el1: false },
    { name: "EL2_VA of another ASID", w0: 0x22n, w1: IOVA, el2: true, e2h: false, el1: false },
    { name: "EL2_VAA", w0: 0x23n, w1: IOVA, el2: true, e2h: true, el1: false },
    { name: "S12_VMALL", w0: 0x28n, el2: false, e2h: false, el1: true },
    { name: "NSNH_ALL", w0: 0x30n, el2: true, e2h: true, el1: true },
  ];
  for (const { name, w0, w1 = 0n, el1, ...drops } of cases) {
    for (const e2h of [false, true]) {
      await t.step(`${name}, E2H ${e2h}`, () => {
        const guest = scene(e2h);
        assertEquals([guest.probe(1, IOVA), guest.probe(2, IOVA)], ["data 1", "data 2"]);
        for (let at = 0x30_0000; at < 0x38_0000; at += 8) guest.quad(RAM + at, 0n);
        guest.command(w0, w1);
        const isGone = [1, 2].map((streamId) => guest.dmaRead(streamId, IOVA) === undefined);
        assertEquals(isGone, [e2h ? drops.e2h : drops.el2, el1]);
      });
    }
  }
});

/** What a page of these attributes permits: reads, writes, execution, unprivileged and then privileged. */
function permitted(guest: Guest, streamId: number): string {
  const { translator } = guest.smmu;
  return [0, Access.Privileged].flatMap((privileged) =>
    [Access.Read, Access.Write, Access.Execute].map((access) =>
      translator.translate({ streamId, substreamId: -1 }, ...split(IOVA), access | privileged) === 0
        ? "rwx"[Math.log2(access)]
        : "-"
    )
  ).join("");
}

Deno.test("EL2 has one privilege level, and EL2-E2H two", () => {
  const XN = 1n << 54n;
  const PXN = 1n << 53n;
  const cases: [attributes: bigint, el2: string, e2h: string][] = [
    [0x400n, "rwxrwx", "--xrwx"], // AP 00
    [0x440n, "rwxrwx", "rwxrw-"], // AP 01
    [0x480n, "r-xr-x", "--xr-x"], // AP 10
    [0x4c0n, "r-xr-x", "r-xr-x"], // AP 11
    [0x4c0n | XN, "r--r--", "r--r-x"],
    [0x4c0n | PXN, "r-xr-x", "r-xr--"],
  ];
  for (const [attributes, ...expected] of cases) {
    for (const [i, e2h] of [false, true].entries()) {
      const guest = scene(e2h);
      const root = Number(guest.load(0x4020_0000 + 64 + 8));
      guest.map(root, IOVA, DATA, attributes);
      guest.forget();
      assertEquals(permitted(guest, 1), expected[i], `${attributes.toString(16)}, E2H ${e2h}`);
    }
  }
});

Deno.test("EL2 has one range: T1SZ, EPD0 and EPD1 mean nothing, and TBI0 ignores the top byte of all addresses", () => {
  const cd = 0x4020_0000 + 64;
  const guest = scene(false);
  for (const [high, low, value] of [[14, 14, 1], [30, 30, 0], [21, 16, 0], [23, 22, 0]]) {
    guest.field(cd, high, low, value);
  }
  guest.forget();
  assertEquals(guest.probe(1, IOVA), "data 1");
  assertEquals(guest.probe(1, IOVA | (0xa5n << 56n)), "event 10");
  assertEquals(guest.probe(1, 0xffff_ffff_ffff_f000n), "event 10");
  guest.field(cd, 38, 38, 1);
  guest.forget();
  assertEquals(guest.probe(1, IOVA | (0xa5n << 56n)), "data 1");
  assertEquals(guest.probe(1, IOVA | (1n << 55n)), "event 10");
});

Deno.test("STRW with bit 0 is ILLEGAL where it counts: in stage 1 alone, with IDR0.Hyp", () => {
  const results = [false, true].flatMap((hyp) =>
    [1n, 2n, 3n].map((strw) => {
      const guest = new Guest({ features: { stage2: true, hyp } });
      const { root, cd } = guest.stage1(1);
      guest.map(root, IOVA, DATA);
      guest.ste(1, BigInt(cd) | 0b1011n, strw << 30n);
      return guest.probe(1, IOVA);
    })
  );
  assertEquals(results, ["data 0", "data 0", "data 0", "event 4", "data 0", "event 4"]);
});
