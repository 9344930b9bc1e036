/**
 * Substreams: one CD, a linear table, tables of two levels in both formats. IHI 0070 §5.2, §5.3, §7.3.7, §7.3.9.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, DATA, Guest, NOWHERE, RAM, STRTAB } from "../support/guest.ts";

const SID = 1;
const STE = STRTAB + SID * 64;
const L1 = CDS;
/** Aligned to 64 KiB. */
const LEAVES = [0x4024_0000, 0x4025_0000];
const IOVA = 0x1000n;
const FORMATS = [{ format: 1n, log2leaf: 6 }, { format: 2n, log2leaf: 10 }];

/** A stream with a table of two levels; its substreams have pages that tell them apart. */
class Scene {
  readonly guest = new Guest({ features: { ssidSize: 20, twoLevelContextTable: true } });
  readonly #log2leaf: number;
  readonly #pages = new Map<number, string>();

  constructor(format: bigint, log2leaf: number, log2count: number, s1dss: bigint = 2n) {
    this.#log2leaf = log2leaf;
    const q0 = BigInt(L1) | 0b1011n | (format << 4n) | (BigInt(log2count) << 59n);
    this.guest.ste(SID, q0, s1dss);
  }

  /** Has the level 1 descriptor of a substream lead to one of the leaves. */
  lead(substreamId: number, leaf: number, valid: boolean = true): void {
    const at = L1 + (substreamId >>> this.#log2leaf) * 8;
    this.guest.quad(at, BigInt(LEAVES[leaf]) | BigInt(valid));
  }

  /** Writes the CD of a substream in a leaf. */
  context(substreamId: number, leaf: number): void {
    const { guest } = this;
    const index = substreamId & ((1 << this.#log2leaf) - 1);
    const at = LEAVES[leaf] + index * 64;
    const page = this.#pages.size + 1;
    this.#pages.set(at, `data ${page.toString(16)}`);
    const root = guest.root();
    guest.map(root, IOVA, DATA + page * 0x1000);
    guest.memory.setUint8(DATA - RAM + page * 0x1000, page);
    guest.cd(at, { ttb0: root, asid: page });
  }

  expected(substreamId: number, leaf: number): string | undefined {
    const index = substreamId & ((1 << this.#log2leaf) - 1);
    return this.#pages.get(LEAVES[leaf] + index * 64);
  }

  probe(substreamId: number): string {
    this.guest.forget();
    return this.guest.probe(SID, IOVA, substreamId);
  }
}

Deno.test("a substream is found through its level 1 descriptor, in both formats", async (t) => {
  for (const { format, log2leaf } of FORMATS) {
    for (const log2count of [1, 5, 6, 7, 10, 11, 13, 20]) {
      await t.step(`S1Fmt ${format}, S1CDMax ${log2count}`, () => {
        const scene = new Scene(format, log2leaf, log2count);
        const last = 2 ** log2count - 1;
        const firstOfLast = last & ~((1 << log2leaf) - 1);
        scene.lead(0, 0);
        if (firstOfLast > 0) scene.lead(last, 1);
        scene.context(0, 0);
        scene.context(1, 0);
        const leaf = firstOfLast > 0 ? 1 : 0;
        if (last > 1) scene.context(last, leaf);
        assertEquals(scene.probe(-1), scene.expected(0, 0), "without one, S1DSS=2");
        assertEquals(scene.probe(0), "event 6", "0, which is that of those without");
        assertEquals(scene.probe(1), scene.expected(1, 0));
        assertEquals(scene.probe(last), scene.expected(last, leaf));
        if (log2count < 20) assertEquals(scene.probe(last + 1), "event 8");
      });
    }
  }
});

Deno.test("S1DSS with tables of two levels", () => {
  for (
    const [s1dss, without, zero] of [[0n, "event 6", "data 1"], [1n, "bypass", "data 1"]] as const
  ) {
    const scene = new Scene(1n, 6, 8, s1dss);
    scene.lead(0, 0);
    scene.context(0, 0);
    // Where it bypasses there is no RAM.
    assertEquals(scene.probe(-1), without === "bypass" ? "abort" : without);
    assertEquals(scene.probe(0), zero);
  }
});

Deno.test("a level 1 descriptor that leads nowhere is C_BAD_SUBSTREAMID, or F_CD_FETCH where no RAM is", () => {
  for (const { format, log2leaf } of FORMATS) {
    const scene = new Scene(format, log2leaf, 11);
    const { guest } = scene;
    const far = 1 << log2leaf;
    const record = (substreamId: number): bigint[] => {
      guest.forget();
      guest.dmaRead(SID, IOVA, 1, substreamId);
      return guest.events()[0];
    };
    const bad = (substreamId: number): bigint =>
      0x08n | (BigInt(SID) << 32n) | (BigInt(substreamId) << 12n);
    scene.lead(far + 5, 0, false);
    assertEquals(record(far + 5), [bad(far + 5), 0n, 0n, 0n], "V=0");
    guest.quad(L1, 1n | (1n << 48n));
    assertEquals(record(-1), [bad(0), 0n, 0n, 0n], "beyond the OAS, and SubstreamID 0 for none");
    guest.quad(L1 + 8, BigInt(NOWHERE) | 1n);
    const ssv = 0x09n | (BigInt(SID) << 32n) | (1n << 11n) | (BigInt(far + 5) << 12n);
    assertEquals(record(far + 5), [ssv, 0n, 0n, BigInt(NOWHERE + 5 * 64)]);
    guest.field(STE, 55, 6, NOWHERE >> 6);
    assertEquals(record(far + 5), [ssv, 0n, 0n, BigInt(NOWHERE + 8)], "of the L1CD itself");
  }
});

Deno.test("S1Fmt is legal as IDR0.CD2L says, and only while there are substreams", () => {
  for (const twoLevelContextTable of [false, true]) {
    const guest = new Guest({ features: { twoLevelContextTable } });
    // Its CD is aligned to a table of two.
    const { root, cd } = guest.stage1(2);
    guest.map(root, IOVA, DATA);
    const probe = (format: bigint, log2count: bigint): string => {
      guest.ste(2, BigInt(cd) | 0b1011n | (format << 4n) | (log2count << 59n), 2n);
      guest.forget();
      return guest.probe(2, IOVA);
    };
    const results = [0n, 1n, 2n, 3n].map((format) => [probe(format, 0n), probe(format, 1n)]);
    // A CD looks like a level 1 descriptor that is not valid: bit 0 of T0SZ 16.
    const two = twoLevelContextTable ? "event 8" : "event 4";
    assertEquals(results, [
      ["data 0", "data 0"],
      ["data 0", two],
      ["data 0", two],
      ["data 0", "data 0"],
    ]);
  }
});

Deno.test("CFGI_CD drops the CD of one substream, CFGI_CD_ALL those of a stream", () => {
  const scene = new Scene(1n, 6, 8);
  const { guest } = scene;
  scene.lead(0, 0);
  for (const substreamId of [1, 2]) scene.context(substreamId, 0);
  const still = (): string[] => [1, 2].map((substreamId) => guest.probe(SID, IOVA, substreamId));
  assertEquals(still(), ["data 1", "data 2"]);
  guest.quad(LEAVES[0] + 64, 0n);
  guest.quad(LEAVES[0] + 128, 0n);
  assertEquals(still(), ["data 1", "data 2"], "cached");
  guest.command(0x05n | (BigInt(SID) << 32n) | (1n << 12n), 1n);
  assertEquals(still(), ["event a", "data 2"]);
  guest.command(0x06n | (BigInt(SID) << 32n));
  assertEquals(still(), ["event a", "event a"]);
});
