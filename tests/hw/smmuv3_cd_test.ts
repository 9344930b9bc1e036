/**
 * What a CD makes of a transaction, bit by bit, and when it is ILLEGAL. IHI 0070 §5.4, §5.4.1.1, §5.4.2.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, DATA, Guest, type GuestOptions } from "../support/guest.ts";

const SID = 1;
const CD = CDS + SID * 64;
const IOVA = 0x1000n;

interface Scene {
  guest: Guest;
  /** Changes bits of the CD for one read of stream 1 and says what became of it. */
  probe: (changes: readonly Change[], iova?: bigint) => string;
}

type Change = readonly [high: number, low: number, value: number | bigint];

/** TTB0: 4 KiB granule, 48 bits, `IOVA` mapped to a page that starts with 0x5a. TTB1 disabled. */
function scene(options?: GuestOptions): Scene {
  const guest = new Guest(options);
  const { root } = guest.stage1(SID, { t1sz: 0 });
  guest.map(root, IOVA, DATA);
  guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
  const before = Array.from({ length: 8 }, (_, quad) => guest.load(CD + quad * 8));
  return {
    guest,
    probe: (changes, iova = IOVA): string => {
      for (const [high, low, value] of changes) guest.field(CD, high, low, value);
      guest.forget();
      const result = guest.probe(SID, iova);
      for (const [quad, value] of before.entries()) guest.quad(CD + quad * 8, value);
      return result;
    },
  };
}

Deno.test("each single bit of a CD changes what the manual says, or nothing", () => {
  const { guest, probe } = scene();
  const expected = (bit: number): string => {
    if (bit === 4) return "event a"; // T0SZ 0
    if (bit === 5) return "event 10"; // T0SZ 48: another table
    if (bit === 6 || bit === 7) return "event a"; // TG0 64 KiB, 16 KiB
    if (bit === 14) return "event 10"; // EPD0
    if (bit === 15) return "event a"; // ENDI
    if (bit === 30) return "event a"; // EPD1 0, with T1SZ 0
    if (bit === 31) return "event a"; // V
    if (bit === 41) return "event a"; // AA64
    if (bit === 42 || bit === 43) return "event a"; // HD, HA without IDR0.HTTU
    if (bit === 44) return "event a"; // S with STALL_MODEL 1
    if (bit >= 76 && bit <= 111) return "moved"; // TTB0, to where no tables are
    if (bit >= 112 && bit <= 115) return "event a"; // TTB0 beyond 48 bits
    return "data 5a";
  };
  for (let bit = 0; bit < 512; bit++) {
    const old = (guest.load(CD + (bit >> 6) * 8) >> BigInt(bit & 63)) & 1n;
    const found = probe([[bit, bit, old ^ 1n]]);
    const moved = expected(bit) === "moved" && ["event 10", "event b", "event 11"].includes(found);
    assertEquals(moved ? "moved" : found, expected(bit), `bit ${bit}`);
  }
});

Deno.test("T0SZ and T1SZ are 16 to 48, where their half is enabled", () => {
  const { probe } = scene();
  for (let size = 0; size < 64; size++) {
    const legal = size >= 16 && size <= 48;
    const first = probe([[5, 0, size]]);
    assertEquals(first === "event a", !legal, `T0SZ ${size}: ${first}`);
    const second = probe([[30, 30, 0], [21, 16, size]]);
    assertEquals(second, legal ? "data 5a" : "event a", `T1SZ ${size}`);
    assertEquals(probe([[21, 16, size]]), "data 5a", `T1SZ ${size} with EPD1`);
    const disabled = probe([[14, 14, 1], [5, 0, size]]);
    assertEquals(disabled, "event 10", `T0SZ ${size} with EPD0`);
  }
});

Deno.test("the granule is 4 KiB, where its half is enabled", () => {
  const { probe } = scene();
  for (let tg = 0; tg < 4; tg++) {
    assertEquals(probe([[7, 6, tg]]), tg === 0 ? "data 5a" : "event a", `TG0 ${tg}`);
    const upper = probe([[30, 30, 0], [21, 16, 16], [23, 22, tg]]);
    assertEquals(upper, tg === 2 ? "data 5a" : "event a", `TG1 ${tg}`);
    assertEquals(probe([[23, 22, tg]]), "data 5a", `TG1 ${tg} with EPD1`);
    assertEquals(probe([[14, 14, 1], [7, 6, tg]]), "event 10", `TG0 ${tg} with EPD0`);
  }
});

Deno.test("EPDx: which halves are checked, and which fault (table in §5.4.1.1)", async (t) => {
  const { probe } = scene();
  const lower = IOVA;
  const upper = 0xffff_ffff_ffff_f000n;
  const cases = [
    { iova: upper, epd0: 0, epd1: 0, bad: "T1SZ", result: "event a" },
    { iova: lower, epd0: 0, epd1: 0, bad: "T1SZ", result: "event a" },
    { iova: upper, epd0: 0, epd1: 0, bad: "T0SZ", result: "event a" },
    { iova: lower, epd0: 0, epd1: 0, bad: "T0SZ", result: "event a" },
    { iova: upper, epd0: 0, epd1: 1, bad: "T1SZ", result: "event 10" },
    { iova: lower, epd0: 0, epd1: 1, bad: "T1SZ", result: "data 5a" },
    { iova: upper, epd0: 0, epd1: 1, bad: "T0SZ", result: "event a" },
    { iova: lower, epd0: 0, epd1: 1, bad: "T0SZ", result: "event a" },
    { iova: upper, epd0: 1, epd1: 0, bad: "T0SZ", result: "event b" },
    { iova: lower, epd0: 1, epd1: 0, bad: "T0SZ", result: "event 10" },
    { iova: upper, epd0: 1, epd1: 0, bad: "T1SZ", result: "event a" },
    { iova: lower, epd0: 1, epd1: 0, bad: "T1SZ", result: "event a" },
    { iova: upper, epd0: 1, epd1: 1, bad: "T0SZ", result: "event 10" },
    { iova: lower, epd0: 1, epd1: 1, bad: "T1SZ", result: "event 10" },
  ];
  for (const { iova, epd0, epd1, bad, result } of cases) {
    await t.step(
      `EPD0 ${epd0}, EPD1 ${epd1}, bad ${bad}, ${iova === upper ? "upper" : "lower"}`,
      () => {
        const sizes: Change[] = bad === "T0SZ"
          ? [[5, 0, 0], [21, 16, 16]]
          : [[5, 0, 16], [21, 16, 0]];
        assertEquals(probe([[14, 14, epd0], [30, 30, epd1], ...sizes], iova), result);
      },
    );
  }
});

Deno.test("ENDI is checked while one half is enabled", () => {
  const { probe } = scene();
  const results = [[0, 0], [0, 1], [1, 0], [1, 1]].map(([epd0, epd1]) =>
    probe([[14, 14, epd0], [30, 30, epd1], [21, 16, 16], [15, 15, 1]])
  );
  assertEquals(results, ["event a", "event a", "event a", "event 10"]);
});

Deno.test("TTBx beyond the smaller of IPS and OAS is C_BAD_CD, where its half is enabled", async (t) => {
  const ipsBits = [32, 36, 40, 42, 44, 48, 48, 48];
  for (const oas of [32, 40, 48]) {
    await t.step(`OAS ${oas}`, () => {
      const { probe } = scene({ features: { oas } });
      for (const [ips, bits] of ipsBits.entries()) {
        const end = 2n ** BigInt(Math.min(bits, oas));
        const ttb0 = (ttb: bigint): Change[] => [[34, 32, ips], [115, 68, ttb >> 4n]];
        assertEquals(probe(ttb0(end)), "event a", `TTB0 at the end of IPS ${ips}`);
        assertEquals(probe(ttb0(end - 0x1000n)), "event b", `TTB0 before it, IPS ${ips}`);
        const ttb1: Change[] = [[34, 32, ips], [21, 16, 16], [179, 132, end >> 4n]];
        assertEquals(probe([...ttb1, [30, 30, 0]]), "event a", `TTB1, IPS ${ips}`);
        assertEquals(probe(ttb1), "data 5a", `TTB1 with EPD1, IPS ${ips}`);
        assertEquals(probe([...ttb0(end), [14, 14, 1]]), "event 10", `TTB0 with EPD0, IPS ${ips}`);
      }
    });
  }
});

Deno.test("TTB0 is aligned down to the size of its table", () => {
  const { guest, probe } = scene();
  const root = guest.load(CD + 8);
  assertEquals(probe([[75, 68, 0xff]]), "data 5a", "4 KiB");
  // 44 bits: 32 entries of the first table, 256 bytes.
  assertEquals(probe([[5, 0, 20], [75, 68, 0x0f]]), "data 5a", "below 256 bytes");
  assertEquals(probe([[5, 0, 20], [76, 68, 0x10]]), "event 10", "the next 256 bytes");
  assertEquals(guest.load(CD + 8), root);
});

Deno.test("ASID[15:8] needs IDR0.ASID16", () => {
  const results = [true, false].map((asid16) => {
    const { probe } = scene({ features: { asid16 } });
    return [0xff, 0x100, 0xffff].map((asid) => probe([[63, 48, asid]]));
  });
  assertEquals(results, [["data 5a", "data 5a", "data 5a"], ["data 5a", "event a", "event a"]]);
});

Deno.test("a CD that is not valid has no further fields", () => {
  const { probe } = scene();
  const all: Change[] = [0, 64, 128, 192].map((low) => [low + 63, low, 0xffff_ffff_ffff_ffffn]);
  assertEquals(probe([...all, [31, 31, 0]]), "event a");
});
