/**
 * What an STE makes of a transaction, bit by bit. IHI 0070 §5.2, §7.3.7, §7.3.9.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, DATA, Guest, type GuestOptions, NOWHERE, RAM, STRTAB } from "../support/guest.ts";

const SID = 1;
const STE = STRTAB + SID * 64;
/** Mapped by CD number i to a page that starts with 0x10 + i; the same address in RAM holds 0xbb. */
const IOVA = BigInt(DATA + 0x10_0000);

/** Stream 1 with eight CDs behind each other; its STE uses the first alone. */
function scene(options?: GuestOptions): Guest {
  const guest = new Guest(options);
  guest.memory.setUint8(Number(IOVA) - RAM, 0xbb);
  for (let i = 0; i < 8; i++) {
    const root = guest.root();
    guest.map(root, IOVA, DATA + i * 0x1000);
    guest.memory.setUint8(DATA - RAM + i * 0x1000, 0x10 + i);
    guest.cd(CDS + i * 64, { ttb0: root, asid: 1 + i });
  }
  guest.ste(SID, BigInt(CDS) | 0b1011n);
  return guest;
}

function probe(guest: Guest, substreamId: number = -1): string {
  guest.forget();
  return guest.probe(SID, IOVA, substreamId);
}

type Change = readonly [high: number, low: number, value: number | bigint];

function change(guest: Guest, changes: readonly Change[]): void {
  for (const [high, low, value] of changes) guest.field(STE, high, low, value);
}

Deno.test("V=0 is C_BAD_STE whatever Config says; V=1 goes by Config", async (t) => {
  const results = [
    "abort",
    "abort",
    "abort",
    "abort",
    "data bb",
    "data 10",
    "event 4",
    "event 4",
  ];
  const guest = scene();
  for (const [config, result] of results.entries()) {
    await t.step(`Config ${config}`, () => {
      change(guest, [[3, 1, config], [0, 0, 0]]);
      assertEquals(probe(guest), "event 4", "V=0");
      change(guest, [[0, 0, 1]]);
      assertEquals(probe(guest), result, "V=1");
    });
  }
});

Deno.test("each single bit of a stage 1 STE changes what the manual says, or nothing", () => {
  const expected = (bit: number): string => {
    if (bit === 0) return "event 4"; // V
    if (bit === 1) return "data bb"; // Config 100: bypass
    if (bit === 2) return "event 4"; // Config 111: needs stage 2
    if (bit === 3) return "abort"; // Config 001
    if (bit >= 6 && bit <= 8) return "data " + (0x10 + 2 ** (bit - 6)).toString(16); // another CD
    if (bit >= 9 && bit <= 47) return "moved"; // S1ContextPtr, to where no CD is
    if (bit >= 48 && bit <= 55) return "event 4"; // S1ContextPtr beyond the OAS
    if (bit >= 59 && bit <= 62) return "event 6"; // S1CDMax, with S1DSS 0
    if (bit === 63) return "event 4"; // S1CDMax 16 beyond SSIDSIZE 10
    if (bit === 91) return "event 4"; // S1STALLD
    return "data 10";
  };
  const guest = scene();
  for (let bit = 0; bit < 512; bit++) {
    const quad = STE + (bit >> 6) * 8;
    const before = guest.load(quad);
    guest.quad(quad, before ^ (1n << BigInt(bit & 63)));
    const found = probe(guest);
    const moved = expected(bit) === "moved" && (found === "event a" || found === "event 9");
    assertEquals(moved ? "moved" : found, expected(bit), `bit ${bit}`);
    guest.quad(quad, before);
  }
});

Deno.test("a bypass STE, and one that aborts, have no further fields", () => {
  const guest = scene();
  for (
    const [config, result] of [[0b100, "data bb"], [0b000, "abort"], [0b011, "abort"]] as const
  ) {
    for (const filler of [0n, 0xffff_ffff_ffff_ffffn]) {
      for (let quad = 0; quad < 8; quad++) guest.quad(STE + quad * 8, filler);
      change(guest, [[3, 1, config], [0, 0, 1]]);
      assertEquals(probe(guest), result, `Config ${config}`);
    }
  }
});

Deno.test("which CD a substream uses, by S1CDMax and S1DSS", async (t) => {
  const none = ["data 10", "event 8", "event 8", "event 8", "event 8", "event 8"];
  const terminate = ["event 6", "data 10", "data 11", "data 13", "event 8", "event 8"];
  const bypass = ["data bb", "data 10", "data 11", "data 13", "event 8", "event 8"];
  const substream0 = ["data 10", "event 6", "data 11", "data 13", "event 8", "event 8"];
  const requests = [-1, 0, 1, 3, 4, 0xf_ffff];
  const cases = [
    { name: "S1CDMax 0, S1DSS 0", max: 0, dss: 0, results: none },
    { name: "S1CDMax 0, S1DSS 1", max: 0, dss: 1, results: none },
    { name: "S1CDMax 0, S1DSS 2", max: 0, dss: 2, results: none },
    { name: "S1CDMax 2, S1DSS 0", max: 2, dss: 0, results: terminate },
    { name: "S1CDMax 2, S1DSS 1", max: 2, dss: 1, results: bypass },
    { name: "S1CDMax 2, S1DSS 2", max: 2, dss: 2, results: substream0 },
    { name: "S1CDMax 2, S1DSS 3", max: 2, dss: 3, results: terminate },
    { name: "SSIDSIZE 0 ignores both, 0", max: 2, dss: 0, results: none, ssidSize: 0 },
    { name: "SSIDSIZE 0 ignores both, 1", max: 31, dss: 1, results: none, ssidSize: 0 },
  ];
  for (const { name, max, dss, results, ssidSize = 10 } of cases) {
    await t.step(name, () => {
      const guest = scene({ features: { ssidSize } });
      change(guest, [[63, 59, max], [65, 64, dss]]);
      for (const [i, substreamId] of requests.entries()) {
        assertEquals(probe(guest, substreamId), results[i], `substream ${substreamId}`);
      }
    });
  }
});

Deno.test("a substream without stage 1 is C_BAD_SUBSTREAMID, but a silent abort wins", () => {
  const guest = scene();
  change(guest, [[3, 1, 0b100]]);
  assertEquals(probe(guest, 0), "event 8");
  change(guest, [[3, 1, 0b000]]);
  assertEquals(probe(guest, 0), "abort");
});

Deno.test("C_BAD_SUBSTREAMID comes before F_STREAM_DISABLED, C_BAD_STE before both", () => {
  const guest = scene();
  change(guest, [[63, 59, 2], [65, 64, 2]]);
  assertEquals(probe(guest, 4), "event 8");
  assertEquals(probe(guest, 0), "event 6");
  change(guest, [[91, 91, 1]]);
  assertEquals([probe(guest, 4), probe(guest, 0)], ["event 4", "event 4"]);
});

Deno.test("S1CDMax up to SSIDSIZE, and S1Fmt without CD2L", async (t) => {
  const cases: { name: string; changes: Change[]; ssidSize?: number; result: string }[] = [
    { name: "S1CDMax = SSIDSIZE", changes: [[63, 59, 5]], ssidSize: 5, result: "data 10" },
    { name: "S1CDMax > SSIDSIZE", changes: [[63, 59, 6]], ssidSize: 5, result: "event 4" },
    { name: "S1CDMax 31", changes: [[63, 59, 31]], ssidSize: 20, result: "event 4" },
    { name: "S1Fmt 1", changes: [[63, 59, 1], [5, 4, 1]], result: "event 4" },
    { name: "S1Fmt 2", changes: [[63, 59, 1], [5, 4, 2]], result: "event 4" },
    { name: "S1Fmt 3 behaves as 0", changes: [[63, 59, 1], [5, 4, 3]], result: "data 10" },
    { name: "S1Fmt 1 with one CD is ignored", changes: [[5, 4, 1]], result: "data 10" },
    { name: "S1Fmt 2 with one CD is ignored", changes: [[5, 4, 2]], result: "data 10" },
    {
      name: "S1Fmt 2 without SSIDSIZE",
      changes: [[63, 59, 1], [5, 4, 2]],
      ssidSize: 0,
      result: "data 10",
    },
  ];
  for (const { name, changes, ssidSize = 10, result } of cases) {
    await t.step(name, () => {
      const guest = scene({ features: { ssidSize } });
      change(guest, [...changes, [65, 64, 2]]);
      assertEquals(probe(guest), result);
    });
  }
});

Deno.test("S1ContextPtr is aligned down to the table of CDs", () => {
  const guest = scene();
  change(guest, [[55, 6, (CDS + 3 * 64) >> 6], [63, 59, 2], [65, 64, 2]]);
  assertEquals([probe(guest, -1), probe(guest, 1)], ["data 10", "data 11"]);
  change(guest, [[63, 59, 0]]);
  assertEquals(probe(guest), "data 13");
});

Deno.test("S1ContextPtr beyond the OAS is C_BAD_STE, outside RAM F_CD_FETCH with the CD's address", async (t) => {
  for (const oas of [32, 40, 48]) {
    await t.step(`OAS ${oas}`, () => {
      const guest = scene({ features: { oas } });
      change(guest, [[55, 6, 2n ** BigInt(oas - 6)]]);
      assertEquals(probe(guest), "event 4");
      change(guest, [[55, 6, 2n ** BigInt(oas - 6) - 16n], [63, 59, 3]]);
      guest.forget();
      assertEquals(guest.dmaRead(SID, IOVA, 1, 5), undefined);
      const fetchAddress = 2n ** BigInt(oas) - 1024n + 5n * 64n;
      const head = 0x09n | (1n << 11n) | (5n << 12n) | (BigInt(SID) << 32n);
      assertEquals(guest.events(), [[head, 0n, 0n, fetchAddress]]);
    });
  }
  await t.step("without a substream", () => {
    const guest = scene();
    change(guest, [[55, 6, NOWHERE >> 6]]);
    guest.dmaRead(SID, IOVA);
    assertEquals(guest.events(), [[0x09n | (BigInt(SID) << 32n), 0n, 0n, BigInt(NOWHERE)]]);
  });
});
