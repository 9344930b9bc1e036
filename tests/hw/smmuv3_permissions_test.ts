/**
 * Access permissions of stage 1 with two privilege levels, all combinations. DDI 0487 D8.4, IHI 0070 §5.4.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Access } from "../../hw/smmuv3/fault.ts";
import { CDS, DATA, Guest } from "../support/guest.ts";

const SID = 1;
const IOVA = 0x12_3456_7000n;

/** Everything that a permission depends on. */
interface Attributes {
  ap: number;
  uxn: boolean;
  pxn: boolean;
  apTable: number;
  uxnTable: boolean;
  pxnTable: boolean;
  wxn: boolean;
  pan: boolean;
  had: boolean;
}

const FLAGS = ["uxn", "pxn", "uxnTable", "pxnTable", "wxn", "pan", "had"] as const;

function* combinations(): Generator<Attributes> {
  for (let i = 0; i < 1 << 11; i++) {
    const flags = Object.fromEntries(FLAGS.map((flag, bit) => [flag, ((i >> bit) & 1) === 1]));
    yield { ap: (i >> 7) & 3, apTable: i >> 9, ...flags } as unknown as Attributes;
  }
}

const ACCESSES = [Access.Read, Access.Write, Access.Execute].flatMap((kind) => [
  { kind, privileged: false },
  { kind, privileged: true },
]);

/** The manual's rules, one after the other. */
function isPermitted(a: Attributes, kind: number, privileged: boolean): boolean {
  const table = a.had
    ? { ap: 0, uxn: false, pxn: false }
    : { ap: a.apTable, uxn: a.uxnTable, pxn: a.pxnTable };
  // AP[2] and APTable[1] take writes away from all; AP[1] gives access to unprivileged, APTable[0] takes it away.
  const writable = (a.ap & 0b10) === 0 && (table.ap & 0b10) === 0;
  const unprivileged = (a.ap & 0b01) !== 0 && (table.ap & 0b01) === 0;
  if (kind !== Access.Execute) {
    if (privileged ? a.pan && unprivileged : !unprivileged) return false;
    return kind === Access.Read || writable;
  }
  if (privileged) {
    if (a.pxn || table.pxn) return false;
    return !(writable && (unprivileged || a.wxn));
  }
  return !(a.uxn || table.uxn) && !(a.wxn && writable && unprivileged);
}

function name(a: Attributes): string {
  return `AP ${a.ap}, APTable ${a.apTable}, ${FLAGS.filter((flag) => a[flag]).join(" ")}`;
}

interface Scene {
  guest: Guest;
  set: (attributes: Attributes) => void;
  /** 0, or how the access was terminated. */
  access: (kind: number, privileged: boolean) => number;
}

function scene(): Scene {
  const guest = new Guest();
  const { root } = guest.stage1(SID);
  const leaf = guest.map(root, IOVA, DATA);
  const tables: number[] = [];
  for (let table = root, shift = 39n; shift > 12n; shift -= 9n) {
    const entry = table + Number((IOVA >> shift) & 0x1ffn) * 8;
    tables.push(entry);
    table = Number(guest.load(entry) & 0xffff_ffff_f000n);
  }
  const requester = { streamId: SID, substreamId: -1 };
  return {
    guest,
    set: (a): void => {
      guest.field(leaf, 7, 6, a.ap);
      guest.field(leaf, 54, 54, Number(a.uxn));
      guest.field(leaf, 53, 53, Number(a.pxn));
      // Attributes of tables accumulate: each comes from another level.
      guest.field(tables[0], 61, 61, a.apTable & 1);
      guest.field(tables[1], 62, 62, a.apTable >> 1);
      guest.field(tables[2], 60, 60, Number(a.uxnTable));
      guest.field(tables[0], 59, 59, Number(a.pxnTable));
      guest.field(CDS + SID * 64, 36, 36, Number(a.wxn));
      guest.field(CDS + SID * 64, 40, 40, Number(a.pan));
      guest.field(CDS + SID * 64, 65, 65, Number(a.had));
      guest.forget();
    },
    access: (kind, privileged): number => {
      const { translator } = guest.smmu;
      const access = kind | (privileged ? Access.Privileged : 0);
      return translator.translate(
        requester,
        Number(IOVA & 0xffff_ffffn),
        Number(IOVA >> 32n),
        access,
      );
    },
  };
}

Deno.test("a page permits exactly what the manual permits, in all 2048 combinations", () => {
  const { guest, set, access } = scene();
  for (const attributes of combinations()) {
    set(attributes);
    for (const { kind, privileged } of ACCESSES) {
      const permitted = isPermitted(attributes, kind, privileged);
      const text = `${name(attributes)}: access ${kind}, privileged ${privileged}`;
      assertEquals(access(kind, privileged) === 0, permitted, text);
      assertEquals(guest.eventNumbers(), permitted ? [] : [0x13], text);
    }
  }
});

Deno.test("a translation in the TLB permits the same", () => {
  const { guest, set, access } = scene();
  for (const attributes of combinations()) {
    set(attributes);
    const first = ACCESSES.find(({ kind, privileged }) =>
      isPermitted(attributes, kind, privileged)
    );
    if (first === undefined) continue;
    access(first.kind, first.privileged);
    assertEquals(guest.smmu.translator.tlb.count, 1);
    for (const { kind, privileged } of ACCESSES) {
      const permitted = isPermitted(attributes, kind, privileged);
      assertEquals(access(kind, privileged) === 0, permitted, name(attributes));
    }
    guest.events();
  }
});

Deno.test("endpoints without attributes are unprivileged and read and write data", () => {
  const { guest, set } = scene();
  const plain = {
    uxn: true,
    pxn: true,
    uxnTable: true,
    pxnTable: true,
    wxn: true,
    pan: true,
    had: false,
  };
  const can = (ap: number, apTable: number): [boolean, boolean] => {
    set({ ...plain, ap, apTable });
    return [guest.dmaRead(SID, IOVA) !== undefined, guest.dmaWrite(SID, IOVA, [1])];
  };
  assertEquals([0, 1, 2, 3].map((ap) => can(ap, 0)), [
    [false, false],
    [true, true],
    [false, false],
    [true, false],
  ]);
  assertEquals([0, 1, 2, 3].map((apTable) => can(1, apTable)), [
    [true, true],
    [false, false],
    [true, false],
    [false, false],
  ]);
});
