/** Places for a PASID capability, in published layouts. @module */
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  findExpress,
  readExtendedChain,
  readStandardChain,
} from "../../hw/pci/capability_chain.ts";
import { findPasidPlace } from "../../hw/pci/pasid_place.ts";
import { asVfioShows, draw } from "../support/config_sketch.ts";
import { PUBLISHED_SPACES } from "../support/published_spaces.ts";

function check(space: Uint8Array, expected: number | string): void {
  const place = findPasidPlace(space);
  if (typeof expected === "number") {
    assertEquals("offset" in place ? place.offset : place.refusal, expected);
  } else assertStringIncludes("refusal" in place ? place.refusal : place.why, expected);
}

for (const sketch of PUBLISHED_SPACES) {
  Deno.test(`a place or a refusal: ${sketch.name} (${sketch.source})`, async (t) => {
    await t.step("as the device shows itself", () => check(draw(sketch), sketch.place));
    await t.step("as vfio shows it", () => {
      check(asVfioShows(sketch), sketch.vfioPlace ?? sketch.place);
    });
  });
}

Deno.test("capabilities of published layouts do not overlap by our measure", () => {
  for (const sketch of PUBLISHED_SPACES) {
    const space = draw(sketch);
    const express = findExpress(readStandardChain(space))?.offset;
    const all = readExtendedChain(space, express).capabilities;
    const sorted = all.toSorted((a, b) => a.offset - b.offset);
    const overlaps = sorted.flatMap(({ offset, sizeBytes, name }, i) =>
      sorted[i + 1] !== undefined && offset + sizeBytes > sorted[i + 1].offset ? [name] : []
    );
    // Its second version of error reporting leaves out the log of prefixes, which others have unannounced.
    const known = sketch.name === "ConnectX-3 Pro" ? ["Advanced Error Reporting"] : [];
    assertEquals(overlaps, known, sketch.name);
  }
});

Deno.test("the choice is explained, and both sides are named", () => {
  const byName = (name: string): string => {
    const sketch = PUBLISHED_SPACES.find((published) => published.name.startsWith(name));
    if (sketch === undefined) throw new Error(name);
    const place = findPasidPlace(draw(sketch));
    return "refusal" in place ? place.refusal : place.why;
  };
  assertEquals(
    byName("PM174X"),
    "PASID at 0xd90: 0xd90-0xd97 is free between hidden registers (0xc00-0xc03) and hidden registers " +
      "(0xf10-0xf1f); linked behind Data Link Feature (0x3c0-0x3cb)",
  );
  assertEquals(
    byName("82576, a virtual"),
    "PASID at 0x160: 0x160-0x167 is free between ARI (0x150-0x157) and where DesignWare cores have " +
      "port logic (0x700-0x8ff); linked behind ARI (0x150-0x157)",
  );
});

Deno.test("a quirk keeps away, for its vendor and device alone", async (t) => {
  const space = draw(PUBLISHED_SPACES[0]);
  const quirk = { first: 0x15a, end: 0x172, what: "secrets" };
  const cases = [
    { name: "all vendors", quirk, place: 0x130 },
    { name: "this vendor", quirk: { ...quirk, vendorId: 0x8086 }, place: 0x130 },
    { name: "another vendor", quirk: { ...quirk, vendorId: 0x8087 }, place: 0x160 },
    {
      name: "this device",
      quirk: { ...quirk, vendorId: 0x8086, deviceIds: [1, 0x10ca] },
      place: 0x130,
    },
    {
      name: "another device",
      quirk: { ...quirk, vendorId: 0x8086, deviceIds: [0x10cb] },
      place: 0x160,
    },
  ];
  for (const { name, quirk, place } of cases) {
    await t.step(name, () => {
      const found = findPasidPlace(space, [quirk], { vendorId: 0x8086, deviceId: 0x10ca });
      assertEquals("offset" in found ? found.offset : found.refusal, place);
    });
  }
});
