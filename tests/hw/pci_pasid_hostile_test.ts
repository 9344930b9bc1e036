/** A PASID capability for hostile configuration spaces, and for thousands of random ones. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  findExpress,
  readExtendedChain,
  readStandardChain,
} from "../../hw/pci/capability_chain.ts";
import { hiddenFromGuest, hideCapabilities } from "../../hw/pci/guest_exposure.ts";
import { insertPasid } from "../../hw/pci/pasid.ts";
import { findPasidPlace } from "../../hw/pci/pasid_place.ts";
import { applyPatch } from "../../hw/pci/space_patch.ts";
import { draw, type ExtendedSketch } from "../support/config_sketch.ts";
import { HOSTILE_SPACES } from "../support/hostile_spaces.ts";
import { PUBLISHED_SPACES } from "../support/published_spaces.ts";
import { Random } from "../../vmm/random.ts";

Deno.test("hostile spaces get a place or a reasoned refusal", async (t) => {
  for (const { name, space, place } of HOSTILE_SPACES) {
    await t.step(name, () => {
      const found = findPasidPlace(space, []);
      if (typeof place === "number") {
        assertEquals("offset" in found ? found.offset : found.refusal, place);
        checkInsertion(space);
      } else assertStringIncludes("refusal" in found ? found.refusal : found.why, place);
    });
  }
});

Deno.test("the set has more than a hundred spaces, and no two are the same", () => {
  const spaces = [...HOSTILE_SPACES.map(({ space }) => space), ...PUBLISHED_SPACES.map(draw)];
  assert(spaces.length > 100, `${spaces.length}`);
  assertEquals(new Set(spaces.map((space) => space.join())).size, spaces.length);
});

Deno.test("published layouts keep all they had", () => {
  for (const sketch of PUBLISHED_SPACES) checkInsertion(draw(sketch));
});

const RANDOM_SPACES = 4000;

Deno.test("random spaces: legal places, nothing lost, nothing covered", () => {
  const random = new Random();
  let placed = 0;
  for (let i = 0; i < RANDOM_SPACES; i++) {
    const space = randomSpace(random);
    try {
      if (checkInsertion(space)) placed++;
      checkHiding(space);
    } catch (error) {
      throw new Error(`space ${i} of ${random}`, { cause: error });
    }
  }
  // A generator of hopeless spaces only would test nothing.
  assert(placed > RANDOM_SPACES / 4 && placed < RANDOM_SPACES * 0.95, `${placed} of ${random}`);
});

interface Listed {
  readonly offset: number;
  readonly id: number;
}

/** The list as Linux walks it (`PCI_FIND_NEXT_EXT_CAP`): bounded, ends at zero or below 0x100. */
function walk(space: Uint8Array): Listed[] {
  const view = new DataView(space.buffer, space.byteOffset, space.byteLength);
  const found: Listed[] = [];
  for (let at = 0x100, left = 480; at >= 0x100 && left > 0; left--) {
    const header = view.getUint32(at, true);
    if (header === 0) break;
    found.push({ offset: at, id: header & 0xffff });
    at = (header >>> 20) & 0xffc;
  }
  return found;
}

/** Inserts if it can and checks the result against the original bytes alone; tells whether it could. */
function checkInsertion(space: Uint8Array): boolean {
  const original = space.slice();
  const place = findPasidPlace(space, []);
  assertEquals(space, original, "the space itself is left alone");
  if ("refusal" in place) {
    assert(place.refusal.length > 40 && !place.refusal.endsWith("."), place.refusal);
    return false;
  }
  const { offset } = place;
  assert(offset >= 0x100 && offset <= 0xff8 && offset % 4 === 0, place.why);
  const abilities = { width: 16, execute: true, privileged: false };
  const patched = applyPatch(space, insertPasid(space, place, abilities));
  assertEquals([...patched.subarray(offset, offset + 8)], [0x1b, 0, 1, 0, 2, 16, 0, 0]);

  const measured = readExtendedChain(space, findExpress(readStandardChain(space))?.offset);
  for (const { offset: first, sizeBytes } of measured.capabilities) {
    assert(offset + 8 <= first || offset >= first + sizeBytes, `covers ${first}: ${place.why}`);
  }
  const empty = original.subarray(0x104).every((byte) => byte === 0xff) ? 0xff : 0;
  for (let at = 0; at < space.length; at++) {
    if (at >= offset && at < offset + 8) {
      // The word at 0x100 that says there is nothing may say so in several ways.
      if (at >= 0x104) assertEquals(original[at], empty, `0x${at.toString(16)} was in use`);
    } else if (patched[at] !== original[at]) {
      const header = place.previous ?? -1;
      const inHeader = at >= header && at < header + 4;
      assert(
        place.anchor ? inHeader : inHeader && at >= header + 2,
        `0x${at.toString(16)} changed`,
      );
      if (!place.anchor) assertEquals(patched[header + 2] & 0xf, original[header + 2] & 0xf);
    }
  }

  const before = isAbsent(original) ? [] : walk(original);
  const after = walk(patched);
  const expected = [
    ...before,
    ...place.anchor ? [{ offset: 0x100, id: 0 }] : [],
    { offset, id: 0x1b },
  ];
  assertEquals(after, expected);
  const again = findPasidPlace(patched, []);
  assertEquals("present" in again ? again.present : again, offset);
  return true;
}

function isAbsent(space: Uint8Array): boolean {
  const header = new DataView(space.buffer).getUint32(0x100, true);
  return header === 0xffff_ffff || header >>> 20 === 0 && [0, 0xffff].includes(header & 0xffff);
}

/** What stays in the list is what was not to be hidden, in the same order. */
function checkHiding(space: Uint8Array): void {
  if (space.length < 4096 || isAbsent(space)) return;
  const hidden = hiddenFromGuest(space, { ats: false, pri: false }).map((h) => h.capability);
  if (hidden.length === 0) return;
  const seen = applyPatch(space, hideCapabilities(space, hidden));
  const gone = new Set(hidden.map(({ offset }) => offset));
  const before = walk(space);
  // A list that Linux itself walks in circles, or over a word of ones, has no one way to be whole.
  const broken = new Set(before.map(({ offset }) => offset)).size < before.length ||
    before.some(({ id }) => id === 0xffff);
  const after = walk(seen);
  // A Null says nothing, and one at the end is as good as the end.
  const named = (list: Listed[]): Listed[] => list.filter(({ id }) => id !== 0);
  if (!broken) assertEquals(named(after), named(before.filter(({ offset }) => !gone.has(offset))));
  for (const { id } of after) assert(![0x0f, 0x10, 0x11, 0x13, 0x24].includes(id), `${id}`);
}

/** An endpoint with some capabilities in and out of order, some registers, and now and then something broken. */
function randomSpace(random: Random): Uint8Array {
  const published = random.chance(0.2) ? random.of(PUBLISHED_SPACES) : undefined;
  const extended: ExtendedSketch[] = [];
  let at = 0x100;
  while (published === undefined && at < 0xff0 && extended.length < 40 && random.chance(0.9)) {
    const id = random.chance(0.95) ? random.below(0x38) : random.below(0x10000);
    const registers = random.chance(0.5) ? { 4: random.word(), 8: random.word() } : {};
    if (id !== 0x1b) extended.push([at, id, 1 + random.below(2), registers]);
    at += 4 * (1 + random.below(random.of([8, 64, 256])));
  }
  if (extended.length > 0 && extended[0][0] !== 0x100) extended.shift();
  if (extended.length > 0 && extended[0][0] !== 0x100) extended.length = 0;
  const [first, ...rest] = extended;
  if (random.chance(0.3)) rest.reverse();
  const space = draw(
    published ?? { name: "", extended: first === undefined ? [] : [first, ...rest] },
  );
  for (let hits = random.chance(0.4) ? random.below(20) : 0; hits > 0; hits--) {
    const where = random.chance(0.1) ? random.below(0x100) : 0x100 + random.below(0xf00);
    space[where] = random.word();
  }
  if (random.chance(0.05)) space.set(space.subarray(random.below(0x200)).slice(0, 0x800), 0x800);
  return space;
}
