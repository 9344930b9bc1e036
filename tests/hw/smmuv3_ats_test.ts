/**
 * What a translation request is granted, and what is recorded of it. IHI 0070 §3.9.1, §7.3.6, §7.3.8, §13.7.
 * @module
 */
import { assertEquals } from "@std/assert";
import { AtsScene, CD, IOVA, IPA, type Kind, PA, SID } from "../support/ats_scene.ts";
import type { AtsPort } from "../../hw/ats_port.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { Guest, NOWHERE, split } from "../support/guest.ts";

const KINDS: readonly Kind[] = ["", "w", "x", "p", "wx", "wp", "xp", "wxp"];
const PAGE = `${IPA.toString(16)} 12`;
const [CONFIG, MAX, DSS, EATS] = [[3, 1], [63, 59], [65, 64], [93, 92]] as const;

/** A stream with two CDs and full ATS; requests without a substream use the first. */
function scene({ config = 5, eats = 1, checked = true, records = true } = {}): AtsScene {
  const scene = new AtsScene((options) => new Guest(options));
  scene.ste([[...CONFIG, config], [...MAX, 1], [...DSS, 2], [...EATS, eats]]);
  scene.control({ checked, records });
  scene.guest.forget();
  return scene;
}

/** What §13.7.1 grants by permissions of a page: to read, to write, to execute. */
function granted(kind: Kind, hasPasid: boolean, allows: (privileged: boolean) => string): string {
  const privileged = hasPasid && kind.includes("p");
  const page = allows(privileged);
  const read = page.includes("r") ? "r" : "";
  const write = page.includes("w") ? "w" : "";
  const execute = hasPasid && kind.includes("x") && read && page.includes("x") ? "x" : "";
  return read + write + execute + (privileged ? "p" : "");
}

/** What a stage 1 descriptor allows, by DDI 0487 D8.4: AP[2:1], UXN and PXN. */
function stage1Allows(ap: number, uxn: boolean, pxn: boolean, privileged: boolean): string {
  const isUser = (ap & 1) !== 0;
  const isWritable = (ap & 2) === 0;
  if (!privileged) return (isUser ? isWritable ? "rw" : "r" : "") + (uxn ? "" : "x");
  return (isWritable ? "rw" : "r") + (pxn || (isUser && isWritable) ? "" : "x");
}

Deno.test("a request is granted what the page permits, in all combinations of stage 1", () => {
  const made = scene();
  for (let bits = 0; bits < 16; bits++) {
    const [ap, uxn, pxn] = [bits & 3, (bits & 4) !== 0, (bits & 8) !== 0];
    const attributes = 0xc00n | BigInt(ap) << 6n | (uxn ? 1n << 54n : 0n) | (pxn ? 1n << 53n : 0n);
    made.guest.quad(made.leaf1, BigInt(IPA) | attributes | 3n);
    for (const substreamId of [-1, 1]) {
      for (const kind of KINDS) {
        const letters = granted(
          kind,
          substreamId >= 0,
          (privileged) => stage1Allows(ap, uxn, pxn, privileged),
        );
        const where = /[rw]/.test(letters) ? PAGE : "none 12";
        made.guest.forget();
        const cold = made.ask(kind, IOVA, substreamId);
        assertEquals(cold, `${where} ${letters}`.trim(), `${bits}, ${substreamId}, ${kind}`);
        assertEquals(made.ask(kind, IOVA, substreamId), cold, "and again, by the TLB");
      }
    }
  }
});

Deno.test("of two stages a request is granted what both permit; what is only executable, nothing", () => {
  const made = scene({ config: 7 });
  for (let s2ap = 0; s2ap < 4; s2ap++) {
    for (const xn of [0n, 2n]) {
      for (const ap of [1, 3]) {
        for (const kind of KINDS) {
          made.guest.quad(made.leaf1, BigInt(IPA) | 0xc03n | BigInt(ap) << 6n);
          const leaf = BigInt(PA) | 0x43fn | BigInt(s2ap) << 6n | xn << 53n;
          made.guest.quad(made.leaf2, leaf);
          made.guest.forget();
          const page = (privileged: boolean): string =>
            [...stage1Allows(ap, false, false, privileged)].filter((letter) =>
              letter === "r" ? s2ap & 1 : letter === "w" ? s2ap & 2 : xn === 0n
            ).join("");
          const letters = granted(kind, true, page);
          // To write alone is granted to whom asks to write.
          const isOffered = letters.includes("r") ||
            (letters.includes("w") && kind.includes("w"));
          const expected = isOffered
            ? `${PA.toString(16)} 12 ${letters}`
            : `none 12${kind.includes("p") ? " p" : ""}`;
          assertEquals(made.ask(kind, IOVA, 1), expected, `${s2ap}, ${xn}, ${ap}, ${kind}`);
        }
      }
    }
  }
});

Deno.test("a request sets the access flag, and dirty state when it is to write", () => {
  const [af, readOnly, dbm] = [1n << 10n, 1n << 7n, 1n << 51n];
  const made = scene();
  const { guest } = made;
  guest.field(CD, 42, 42, 1); // HD
  for (const ha of [0, 1]) {
    guest.field(CD, 43, 43, ha);
    for (const clean of [0n, readOnly, readOnly | dbm]) {
      for (const accessed of [0n, af]) {
        for (const kind of ["", "w"]) {
          const before = BigInt(IPA) | 0x843n | clean | accessed;
          guest.quad(made.leaf1, before);
          guest.forget();
          const found = made.ask(kind);
          const isDirtied = kind === "w" && ha === 1 && clean === (readOnly | dbm);
          const isWritable = clean === 0n || isDirtied;
          const isThere = ha === 1 || accessed !== 0n;
          const text = `HA ${ha}, ${before.toString(16)}, ${kind}`;
          assertEquals(found, isThere ? `${PAGE} ${isWritable ? "rw" : "r"}` : "none 12", text);
          const after = (before | (ha === 1 ? af : 0n)) & ~(isDirtied ? readOnly : 0n);
          assertEquals(guest.load(made.leaf1), after, text);
        }
      }
    }
  }
});

Deno.test("an answer is as large as the smaller of both pages", () => {
  const made = scene({ config: 7 });
  const { guest } = made;
  const [root, below] = [guest.root(), guest.root()];
  guest.cd(CD, { ttb0: root });
  made.ste([[243, 196, below >> 4]]);
  for (let gpa = 0x4020_0000; gpa < NOWHERE; gpa += 0x20_0000) {
    guest.map(below, BigInt(gpa), gpa, 0x4fcn, 2);
  }
  guest.map(root, 0n, 0x4000_0000, 0xc40n, 1);
  guest.forget();
  assertEquals(made.ask("w", 0x87_6543n), "40800000 21 rw", "1 GiB over 2 MiB");
  made.ste([[...EATS, 2]]);
  guest.forget();
  assertEquals(made.ask("w", 0xa7_6543n), "40a00000 21 rw", "split: of the same size");
  guest.map(root, 0x8000_0000n, IPA, 0xc40n, 3);
  assertEquals(made.ask("w", 0x8000_0123n), `${IPA.toString(16)} 12 rw`, "4 KiB over 2 MiB");
});

Deno.test("faults of tables are answers, aborts of tables are not, and nothing but that is recorded", async (t) => {
  const cases: { name: string; config: number; spoil: (s: AtsScene) => void; result: string }[] = [
    {
      name: "a table of stage 1 where nothing is",
      config: 5,
      spoil: ({ guest }) => guest.cd(CD, { ttb0: NOWHERE }),
      result: "CA, event b",
    },
    {
      name: "a CD where nothing is",
      config: 5,
      spoil: (s) => s.ste([[55, 6, NOWHERE >> 6]]),
      result: "CA, event 9",
    },
    {
      name: "a CD where stage 2 has nothing",
      config: 7,
      spoil: (s) => s.ste([[55, 6, 0x100]]),
      result: "none 12",
    },
    {
      name: "a table of stage 1 where stage 2 has nothing",
      config: 7,
      spoil: ({ guest }) => guest.cd(CD, { ttb0: 0x10_0000 }),
      result: "none 12",
    },
    {
      name: "a table of stage 2 where nothing is",
      config: 6,
      spoil: (s) => s.ste([[243, 196, NOWHERE >> 4]]),
      result: "CA, event b",
    },
    {
      name: "a page of stage 1 that stage 2 does not have",
      config: 7,
      spoil: (s) => s.guest.quad(s.leaf2, 0n),
      result: "none 12",
    },
    {
      name: "EPD0",
      config: 5,
      spoil: ({ guest }) => guest.field(CD, 14, 14, 1),
      result: "none 12",
    },
    {
      name: "CD.A=0",
      config: 5,
      spoil: (s) => {
        s.guest.field(CD, 46, 46, 0);
        s.guest.quad(s.leaf1, 0n);
      },
      result: "none 12",
    },
  ];
  for (const { name, config, spoil, result } of cases) {
    await t.step(name, () => {
      for (const records of [true, false]) {
        const made = scene({ config, records });
        spoil(made);
        made.guest.forget();
        assertEquals(made.ask("w"), records ? result : result.split(",")[0]);
        assertEquals(made.ask("w"), records ? result : result.split(",")[0], "and again");
      }
    });
  }
});

Deno.test("an input beyond the IAS is answered where stage 1 is skipped, and recorded where split-stage ATS uses it", () => {
  const beyond = 1n << 48n;
  for (const [config, eats] of [[5, 1], [7, 1], [7, 2]]) {
    const made = scene({ config, eats });
    made.ste([[...DSS, 1]]);
    made.guest.forget();
    assertEquals(made.ask("w", beyond), "none 12", `${config}`);
    assertEquals(made.read(beyond), eats === 2 ? "abort, event 11" : "abort");
  }
});

Deno.test("split-stage ATS: stage 2 permits or not when the address is used, as it does for any transaction", () => {
  const made = scene({ config: 7, eats: 2 });
  assertEquals([made.ask("w"), made.read(BigInt(IPA))], [`${PAGE} rw`, "22"]);
  made.guest.quad(made.leaf2, 0n);
  made.guest.forget();
  assertEquals(made.read(BigInt(IPA)), "abort, event 10");
  made.ste([[186, 186, 0]]); // S2R
  made.guest.forget();
  assertEquals(made.read(BigInt(IPA)), "abort");
});

Deno.test("F_BAD_ATS_TREQ says what was asked for, F_TRANSL_FORBIDDEN who may not", () => {
  const made = scene({ eats: 0 });
  const { guest, port, completion } = made;
  const address = 0xfedc_ba98_7654_3210n;
  for (const substreamId of [-1, 9]) {
    for (const kind of KINDS) {
      const [write, execute, privileged] = ["w", "x", "p"].map((letter) => kind.includes(letter));
      const requester = { streamId: SID, substreamId };
      port.translate(requester, ...split(address), { write, execute, privileged }, completion);
      const [record] = guest.events();
      const hasPasid = substreamId >= 0;
      const bit = (flag: boolean, at: bigint): bigint => flag ? 1n << at : 0n;
      assertEquals(record, [
        0x05n | BigInt(SID) << 32n | (hasPasid ? 1n << 11n | BigInt(substreamId) << 12n : 0n),
        1n | 1n << 31n | bit(write, 30n) | bit(execute && hasPasid, 29n) |
        bit(privileged && hasPasid, 28n),
        address & ~0xfffn,
        0n,
      ], `${substreamId} ${kind}`);
    }
  }
  const requester = { streamId: SID, substreamId: 9 };
  for (const write of [false, true]) {
    const transfer = write ? port.translated.write : port.translated.read;
    const bytes = new Uint8Array(4);
    assertEquals(transfer.call(port.translated, requester, ...split(address), bytes), false);
    const rnw = write ? 0n : 1n << 35n;
    assertEquals(guest.events(), [[0x07n | BigInt(SID) << 32n, rnw, address, 0n]]);
  }
});

Deno.test("without the feature nothing is translated, passes or is recorded", () => {
  const made = new AtsScene((options) => new Guest({ ...options, features: { stage2: true } }));
  made.ste([[...EATS, 1]]);
  assertEquals([made.ask("w"), made.read(BigInt(IPA))], ["UR", "abort"]);
});

Deno.test("what ATS keeps of streams is part of a snapshot", () => {
  const made = scene({ config: 7, eats: 2 });
  const { guest } = made;
  const all = (port: AtsPort): string[] => {
    const old = made.port;
    made.port = port;
    const found = [made.ask("w"), made.ask("w", IOVA, 1), made.read(BigInt(IPA))];
    made.port = old;
    return found;
  };
  const before = all(made.port);
  assertEquals(before, [`${PAGE} rw`, `${PAGE} rw`, "22"]);
  const snapshot = JSON.parse(JSON.stringify(guest.smmu.snapshot()));
  made.ste([[0, 0, 0]]);
  const other = new SmmuV3({ memory: guest.ram, features: guest.smmu.features });
  other.restore(snapshot);
  assertEquals(JSON.parse(JSON.stringify(other.snapshot())), snapshot);
  assertEquals(all(other.atsPort()), before, "by what was cached: there is no STE");
});
