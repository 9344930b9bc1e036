/**
 * What each invalidation drops: at least what the manual lists, and no translation of another ASID or address. What is
 * cached shows when memory no longer says it. IHI 0070 §4.3, §4.4.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, DATA, Guest, STRTAB } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const K4 = 0x1000n;
const M2 = 0x20_0000n;
const G1 = 0x4000_0000n;
const UPPER = 0xffff_0000_0000_0000n;

/** A translation in the TLB. Streams 1 and 2 have an ASID each and tables of their own. */
interface Cached {
  name: string;
  streamId: number;
  iova: bigint;
  sizeBytes: bigint;
  global?: boolean;
}

const ASIDS = [0, 0x0011, 0x2200];

const ENTRIES: readonly Cached[] = [1, 2].flatMap((streamId) => [
  { name: `page ${streamId}`, streamId, iova: 0x12_3456_7000n, sizeBytes: K4 },
  { name: `next page ${streamId}`, streamId, iova: 0x12_3456_8000n, sizeBytes: K4 },
  { name: `far page ${streamId}`, streamId, iova: 0x7f12_3000_5000n, sizeBytes: K4 },
  { name: `2 MiB ${streamId}`, streamId, iova: 0x12_4000_0000n, sizeBytes: M2 },
  { name: `1 GiB ${streamId}`, streamId, iova: 0x13_0000_0000n, sizeBytes: G1 },
  { name: `upper page ${streamId}`, streamId, iova: UPPER + 0x12_3456_7000n, sizeBytes: K4 },
  { name: `upper 2 MiB ${streamId}`, streamId, iova: UPPER + 0x5_0000_0000n, sizeBytes: M2 },
  { name: `last page ${streamId}`, streamId, iova: 0xffff_ffff_ffff_f000n, sizeBytes: K4 },
  { name: `page 0 of ${streamId}`, streamId, iova: 0n, sizeBytes: K4 },
  {
    name: `global page ${streamId}`,
    streamId,
    iova: streamId === 1 ? 0x22_0000_1000n : 0x33_0000_1000n,
    sizeBytes: K4,
    global: true,
  },
]);

interface Command {
  w0: bigint;
  w1: bigint;
  drops: (entry: Cached) => boolean;
}

class Scene {
  readonly guest = new Guest();
  readonly #leaves = new Map<number, bigint>();

  constructor() {
    const { guest } = this;
    for (const streamId of [1, 2]) {
      const ttb1 = guest.root();
      const { root } = guest.stage1(streamId, { asid: ASIDS[streamId], epd1: false, ttb1 });
      for (const { iova, sizeBytes, global } of ENTRIES.filter((e) => e.streamId === streamId)) {
        const level = sizeBytes === K4 ? 3 : sizeBytes === M2 ? 2 : 1;
        const table = iova < UPPER ? root : ttb1;
        const gpa = level === 1 ? 0x4000_0000 : level === 2 ? 0x4080_0000 : DATA;
        const leaf = guest.map(table, iova, gpa, global ? 0x440n : 0xc40n, level);
        this.#leaves.set(leaf, guest.load(leaf));
      }
    }
  }

  /** Names of the entries that a command drops. */
  dropped(w0: bigint, w1: bigint): string[] {
    const { guest } = this;
    guest.forget();
    for (const [leaf, descriptor] of this.#leaves) guest.quad(leaf, descriptor);
    assertEquals(ENTRIES.filter((entry) => !this.#works(entry)), [], "all are cached");
    for (const leaf of this.#leaves.keys()) guest.quad(leaf, 0n);
    guest.command(w0, w1);
    assertEquals(guest.smmu.read32(0x60), 0, "legal");
    return ENTRIES.filter((entry) => !this.#works(entry)).map(({ name }) => name);
  }

  #works({ streamId, iova }: Cached): boolean {
    return this.guest.dmaRead(streamId, iova) !== undefined;
  }
}

function asidOf({ streamId }: Cached): number {
  return ASIDS[streamId];
}

/** An invalidation by address, as §4.4.1.1 says it: ASID -1 for all of them. */
function byAddress(
  opcode: number,
  asid: number,
  address: bigint,
  { tg = 0n, num = 0n, scale = 0n, ttl = 0n, leaf = 0n } = {},
): Command {
  const granule = tg === 0n ? K4 : 0x400n << (2n * tg);
  const size = tg === 0n ? K4 : (num + 1n) * (1n << scale) * granule;
  return {
    w0: BigInt(opcode) | (num << 12n) | (scale << 20n) | (BigInt(Math.max(asid, 0)) << 48n),
    w1: (address & ~0xfffn) | (tg << 10n) | (ttl << 8n) | leaf,
    drops: (entry) =>
      (asid < 0 || entry.global || asidOf(entry) === asid) &&
      address < entry.iova + entry.sizeBytes && entry.iova < address + size,
  };
}

const plain = (opcode: number, drops: (entry: Cached) => boolean): Command => (
  { w0: BigInt(opcode), w1: 0n, drops }
);
const ofAsid = (opcode: number, asid: number): Command => ({
  w0: BigInt(opcode) | (BigInt(asid) << 48n),
  w1: 0n,
  drops: (entry) => !entry.global && asidOf(entry) === asid,
});

const COMMANDS: Record<string, Command> = {
  "NH_ALL": plain(0x10, () => true),
  "NSNH_ALL": plain(0x30, () => true),
  "EL2_ALL": plain(0x20, () => true),
  "NH_ASID": ofAsid(0x11, 0x0011),
  "NH_ASID of the other": ofAsid(0x11, 0x2200),
  "NH_ASID of none": ofAsid(0x11, 0x2211),
  "EL2_ASID": ofAsid(0x21, 0x0011),
  "NH_VA": byAddress(0x12, 0x0011, 0x12_3456_7000n),
  "NH_VA with a level and leaf": byAddress(0x12, 0x0011, 0x12_3456_7000n, {
    tg: 1n,
    ttl: 3n,
    leaf: 1n,
  }),
  "NH_VA of another ASID": byAddress(0x12, 0x0012, 0x12_3456_7000n),
  "NH_VA of a global page, any ASID": byAddress(0x12, 0x0012, 0x22_0000_1000n),
  "NH_VA inside 2 MiB": byAddress(0x12, 0x0011, 0x12_401f_f000n),
  "NH_VA behind 2 MiB": byAddress(0x12, 0x0011, 0x12_4020_0000n),
  "NH_VA inside 1 GiB": byAddress(0x12, 0x0011, 0x13_3fff_f000n),
  "NH_VA before 1 GiB": byAddress(0x12, 0x0011, 0x12_ffff_f000n),
  "NH_VA upper": byAddress(0x12, 0x0011, UPPER + 0x12_3456_7000n),
  "NH_VA last page": byAddress(0x12, 0x0011, 0xffff_ffff_ffff_f000n),
  "NH_VA page 0": byAddress(0x12, 0x0011, 0n),
  "NH_VAA": byAddress(0x13, -1, 0x12_3456_7000n),
  "EL2_VA": byAddress(0x22, 0x0011, 0x12_3456_7000n),
  "EL2_VAA": byAddress(0x23, -1, 0x12_3456_7000n),
  "two pages": byAddress(0x12, 0x0011, 0x12_3456_7000n, { tg: 1n, num: 1n }),
  "a range that ends before": byAddress(0x12, 0x0011, 0x12_3456_0000n, { tg: 1n, num: 6n }),
  "64 KiB granule": byAddress(0x12, 0x0011, 0x12_3456_0000n, { tg: 3n, ttl: 3n }),
  "16 KiB granule": byAddress(0x12, 0x0011, 0x12_3456_4000n, { tg: 2n, ttl: 3n }),
  "32 GiB": byAddress(0x13, -1, 0x12_0000_0000n, { tg: 1n, num: 1n, scale: 22n }),
  "the largest": byAddress(0x13, -1, 0n, { tg: 3n, num: 31n, scale: 31n }),
  "beyond the top does not wrap": byAddress(0x13, -1, UPPER, { tg: 3n, num: 31n, scale: 31n }),
  "SYNC": plain(0x46, () => false),
  "PREFETCH_CONFIG": plain(0x01, () => false),
  "PREFETCH_ADDR": plain(0x02, () => false),
};

Deno.test("TLBI commands drop what they name, and nothing of other ASIDs or addresses", async (t) => {
  const scene = new Scene();
  for (const [name, { w0, w1, drops }] of Object.entries(COMMANDS)) {
    await t.step(name, () => {
      assertEquals(scene.dropped(w0, w1), ENTRIES.filter(drops).map((entry) => entry.name));
    });
  }
});

Deno.test("random ranges drop what they overlap", () => {
  const scene = new Scene();
  const random = new Random();
  for (let i = 0; i < 150; i++) {
    const near = random.of(ENTRIES).iova + BigInt(random.below(64) - 32) * K4;
    const tg = BigInt(1 + random.below(3));
    const granule = 0x400n << (2n * tg);
    const address = BigInt.asUintN(64, near) / granule * granule;
    const range = {
      tg,
      num: BigInt(random.below(32)),
      scale: BigInt(random.below(32)),
      ttl: BigInt(random.below(2)) * 3n,
    };
    if (range.num === 0n && range.scale === 0n) range.ttl = 3n;
    const asid = random.of([0x0011, 0x2200]);
    const { w0, w1, drops } = random.chance(0.5)
      ? byAddress(0x12, asid, address, range)
      : byAddress(0x13, -1, address, range);
    const dropped = scene.dropped(w0, w1);
    const size = (range.num + 1n) * (1n << range.scale) * granule;
    const wraps = address + size > 2n ** 64n; // then more may be dropped
    const found = ENTRIES.filter((entry) => wraps ? drops(entry) : true)
      .map((entry) => entry.name).filter((name) => dropped.includes(name));
    assertEquals(found, ENTRIES.filter(drops).map(({ name }) => name), `${random}, command ${i}`);
  }
});

Deno.test("a tag in the address of an invalidation is ignored", () => {
  const scene = new Scene();
  const { w0, drops } = byAddress(0x13, -1, 0x12_3456_7000n);
  const tagged = 0xa500_0012_3456_7000n;
  assertEquals(scene.dropped(w0, tagged), ENTRIES.filter(drops).map((entry) => entry.name));
});

/** Streams 4 to 7, without and with substreams 0 to 2; all configuration valid and cached. */
const CONFIGURED = [4, 5, 6, 7].flatMap((streamId) =>
  [-1, 1, 2].map((substreamId) => ({ streamId, substreamId }))
);

Deno.test("CFGI commands drop what they name, and TLBI commands no configuration", async (t) => {
  const guest = new Guest();
  const configure = (): void => {
    for (const streamId of [4, 5, 6, 7]) {
      const table = CDS + streamId * 0x1000;
      for (const index of [0, 1, 2]) guest.cd(table + index * 64, { ttb0: root });
      // S1CDMax 2, S1DSS 2: requests without a substream use CD 0.
      guest.ste(streamId, BigInt(table) | 0b1011n | (2n << 59n), 2n);
    }
  };
  const root = guest.root();
  guest.map(root, 0x1000n, DATA);
  const works = (r: { streamId: number; substreamId: number }): boolean =>
    guest.dmaRead(r.streamId, 0x1000n, 1, r.substreamId) !== undefined;
  const all = (): boolean => true;
  const none = (): boolean => false;
  const cases: {
    name: string;
    w0: bigint;
    w1?: bigint;
    drops: (streamId: number, substreamId: number) => boolean;
  }[] = [
    { name: "CFGI_STE", w0: 0x03n | (5n << 32n), drops: (sid) => sid === 5 },
    { name: "CFGI_STE leaf", w0: 0x03n | (5n << 32n), w1: 1n, drops: (sid) => sid === 5 },
    {
      name: "CFGI_STE_RANGE of 2",
      w0: 0x04n | (5n << 32n),
      drops: (sid) => sid === 4 || sid === 5,
    },
    { name: "CFGI_STE_RANGE of 4", w0: 0x04n | (7n << 32n), w1: 1n, drops: all },
    { name: "CFGI_STE_RANGE elsewhere", w0: 0x04n | (8n << 32n), w1: 2n, drops: none },
    { name: "CFGI_ALL", w0: 0x04n | (0xffff_ffffn << 32n), w1: 31n, drops: all },
    { name: "CFGI_CD 0", w0: 0x05n | (6n << 32n), drops: (sid, ssid) => sid === 6 && ssid === -1 },
    {
      name: "CFGI_CD 2",
      w0: 0x05n | (2n << 12n) | (6n << 32n),
      w1: 1n,
      drops: (sid, ssid) => sid === 6 && ssid === 2,
    },
    { name: "CFGI_CD_ALL", w0: 0x06n | (6n << 32n), drops: (sid) => sid === 6 },
    { name: "CFGI_STE beyond SIDSIZE", w0: 0x03n | (0xffff_0004n << 32n), drops: none },
    { name: "TLBI_NSNH_ALL", w0: 0x30n, drops: none },
    { name: "TLBI_NH_ASID", w0: 0x11n | (1n << 48n), drops: none },
    { name: "SYNC", w0: 0x46n, drops: none },
  ];
  for (const { name, w0, w1 = 0n, drops } of cases) {
    await t.step(name, () => {
      configure();
      guest.forget();
      assertEquals(CONFIGURED.filter((requester) => !works(requester)), [], "all are cached");
      for (const streamId of [4, 5, 6, 7]) {
        guest.quad(STRTAB + streamId * 64, 0n);
        for (const index of [0, 1, 2]) guest.quad(CDS + streamId * 0x1000 + index * 64, 0n);
      }
      guest.command(w0, w1);
      const expected = CONFIGURED.filter((r) => drops(r.streamId, r.substreamId));
      assertEquals(CONFIGURED.filter((requester) => !works(requester)), expected);
    });
  }
});
