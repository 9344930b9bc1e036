/**
 * Event records, whole: four 64-bit words each. IHI 0070 §7.3, §3.12, §5.5.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Access } from "../../hw/smmuv3/fault.ts";
import { type CdOptions, CDS, DATA, Guest, NOWHERE, split, STRTAB } from "../support/guest.ts";

const SID = 0x2a;
const CD = CDS + SID * 64;
const IOVA = 0xa5ff_1234_5678_9abcn;

interface Case {
  name: string;
  substreamId?: number;
  /** `Access` bits; a data read by default. */
  access?: number;
  cd?: CdOptions;
  prepare?: (guest: Guest) => void;
  record: readonly [bigint, bigint, bigint, bigint];
}

/** Two CDs, an upper half with an ignored top byte, and tables that map nothing. */
function scene({ cd = {}, prepare }: Case): Guest {
  const guest = new Guest();
  const ttb1 = guest.root();
  const options = { ttb0: guest.root(), ttb1, epd1: false, tbi: 2, ...cd };
  for (const index of [0, 1]) guest.cd(CD + index * 64, options);
  guest.ste(SID, BigInt(CD) | 0b1011n | (1n << 59n), 2n);
  prepare?.(guest);
  return guest;
}

const leaf = (attributes: bigint) => (guest: Guest): void => {
  const ttb1 = Number(guest.load(CD + 16));
  guest.map(ttb1, IOVA, DATA, attributes);
};

const S = 0x0000_002a_0000_0000n;
const SSV1 = S | 0x1800n; // SSV, SubstreamID 1
const RNW = 1n << 35n;
const IND = 1n << 34n;
const PNU = 1n << 33n;
const CLASS_TT = 1n << 40n;
const CLASS_IN = 2n << 40n;

const CASES: readonly Case[] = [
  {
    name: "C_BAD_STREAMID",
    prepare: (guest) => {
      guest.smmu.write32(0x20, 0xc);
      guest.smmu.write32(0x88, 5);
      guest.smmu.write32(0x20, 0xd);
    },
    record: [S | 0x02n, 0n, 0n, 0n],
  },
  {
    name: "F_STE_FETCH",
    prepare: (guest) => {
      guest.smmu.write32(0x20, 0xc);
      guest.smmu.write32(0x80, NOWHERE);
      guest.smmu.write32(0x20, 0xd);
    },
    record: [S | 0x03n, 0n, 0n, BigInt(NOWHERE + SID * 64)],
  },
  {
    name: "C_BAD_STE",
    prepare: (guest) => guest.field(STRTAB + SID * 64, 0, 0, 0),
    record: [S | 0x04n, 0n, 0n, 0n],
  },
  {
    name: "C_BAD_STE with a substream",
    substreamId: 1,
    prepare: (guest) => guest.field(STRTAB + SID * 64, 0, 0, 0),
    record: [SSV1 | 0x04n, 0n, 0n, 0n],
  },
  {
    name: "F_STREAM_DISABLED names no substream",
    substreamId: 0,
    record: [S | 0x06n, 0n, 0n, 0n],
  },
  {
    name: "F_STREAM_DISABLED without a substream",
    prepare: (guest) => guest.field(STRTAB + SID * 64, 65, 64, 0),
    record: [S | 0x06n, 0n, 0n, 0n],
  },
  {
    name: "C_BAD_SUBSTREAMID has a substream without SSV",
    substreamId: 0xf_edcb,
    record: [S | 0xfedc_b008n, 0n, 0n, 0n],
  },
  {
    name: "F_CD_FETCH",
    substreamId: 1,
    prepare: (guest) => guest.field(STRTAB + SID * 64, 47, 6, NOWHERE >> 6),
    record: [SSV1 | 0x09n, 0n, 0n, BigInt(NOWHERE + 64)],
  },
  {
    name: "C_BAD_CD",
    substreamId: 1,
    prepare: (guest) => guest.field(CD + 64, 31, 31, 0),
    record: [SSV1 | 0x0an, 0n, 0n, 0n],
  },
  {
    name: "F_WALK_EABT of a privileged write",
    access: Access.Write | Access.Privileged,
    cd: { ttb1: NOWHERE },
    record: [S | 0x0bn, PNU | CLASS_TT, IOVA, BigInt(NOWHERE) + ((IOVA >> 39n) & 0x1ffn) * 8n],
  },
  {
    name: "F_TRANSLATION of a read",
    record: [S | 0x10n, RNW | CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_TRANSLATION of a write",
    access: Access.Write,
    record: [S | 0x10n, CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_TRANSLATION of a privileged instruction fetch in a substream",
    substreamId: 1,
    access: Access.Execute | Access.Privileged,
    record: [SSV1 | 0x10n, RNW | IND | PNU | CLASS_IN, IOVA, 0n],
  },
  {
    name: "a write is data even when it says instruction",
    access: Access.Write | Access.Execute,
    record: [S | 0x10n, CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_ADDR_SIZE",
    cd: { ips: 0 },
    prepare: leaf(0xc40n | (1n << 47n)),
    record: [S | 0x11n, RNW | CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_ADDR_SIZE of a bypass",
    prepare: (guest) => guest.field(STRTAB + SID * 64, 3, 1, 0b100),
    record: [S | 0x11n, RNW | CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_ACCESS",
    prepare: leaf(0x840n),
    record: [S | 0x12n, RNW | CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_PERMISSION of a write",
    access: Access.Write,
    prepare: leaf(0xcc0n),
    record: [S | 0x13n, CLASS_IN, IOVA, 0n],
  },
  {
    name: "F_PERMISSION of a privileged read",
    access: Access.Read | Access.Privileged,
    cd: { word1: 1 << 8 }, // PAN
    prepare: leaf(0xc40n),
    record: [S | 0x13n, RNW | PNU | CLASS_IN, IOVA, 0n],
  },
];

Deno.test("each fault records its fields, and nothing in the others", async (t) => {
  for (const test of CASES) {
    await t.step(test.name, () => {
      const guest = scene(test);
      const requester = { streamId: SID, substreamId: test.substreamId ?? -1 };
      const { translator } = guest.smmu;
      const how = translator.translate(requester, ...split(IOVA), test.access ?? Access.Read);
      assertEquals(how, 1, "aborted");
      assertEquals(guest.events(), [[...test.record]]);
    });
  }
});

Deno.test("A record leaves nothing behind in the next one", () => {
  const guest = scene({ name: "", record: [0n, 0n, 0n, 0n] });
  guest.dmaRead(SID, IOVA, 1, 1);
  guest.dmaRead(SID, IOVA, 1, 0);
  guest.dmaRead(0, IOVA);
  assertEquals(guest.events().slice(1), [[S | 0x06n, 0n, 0n, 0n], [0x04n, 0n, 0n, 0n]]);
});

Deno.test("CD.A and CD.R: abort or zeros, with or without a record, for the four faults", async (t) => {
  const A = 1 << 14;
  const R = 1 << 13;
  const faults = [
    { name: "F_TRANSLATION", number: 0x10, prepare: (): void => {} },
    { name: "F_ADDR_SIZE", number: 0x11, prepare: leaf(0xc40n | (1n << 47n)) },
    { name: "F_ACCESS", number: 0x12, prepare: leaf(0x840n) },
    { name: "F_PERMISSION", number: 0x13, prepare: leaf(0xc00n) },
  ];
  for (const { name, number, prepare } of faults) {
    for (const clear1 of [0, A, R, A | R]) {
      await t.step(`${name}, A ${clear1 & A ? 0 : 1}, R ${clear1 & R ? 0 : 1}`, () => {
        const guest = scene({ name, cd: { ips: 0, clear1 }, prepare, record: [0n, 0n, 0n, 0n] });
        const aborts = (clear1 & A) === 0;
        const expected = (clear1 & R) === 0 ? [number] : [];
        assertEquals(guest.dmaRead(SID, IOVA, 3), aborts ? undefined : [0, 0, 0]);
        assertEquals(guest.eventNumbers(), expected);
        assertEquals(guest.dmaWrite(SID, IOVA, [7]), !aborts);
        assertEquals(
          guest.smmu.dma.message({ streamId: SID, substreamId: -1 }, ...split(IOVA), 7),
          !aborts,
        );
        assertEquals(guest.eventNumbers(), [...expected, ...expected]);
        assertEquals(guest.word(DATA), 0, "nothing was written");
      });
    }
  }
});

Deno.test("all other faults abort and are recorded whatever CD.A and CD.R say", () => {
  const clear1 = (1 << 14) | (1 << 13);
  const guest = scene({ name: "", cd: { clear1, ttb1: NOWHERE }, record: [0n, 0n, 0n, 0n] });
  assertEquals(guest.probe(SID, IOVA), "event b");
  guest.field(CD, 41, 41, 0);
  guest.forget();
  assertEquals(guest.probe(SID, IOVA), "event a");
});
