/**
 * Configuration spaces that no honest device has, with what is to come of each: an offset, or words of a refusal.
 * @module
 */
import {
  asVfioShows,
  type ConfigSketch,
  draw,
  expressRegisters,
  type ExtendedSketch,
} from "./config_sketch.ts";

/** A space and what is to come of it. */
export interface HostileSpace {
  readonly name: string;
  readonly space: Uint8Array;
  readonly place: number | string;
}

const AER: ExtendedSketch = [0x100, 0x01, 1];
const ARI: ExtendedSketch = [0x150, 0x0e, 1];

function sketched(
  name: string,
  place: number | string,
  sketch: Omit<ConfigSketch, "name">,
  change?: (space: Uint8Array) => void,
): HostileSpace {
  const space = draw({ name, ...sketch });
  change?.(space);
  return { name, space, place };
}

/** Overwrites the pointer of an extended capability, low bits included. */
function point(space: Uint8Array, offset: number, next: number): void {
  space[offset + 2] = (space[offset + 2] & 0xf) | (next & 0xf) << 4;
  space[offset + 3] = next >>> 4;
}

/** As many capabilities of one kind as fit into extended space, `step` bytes apart. */
function row(step: number, id: number, version: number, count: number): ExtendedSketch[] {
  return Array.from({ length: count }, (_, i) => [0x100 + step * i, id, version]);
}

/** Bytes that a generator (xorshift32) makes of a seed. */
function noise(seed: number, length: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

/** An endpoint whose extended space is filled with something. */
function filled(name: string, place: number | string, bytes: Uint8Array): HostileSpace {
  return sketched(name, place, {}, (space) => space.set(bytes, 0x100));
}

const LOOP = "its list of extended capabilities is broken";
const NO_EXPRESS = "this function has no PCI Express capability";
const FULL = "it needs 8 free bytes in a row, and extended space has";

/** The spaces. */
export const HOSTILE_SPACES: readonly HostileSpace[] = [
  ...[0, 1, 64, 255, 257, 4095, 4097].map((size): HostileSpace => ({
    name: `${size} bytes`,
    space: new Uint8Array(size),
    place: `configuration space has 256 or 4096 bytes, and this has ${size}`,
  })),
  { name: "zeros", space: new Uint8Array(4096), place: NO_EXPRESS },
  {
    name: "ones, as a function that is gone",
    space: new Uint8Array(4096).fill(0xff),
    place: "with header type 0, and this function has type 127",
  },
  sketched("PCI Express, but 256 bytes", "goes into extended space at 0x100-0xfff", {
    sizeBytes: 256,
  }),
  sketched("256 bytes without PCI Express", NO_EXPRESS, { sizeBytes: 256, standard: [[0x40, 1]] }),
  sketched("no list at all", NO_EXPRESS, { standard: [], extended: [AER] }),
  sketched("a list that Status denies", NO_EXPRESS, {}, (space) => space[6] = 0),
  sketched("a list that begins in the header", NO_EXPRESS, { standard: [[0x08, 0x10]] }),
  sketched(
    "a loop before PCI Express",
    "(its list is broken: MSI at 0x050 points back to Power Management at 0x040)",
    { standard: [[0x40, 1], [0x50, 5]] },
    (space) => space[0x51] = 0x40,
  ),
  sketched("a loop behind PCI Express", 0x160, {
    standard: [[0x40, 0x10, expressRegisters()], [0x80, 5]],
    extended: [AER, ARI],
  }, (space) => space[0x81] = 0x40),
  sketched("standard pointers with low bits", 0x160, { extended: [AER, ARI] }, (space) => {
    space[0x34] |= 3;
  }),
  sketched("a bridge", "this function has type 1", { headerType: 1 }),
  sketched("a CardBus bridge", "this function has type 2", { headerType: 2 }),
  sketched("several functions, an endpoint", 0x100, { headerType: 0x80 }),
  ...[2, 3, 4, 5, 6, 7, 8, 10, 11, 15].map((type) =>
    sketched(`a port of type ${type}`, `this function is a port of type ${type}`, {
      standard: [[0x60, 0x10, expressRegisters({ type })]],
    })
  ),
  sketched("a loop of two", LOOP, { extended: [AER, ARI] }, (s) => point(s, 0x150, 0x100)),
  sketched("a loop of one", LOOP, { extended: [AER] }, (s) => point(s, 0x100, 0x100)),
  sketched("a loop that leaves out the first", LOOP, {
    extended: [AER, ARI, [0x200, 0x18, 1]],
  }, (s) => point(s, 0x200, 0x150)),
  sketched("a loop through low bits", LOOP, { extended: [AER, ARI] }, (s) => {
    point(s, 0x150, 0x102);
  }),
  sketched("a pointer into the header", LOOP, { extended: [AER] }, (s) => point(s, 0x100, 0x034)),
  sketched("a pointer to 0x0fc", LOOP, { extended: [AER] }, (s) => point(s, 0x100, 0x0fc)),
  sketched("a pointer to low bits alone", 0x130, { extended: [AER] }, (s) => point(s, 0x100, 3)),
  sketched("a pointer to ones", LOOP, {
    extended: [AER],
    hidden: { 0xffc: 0xffff_ffff },
  }, (s) => point(s, 0x100, 0xffc)),
  sketched("a pointer to zeros", 0x130, { extended: [AER] }, (s) => point(s, 0x100, 0xffc)),
  sketched("pointers with low bits", 0x160, { extended: [AER, ARI] }, (s) => {
    point(s, 0x100, 0x153);
    point(s, 0x150, 0x001);
  }),
  sketched("an unknown kind at the end", 0x130, { extended: [AER, [0x200, 0x7fff, 1]] }),
  sketched("an unknown kind alone", FULL, { extended: [[0x100, 0x7fff, 1]] }),
  sketched("a kind of ID 0xffff that points on", 0x160, {
    extended: [[0x100, 0xffff, 1], ARI],
  }),
  sketched("a Null that points on", 0x160, { extended: [[0x100, 0, 0], ARI] }),
  sketched("a Null in the middle", 0x210, {
    extended: [AER, [0x180, 0, 0], [0x200, 0x0e, 1]],
  }),
  sketched("a Null of version 1 at the end", 0x130, { extended: [AER, [0x180, 0, 1]] }),
  sketched("a vendor's of no length", 0x130, { extended: [AER, [0x200, 0x0b, 1]] }),
  sketched("a vendor's of all space", 0x130, {
    extended: [AER, [0x200, 0x0b, 1, { 4: 0xfff0_0001 }]],
  }),
  sketched("a vendor's of 0xe00 bytes, to the end", 0x130, {
    extended: [AER, [0x200, 0x0b, 1, { 4: 0xe000_0001 }]],
  }),
  sketched("a vendor's over another capability", 0x270, {
    extended: [AER, [0x200, 0x0b, 1, { 4: 0x0700_0001 }], [0x240, 0x0e, 1]],
  }),
  sketched("two at the same bytes but four", 0x190, {
    extended: [AER, [0x180, 0x18, 1], [0x184, 0x0e, 1]],
  }),
  sketched("a capability in the last word", 0x130, { extended: [AER, [0xffc, 0x18, 1]] }),
  sketched("a capability that ends with the space", 0x130, {
    extended: [AER, [0xff8, 0x18, 1]],
  }),
  sketched("eight free bytes at the very end", 0xff8, {
    extended: [AER, [0x12c, 0x0b, 1, { 4: 0xecc0_0001 }]],
  }),
  sketched("four free bytes at the very end", `${FULL} 4`, {
    extended: [AER, [0x12c, 0x0b, 1, { 4: 0xed00_0001 }]],
  }),
  sketched("480 capabilities of eight bytes", `${FULL} 0`, { extended: row(8, 0x0e, 1, 480) }),
  sketched("479 of them", 0xff8, { extended: row(8, 0x0e, 1, 479) }),
  sketched("320 serial numbers twelve bytes apart", `${FULL} 0`, {
    extended: row(12, 0x03, 1, 320),
  }),
  sketched("320 of eight bytes, twelve apart", `${FULL} 4`, { extended: row(12, 0x0e, 1, 320) }),
  sketched("240 of eight bytes, sixteen apart", 0xff8, { extended: row(16, 0x0e, 1, 240) }),
  sketched("960 of four bytes", `${FULL} 0`, { extended: row(4, 0x0f00, 1, 960) }),
  sketched("PASID alone", "the function has one: PASID (0x100-0x107)", {
    extended: [[0x100, 0x1b, 1]],
  }),
  sketched("two PASIDs", "the function has one: PASID (0x150-0x157)", {
    extended: [AER, [0x150, 0x1b, 1], [0x160, 0x1b, 1]],
  }),
  sketched("PASID before a loop", "the function has one: PASID (0x150-0x157)", {
    extended: [AER, [0x150, 0x1b, 1]],
  }, (s) => point(s, 0x150, 0x100)),
  sketched("PASID out of the list", 0x160, { extended: [AER], hidden: { 0x150: 0x0001_001b } }),
  sketched("an empty list, registers from 0x104 on", 0x910, { runs: "104-20f" }),
  sketched("an empty list, registers from 0x118 on", 0x100, { runs: "118-fff" }),
  sketched("an empty list, registers from 0x114 on", 0x100, { runs: "114-fff" }),
  sketched("an empty list that reads 0xffff", 0x100, { hidden: { 0x100: 0xffff } }),
  sketched("an empty list that reads ones, and zeros", 0x100, { hidden: { 0x100: 0xffff_ffff } }),
  filled("extended space that does not answer", 0x100, new Uint8Array(0xf00).fill(0xff)),
  sketched("registers with eight bytes between", 0x7f0, {
    extended: [AER],
    runs: "12c-7ef 7f8-fff",
  }),
  sketched("registers with four bytes between", `${FULL} 4`, {
    extended: [AER],
    runs: "12c-7ef 7f4-fff",
  }),
  sketched("an empty list, registers from 0x10c on", 0x100, { runs: "10c-fff" }),
  sketched("an empty list, registers but for eight bytes", 0x400, { runs: "104-3ff 408-fff" }),
  sketched("a register in each sixteen bytes", 0x108, { extended: [[0x100, 0x0e, 1]] }, (s) => {
    for (let at = 0x110; at < 0x1000; at += 16) s[at] = 1;
  }),
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((seed): HostileSpace => ({
    name: `noise of seed ${seed}`,
    space: noise(seed, 4096),
    place: "Cannot insert a PASID capability",
  })),
  ...[11, 12, 13, 14, 15, 16, 17, 18].map((seed) =>
    filled(
      `an endpoint with noise of seed ${seed}`,
      "Cannot insert a PASID capability",
      noise(seed, 0xf00),
    )
  ),
  {
    name: "vfio's view of a function with unknown capabilities alone",
    space: asVfioShows({
      name: "",
      extended: [[0x100, 0x19, 1], [0x130, 0x26, 1], [0x160, 0x27, 1]],
    }),
    place: 0x100,
  },
];
