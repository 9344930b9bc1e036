/** What lspci makes of configuration spaces with an inserted PASID capability. Fetches pciutils when it is not in the cache. @module */
import { assert, assertEquals } from "@std/assert";
import {
  findExpress,
  readExtendedChain,
  readStandardChain,
} from "../../hw/pci/capability_chain.ts";
import { hiddenFromGuest, hideCapabilities } from "../../hw/pci/guest_exposure.ts";
import { insertPasid, type PasidAbilities } from "../../hw/pci/pasid.ts";
import { findPasidPlace } from "../../hw/pci/pasid_place.ts";
import { applyPatch } from "../../hw/pci/space_patch.ts";
import { asVfioShows, draw } from "../support/config_sketch.ts";
import { HOSTILE_SPACES } from "../support/hostile_spaces.ts";
import { findLspci, printedCapabilities, type PrintedCapability } from "../support/lspci.ts";
import { PUBLISHED_SPACES } from "../support/published_spaces.ts";

const lspci = await findLspci();
const without = typeof lspci === "string" ? ` (ignored: ${lspci})` : "";

interface Case {
  readonly name: string;
  readonly original: Uint8Array;
  readonly space: Uint8Array;
  readonly offset: number;
}

const ABILITIES: PasidAbilities = { width: 16, execute: true, privileged: false };
const SPACES: readonly { name: string; space: Uint8Array }[] = [
  ...PUBLISHED_SPACES.map((sketch) => ({ name: sketch.name, space: draw(sketch) })),
  ...PUBLISHED_SPACES.map((sketch) => ({
    name: `${sketch.name}, as vfio shows it`,
    space: asVfioShows(sketch),
  })),
  ...HOSTILE_SPACES,
];

/** Every space that has a place, with the capability in it. */
function inserted(): Case[] {
  return SPACES.flatMap(({ name, space }) => {
    const place = findPasidPlace(space);
    if ("refusal" in place) return [];
    const patched = applyPatch(space, insertPasid(space, place, ABILITIES));
    return [{ name, original: space, space: patched, offset: place.offset }];
  });
}

/** `[offset, version]` of the extended list as we read it. */
function ours(space: Uint8Array): [number, number][] {
  const express = findExpress(readStandardChain(space))?.offset;
  return readExtendedChain(space, express).capabilities.map((c) => [c.offset, c.version]);
}

/** `[offset, version]` of the extended list as lspci printed it. */
function theirs(printed: readonly PrintedCapability[]): [number, number][] {
  return printed.flatMap(({ offset, version }) => version === undefined ? [] : [[offset, version]]);
}

async function printed(cases: readonly { space: Uint8Array }[]): Promise<PrintedCapability[][]> {
  if (typeof lspci === "string") throw new Error(lspci);
  return await printedCapabilities(lspci, cases.map(({ space }) => space));
}

Deno.test({
  name: `lspci prints an inserted PASID capability, and all others as before${without}`,
  ignore: without !== "",
  fn: async () => {
    const cases = inserted();
    assert(cases.length > 80, `${cases.length} spaces`);
    const after = await printed(cases);
    const before = await printed(cases.map(({ original }) => ({ space: original })));
    for (const [i, { name, space, offset }] of cases.entries()) {
      assertEquals(theirs(after[i]), ours(space), name);
      const pasids = after[i].filter(({ title }) => /PASID/.test(title));
      assertEquals(pasids, [{
        offset,
        version: 1,
        title: "Process Address Space ID (PASID)",
        details: ["PASIDCap: Exec+ Priv-, Max PASID Width: 10", "PASIDCtl: Enable- Exec- Priv-"],
      }], name);
      const others = (all: PrintedCapability[]): unknown[] =>
        all.filter((c) => c.offset !== offset && c.title !== "Null").map((c) =>
          // Its last pointer is another capability's register as well.
          name === "two at the same bytes but four" ? c.title : c
        );
      assertEquals(others(after[i]), others(before[i]), name);
    }
  },
});

Deno.test({
  name: `lspci walks a list out of which capabilities were taken${without}`,
  ignore: without !== "",
  fn: async () => {
    const cases = inserted().map(({ name, space }) => {
      const hidden = hiddenFromGuest(space, { ats: false, pri: false });
      const patch = hideCapabilities(space, hidden.map(({ capability }) => capability));
      return { name, space: applyPatch(space, patch), count: hidden.length };
    });
    assert(cases.filter(({ count }) => count > 0).length > 10);
    for (const [i, all] of (await printed(cases)).entries()) {
      const { name, space } = cases[i];
      assertEquals(theirs(all), ours(space), name);
      assertEquals(all.filter(({ title }) => /SR-IOV|ATS|\(PRI\)/.test(title)), [], name);
      assertEquals(all.filter(({ title }) => /PASID/.test(title)).length, 1, name);
    }
  },
});

Deno.test({
  name: `lspci takes a Null at 0x100 for the beginning of a list${without}`,
  ignore: without !== "",
  fn: async () => {
    const space = draw({ name: "", extended: [[0x100, 0x10, 1], [0x150, 0x0e, 1]] });
    const hidden = hiddenFromGuest(space, { ats: false, pri: false });
    const patch = hideCapabilities(space, hidden.map(({ capability }) => capability));
    const [all] = await printed([{ space: applyPatch(space, patch) }]);
    assertEquals(
      all.filter(({ version }) => version !== undefined).map((c) => [c.offset, c.version, c.title]),
      [[0x100, 0, "Null"], [0x150, 1, "Alternative Routing-ID Interpretation (ARI)"]],
    );
  },
});
