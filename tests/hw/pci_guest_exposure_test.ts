/** What a guest does not see of an assigned function, and how the list stays whole. @module */
import { assertEquals } from "@std/assert";
import { readExtendedChain } from "../../hw/pci/capability_chain.ts";
import { hiddenFromGuest, hideCapabilities } from "../../hw/pci/guest_exposure.ts";
import { insertPasid } from "../../hw/pci/pasid.ts";
import { findPasidPlace } from "../../hw/pci/pasid_place.ts";
import { applyPatch } from "../../hw/pci/space_patch.ts";
import { type ConfigSketch, draw } from "../support/config_sketch.ts";

const NOTHING = { ats: false, pri: false } as const;

/** `[offset, id]` of the list after hiding. */
function listed(space: Uint8Array): [number, number][] {
  const chain = readExtendedChain(space);
  assertEquals(chain.broken, undefined);
  return chain.capabilities.map(({ offset, id }) => [offset, id]);
}

function hide(space: Uint8Array, abilities: { ats: boolean; pri: boolean }): Uint8Array {
  const hidden = hiddenFromGuest(space, abilities).map(({ capability }) => capability);
  return applyPatch(space, hideCapabilities(space, hidden));
}

const FULL: ConfigSketch = {
  name: "",
  extended: [
    [0x100, 0x01, 1],
    [0x140, 0x0f, 1, { 4: 0x20 }],
    [0x150, 0x10, 1, { 4: 2 }],
    [0x1a0, 0x13, 1, { 8: 0x20 }],
    [0x1c0, 0x24, 1, { 8: 0x20 }],
    [0x1e0, 0x0e, 1],
    [0x1f0, 0x11, 1],
  ],
};

Deno.test("ATS and PRI follow what nesting can honour, SR-IOV is always the host's", async (t) => {
  const cases = [
    { name: "neither", abilities: NOTHING, left: [0x01, 0x0e] },
    { name: "ATS", abilities: { ats: true, pri: false }, left: [0x01, 0x0f, 0x0e] },
    { name: "PRI without ATS", abilities: { ats: false, pri: true }, left: [0x01, 0x0e] },
    { name: "both", abilities: { ats: true, pri: true }, left: [0x01, 0x0f, 0x13, 0x0e] },
  ];
  for (const { name, abilities, left } of cases) {
    await t.step(name, () => {
      assertEquals(listed(hide(draw(FULL), abilities)).map(([, id]) => id), left);
    });
  }
});

Deno.test("each hidden capability is explained", () => {
  assertEquals(hiddenFromGuest(draw(FULL), NOTHING).map(({ why }) => why), [
    "ATS (0x140-0x147) is hidden: nested translation cannot honour translation requests of this function",
    "SR-IOV (0x150-0x18f) is hidden: virtual functions are the host's to make",
    "Page Request Interface (0x1a0-0x1af) is hidden: page requests are of no use without ATS",
    "VF Resizable BAR (0x1c0-0x1cb) is hidden: BARs of virtual functions are the host's",
    "MR-IOV (0x1f0-0xfff) is hidden: virtual hierarchies are the host's to make",
  ]);
});

Deno.test("registers of a hidden capability read as zero, all others as before", () => {
  const space = draw(FULL);
  const seen = hide(space, NOTHING);
  const ranges = [[0x140, 0x148], [0x150, 0x190], [0x1a0, 0x1b0], [0x1c0, 0x1cc], [0x1f0, 0x1f4]];
  const expected = space.slice();
  for (const [first, end] of ranges) expected.fill(0, first, end);
  // 0x100 points to 0x1e0, which is the last.
  expected.set([0x01, 0x1e], 0x102);
  expected.set([0x01, 0x00], 0x1e2);
  assertEquals(seen, expected);
});

Deno.test("the first capability leaves a Null that leads on, or an empty list", async (t) => {
  await t.step("leads on", () => {
    const space = draw({
      name: "",
      extended: [[0x100, 0x10, 1], [0x150, 0x0f, 1], [0x160, 0xe, 1]],
    });
    const seen = hide(space, NOTHING);
    assertEquals(listed(seen), [[0x100, 0], [0x160, 0xe]]);
    assertEquals([...seen.subarray(0x100, 0x104)], [0, 0, 0, 0x16]);
  });
  await t.step("empty", () => {
    const seen = hide(draw({ name: "", extended: [[0x100, 0x10, 1]] }), NOTHING);
    assertEquals([...seen.subarray(0x100, 0x140)], new Array(64).fill(0));
    assertEquals(listed(seen), []);
  });
});

Deno.test("a broken list ends at its last good capability once something is hidden", () => {
  const space = draw({
    name: "",
    extended: [[0x100, 0x0e, 1], [0x150, 0x10, 1], [0x1a0, 0x18, 1]],
    hidden: { 0x1a0: 0x1000_0000 },
  });
  assertEquals(listed(hide(space, NOTHING)), [[0x100, 0x0e], [0x1a0, 0x18]]);
});

Deno.test("nothing to hide changes nothing", () => {
  const space = draw({ name: "", extended: [[0x100, 0x0e, 1]] });
  assertEquals(
    hideCapabilities(space, hiddenFromGuest(space, NOTHING).map((h) => h.capability)),
    [],
  );
});

Deno.test("a PASID capability behind a hidden one stays in the list", () => {
  const space = draw({ name: "", extended: [[0x100, 0x01, 1], [0x140, 0x10, 1]] });
  const place = findPasidPlace(space, []);
  if ("refusal" in place) throw new Error(place.refusal);
  assertEquals(place.offset, 0x180);
  const abilities = { width: 16, execute: false, privileged: false };
  const inserted = applyPatch(space, insertPasid(space, place, abilities));
  assertEquals(listed(hide(inserted, NOTHING)), [[0x100, 0x01], [0x180, 0x1b]]);
});
