/**
 * Stage 2: which STEs are legal, where walks start, whose faults are told, what VMIDs keep apart. IHI 0070 §5.2, §4.4.3.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Features } from "../../hw/smmuv3/features.ts";
import { CDS, DATA, Guest, RAM, STRTAB } from "../support/guest.ts";

const SID = 1;
const STE = STRTAB + SID * 64;
const GRANULES = [12, 16, 14, 0];
const ALL: Partial<Features> = { stage2: true, granule16K: true, granule64K: true };

type Change = readonly [high: number, low: number, value: number | bigint];

function change(guest: Guest, changes: readonly Change[], at: number = STE): void {
  for (const [high, low, value] of changes) guest.field(at, high, low, value);
}

/** A stream of stage 2 alone, with a four-level tree of 4 KiB. */
function scene(features: Partial<Features> = {}): { guest: Guest; root: number } {
  const guest = new Guest({ features: { ...ALL, ...features } });
  const root = guest.root();
  guest.ste(SID, 0b1101n);
  guest.stage2(STE, root);
  guest.memory.setUint8(DATA - RAM, 0x5a);
  return { guest, root };
}

Deno.test("S2T0SZ, S2SL0 and S2TG: which go together, for each output size", () => {
  const levels: Record<number, (number | undefined)[]> = {
    12: [2, 1, 0, 3],
    14: [3, 2, 1, undefined],
    16: [3, 2, 1, undefined],
  };
  const needs: Record<string, number> = { "12 0": 44, "14 1": 42, "16 1": 44 };
  for (const oas of [32, 36, 40, 42, 44, 48, 52]) {
    const { guest } = scene({ oas });
    for (let tg = 0; tg < 4; tg++) {
      const granule = GRANULES[tg];
      for (let sl0 = 0; sl0 < 4; sl0++) {
        for (let size = 0; size < 64; size++) {
          const level = granule === 0 ? undefined : levels[granule][sl0];
          let legal = level !== undefined && oas >= (needs[`${granule} ${level}`] ?? 0);
          legal &&= size >= 64 - oas && size >= (granule === 16 ? 12 : 16);
          legal &&= size <= (granule === 16 ? 47 : 48);
          if (level !== undefined) {
            // The first level resolves one bit at least, and the bits of one table and of sixteen behind each other at most.
            const below = granule + (3 - level) * (granule - 3);
            const inputBits = 64 - size;
            legal &&= inputBits > below && inputBits <= below + granule - 3 + 4;
          }
          change(guest, [[165, 160, size], [167, 166, sl0], [175, 174, tg], [243, 196, 0]]);
          guest.forget();
          // Nothing is mapped at 0, where the tables are.
          assertEquals(
            guest.probe(SID, 0n),
            legal ? "event b" : "event 4",
            `OAS ${oas}, S2TG ${tg}, S2SL0 ${sl0}, S2T0SZ ${size}`,
          );
        }
      }
    }
  }
});

Deno.test("each single bit of a stage 2 STE changes what the manual says, or nothing", () => {
  const { guest, root } = scene();
  const iova = BigInt(DATA);
  // No device memory, readable, AF.
  guest.map(root, iova, DATA, 0x4fcn);
  const expected = (bit: number): string => {
    if (bit === 0) return "event 4"; // V
    if (bit === 1) return "event a"; // Config 111: the CD at 0 is not translated
    if (bit === 2) return "data 5a"; // Config 100: bypass
    if (bit === 3) return "abort"; // Config 010
    if (bit >= 136 && bit <= 143) return "event 4"; // S2VMID above 8 bits
    if (bit >= 160 && bit <= 163) return "moved"; // S2T0SZ 17 to 24: another first table
    if (bit === 164) return "event 4"; // S2T0SZ 0
    if (bit === 165) return "event 4"; // S2T0SZ 48
    if (bit === 166 || bit === 167) return "event 4"; // S2SL0 3, 0
    if (bit === 174 || bit === 175) return "moved"; // S2TG 64 KiB, 16 KiB, of which the same start is legal
    if (bit === 176) return "data 5a"; // S2PS 4
    if (bit === 177) return "data 5a"; // S2PS 7
    if (bit === 178) return "data 5a"; // S2PS 1
    if (bit === 179) return "event 4"; // S2AA64
    if (bit === 180) return "event 4"; // S2ENDI
    if (bit === 183 || bit === 184) return "event 4"; // S2HD, S2HA
    if (bit === 185) return "event 4"; // S2S
    if (bit >= 196 && bit <= 203) return "data 5a"; // S2TTB below its alignment
    if (bit >= 204 && bit <= 239) return "moved";
    if (bit >= 240 && bit <= 243) return "event 4"; // S2TTB beyond 48 bits
    return "data 5a";
  };
  for (let bit = 0; bit < 512; bit++) {
    const quad = STE + (bit >> 6) * 8;
    const before = guest.load(quad);
    guest.quad(quad, before ^ (1n << BigInt(bit & 63)));
    guest.forget();
    const found = guest.probe(SID, iova);
    const isConfig7 = bit === 1 && /^event (10|b|a|9)$/.test(found);
    const moved = expected(bit) === "moved" && /^(event (10|b|11|4)|data 5a)$/.test(found);
    assertEquals(moved || isConfig7 ? expected(bit) : found, expected(bit), `bit ${bit}`);
    guest.quad(quad, before);
  }
});

Deno.test("sixteen concatenated tables are one table of sixteen times the entries", () => {
  const { guest } = scene();
  // 4 KiB from level 1 with 43 bits: 16 tables of 512 entries, 1 GiB each.
  const first = 0x4050_0000;
  change(guest, [[165, 160, 21], [167, 166, 1], [243, 196, BigInt(first) >> 4n]]);
  for (const index of [0, 511, 512, 5000, 8191]) {
    guest.quad(first + index * 8, BigInt(RAM) | 0x4fdn);
    guest.forget();
    const iova = BigInt(index) * 0x4000_0000n + BigInt(DATA - RAM);
    assertEquals(guest.probe(SID, iova), "data 5a", `entry ${index}`);
  }
  assertEquals(guest.probe(SID, 1n << 43n), "event 10", "beyond the input");
});

Deno.test("S2R decides whether a fault of stage 2 is told; it aborts in any case", () => {
  const { guest, root } = scene();
  assertEquals(guest.probe(SID, 0x1000n), "event 10");
  change(guest, [[186, 186, 0]]);
  guest.forget();
  assertEquals(guest.probe(SID, 0x1000n), "abort");
  // What is no fault of translation is told all the same.
  guest.quad(root, 0x8_0000_0003n);
  assertEquals(guest.probe(SID, 0x1000n), "event b");
});

Deno.test("a transaction with a SubstreamID, and an input beyond the IAS, are refused", () => {
  const { guest } = scene({ oas: 44 });
  change(guest, [[165, 160, 20]]);
  assertEquals(guest.probe(SID, 0n, 3), "event 8");
  guest.dmaRead(SID, 1n << 44n);
  const [[q0, q1, q2]] = guest.events();
  assertEquals([q0 & 0xffn, q1, q2], [0x11n, (2n << 40n) | (1n << 35n), 1n << 44n], "stage 1, IN");
});

Deno.test("with S1DSS=1 a nested stream has stage 2 alone for requests without a SubstreamID", () => {
  const { guest, root } = scene();
  guest.map(root, 0x1000n, DATA, 0x4fcn);
  guest.ste(SID, BigInt(CDS) | 0b1111n | (2n << 59n), 1n);
  change(guest, [[178, 176, 5], [179, 179, 1]]);
  assertEquals(guest.probe(SID, 0x1000n), "data 5a");
});

/** Streams 1 and 2 nested with the same ASID, each in a VM of its own. */
function twoVms(): Guest {
  const guest = new Guest({ features: { stage2: true, vmid16: true } });
  for (const streamId of [1, 2]) {
    const ste = STRTAB + streamId * 64;
    const stage2 = guest.root();
    const stage1 = guest.root();
    // Guest RAM as it is, in blocks of 2 MiB, so that tables and CDs are found; the page in question in 4 KiB.
    for (let at = 0; at < 0x100_0000; at += 0x20_0000) {
      guest.map(stage2, BigInt(RAM + at), RAM + at, 0x4fcn, 2);
    }
    guest.map(stage2, 0x10_0000_0000n, DATA + streamId * 0x1000, 0x4fcn);
    guest.memory.setUint8(DATA - RAM + streamId * 0x1000, streamId);
    // 2 MiB of stage 1 over 4 KiB of stage 2.
    guest.map(stage1, 0x20_0000n, 0x10_0000_0000, 0xc40n, 2);
    const cd = guest.cd(CDS + streamId * 64, { ttb0: stage1, asid: 5 });
    guest.ste(streamId, BigInt(cd) | 0b1111n);
    guest.stage2(ste, stage2, 0x100 + streamId);
    // Stream 11 and 12: stage 2 alone, of the same VMs.
    for (let quad = 0; quad < 8; quad++) {
      guest.quad(STRTAB + (10 + streamId) * 64 + quad * 8, guest.load(ste + quad * 8));
    }
    guest.field(STRTAB + (10 + streamId) * 64, 3, 0, 0b1101);
  }
  return guest;
}

Deno.test("invalidations reach the VM that they name", async (t) => {
  const vmid = (vm: number): bigint => BigInt(0x100 + vm) << 32n;
  const asid = 5n << 48n;
  const cases: { name: string; w0: bigint; w1?: bigint; drops: string[] }[] = [
    { name: "NH_ALL", w0: 0x10n | vmid(1), drops: ["nested 1"] },
    { name: "NH_ASID", w0: 0x11n | vmid(2) | asid, drops: ["nested 2"] },
    { name: "NH_VA", w0: 0x12n | vmid(1) | asid, w1: 0x20_0000n, drops: ["nested 1"] },
    {
      name: "NH_VA elsewhere in the block of stage 1",
      w0: 0x12n | vmid(1) | asid,
      w1: 0x3f_f000n,
      drops: ["nested 1"],
    },
    { name: "NH_VA beside the block", w0: 0x12n | vmid(1) | asid, w1: 0x40_0000n, drops: [] },
    { name: "NH_VAA", w0: 0x13n | vmid(2), w1: 0x20_0000n, drops: ["nested 2"] },
    { name: "S2_IPA", w0: 0x2an | vmid(1), w1: 0x10_0000_0000n, drops: ["stage 2 of 1"] },
    { name: "S2_IPA of another page", w0: 0x2an | vmid(1), w1: 0x10_0000_1000n, drops: [] },
    {
      name: "S2_IPA with a range",
      w0: 0x2an | vmid(2) | (3n << 12n),
      w1: 0xf_ffff_e000n | (1n << 10n),
      drops: ["stage 2 of 2"],
    },
    { name: "S12_VMALL", w0: 0x28n | vmid(1), drops: ["nested 1", "stage 2 of 1"] },
    { name: "NH_ALL of no VM", w0: 0x10n, drops: [] },
    {
      name: "NSNH_ALL",
      w0: 0x30n,
      drops: ["nested 1", "nested 2", "stage 2 of 1", "stage 2 of 2"],
    },
  ];
  for (const { name, w0, w1 = 0n, drops } of cases) {
    await t.step(name, () => {
      const guest = twoVms();
      const probes: Record<string, [streamId: number, iova: bigint, data: number]> = {
        "nested 1": [1, 0x20_0000n, 1],
        "nested 2": [2, 0x20_0000n, 2],
        "stage 2 of 1": [11, 0x10_0000_0000n, 1],
        "stage 2 of 2": [12, 0x10_0000_0000n, 2],
      };
      for (const [streamId, iova, data] of Object.values(probes)) {
        assertEquals(guest.probe(streamId, iova), `data ${data}`);
      }
      // Everything that could be walked is gone, but not what is cached.
      for (let at = 0x30_0000; at < 0x38_0000; at += 8) guest.quad(RAM + at, 0n);
      guest.command(w0, w1);
      assertEquals(guest.smmu.read32(0x60), 0, "legal");
      const dropped = Object.keys(probes).filter((key) =>
        guest.dmaRead(probes[key][0], probes[key][1]) === undefined
      );
      assertEquals(dropped, drops);
    });
  }
});

Deno.test("VMIDs tag translations of stage 1 alone too", () => {
  const guest = new Guest({ features: { stage2: true } });
  for (const streamId of [1, 2]) {
    const { root } = guest.stage1(streamId, { asid: 5 });
    guest.map(root, 0x1000n, DATA + streamId * 0x1000);
    guest.memory.setUint8(DATA - RAM + streamId * 0x1000, streamId);
    guest.field(STRTAB + streamId * 64, 143, 128, streamId);
  }
  assertEquals([guest.probe(1, 0x1000n), guest.probe(2, 0x1000n)], ["data 1", "data 2"]);
});
