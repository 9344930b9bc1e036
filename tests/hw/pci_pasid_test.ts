/** The PASID capability: its registers, and its insertion. @module */
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigSpace } from "../../hw/pci/config_space.ts";
import { insertPasid, pasidCapability } from "../../hw/pci/pasid.ts";
import { findPasidPlace, type PasidPlace } from "../../hw/pci/pasid_place.ts";
import { applyPatch } from "../../hw/pci/space_patch.ts";
import { type ConfigSketch, draw } from "../support/config_sketch.ts";
import { peek, poke } from "../support/virtio_driver.ts";

function placeIn(space: Uint8Array): PasidPlace {
  const place = findPasidPlace(space, []);
  if ("refusal" in place) throw new Error(place.refusal);
  return place;
}

const ALL = { width: 16, execute: true, privileged: true } as const;

Deno.test("the capability has the bytes of its abilities, and only they can be enabled", async (t) => {
  const cases = [
    { abilities: ALL, capability: 0x1006, control: 7 },
    { abilities: { ...ALL, width: 20 }, capability: 0x1406, control: 7 },
    { abilities: { ...ALL, width: 1, execute: false }, capability: 0x0104, control: 5 },
    { abilities: { ...ALL, privileged: false }, capability: 0x1002, control: 3 },
    { abilities: { width: 8, execute: false, privileged: false }, capability: 0x0800, control: 1 },
  ];
  for (const { abilities, capability, control } of cases) {
    await t.step(`${capability.toString(16)}, inserted`, () => {
      const [run] = insertPasid(new Uint8Array(4096), { offset: 0x100, why: "" }, abilities);
      assertEquals([...run.bytes], [
        0x1b,
        0,
        1,
        0,
        capability & 0xff,
        capability >>> 8,
        0,
        0,
      ]);
      assertEquals([...run.writable], [0, 0, 0, 0, 0, 0, control, 0]);
    });
    await t.step(`${capability.toString(16)}, emulated`, () => {
      const config = new ConfigSpace({
        vendorId: 1,
        deviceId: 2,
        classCode: 0,
        extended: [pasidCapability(abilities)],
      });
      assertEquals(peek(config, 0x100, 4), 0x0001_001b);
      assertEquals(peek(config, 0x104, 4), capability);
      poke(config, 0x104, 4, 0xffff_ffff);
      assertEquals(peek(config, 0x104, 4), (control << 16 | capability) >>> 0);
    });
  }
});

Deno.test("a width that no PASID has is our own mistake", () => {
  for (const width of [0, 21, 1.5, NaN]) {
    assertThrows(() => pasidCapability({ ...ALL, width }), RangeError, "PASIDs have 1 to 20 bits");
  }
});

Deno.test("an insertion changes its own eight bytes and the pointer to them, no other", async (t) => {
  const cases: { sketch: ConfigSketch; changed: Record<number, number> }[] = [
    {
      sketch: { name: "behind the last", extended: [[0x100, 1, 1], [0x150, 0xe, 1]] },
      changed: { 0x152: 0x01, 0x153: 0x16, 0x160: 0x1b, 0x162: 0x01, 0x164: 0x06, 0x165: 0x10 },
    },
    {
      sketch: {
        name: "linked behind the last of the list, placed behind the last by address",
        extended: [[0x100, 1, 1], [0x250, 0xe, 1], [0x1f4, 0x18, 2]],
      },
      changed: { 0x1f6: 0x02, 0x1f7: 0x26, 0x260: 0x1b, 0x262: 0x01, 0x264: 0x06, 0x265: 0x10 },
    },
    {
      sketch: { name: "first of all" },
      changed: { 0x100: 0x1b, 0x102: 0x01, 0x104: 0x06, 0x105: 0x10 },
    },
    {
      sketch: { name: "behind a Null at 0x100", hidden: { 0x104: 0xdead_beef } },
      // The middle of 0x118-0xfff.
      changed: { 0x102: 0x00, 0x103: 0x89, 0x890: 0x1b, 0x892: 0x01, 0x894: 0x06, 0x895: 0x10 },
    },
    {
      sketch: {
        name: "instead of a pointer to nothing",
        extended: [[0x100, 0xe, 1]],
        hidden: { 0x100: 0x2040_0000 },
      },
      changed: { 0x102: 0x01, 0x103: 0x11, 0x110: 0x1b, 0x112: 0x01, 0x114: 0x06, 0x115: 0x10 },
    },
  ];
  for (const { sketch, changed } of cases) {
    await t.step(sketch.name, () => {
      const space = draw(sketch);
      const patched = applyPatch(space, insertPasid(space, placeIn(space), ALL));
      const expected = space.slice();
      for (const [offset, value] of Object.entries(changed)) expected[Number(offset)] = value;
      assertEquals(patched, expected);
    });
  }
});

Deno.test("what a function without extended space reads is answered for once the list begins", () => {
  const space = draw({ name: "" });
  space.fill(0xff, 0x100);
  const patched = applyPatch(space, insertPasid(space, placeIn(space), ALL));
  assertEquals([...patched.subarray(0xfe, 0x10a)], [
    ...[0, 0, 0x1b, 0, 1, 0, 6, 0x10, 0, 0, 0xff, 0xff],
  ]);
});
