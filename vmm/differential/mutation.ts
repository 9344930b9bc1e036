/**
 * One field that is not as a driver would have it.
 * @module
 */
import type { AddressField, Field } from "../../hw/bits.ts";
import { CD } from "../../hw/smmuv3/spec/cd.ts";
import { L1STD, STE } from "../../hw/smmuv3/spec/ste.ts";
import { NOWHERE } from "./ground.ts";
import type { Image } from "./image.ts";
import type { Random } from "../random.ts";
import type { Scene, SceneStream, Visit } from "./scene.ts";

/** What was changed. */
export interface Mutation {
  /** What it is called, such as `STE.S2R`. */
  readonly name: string;
  /** Where the structure is. */
  readonly gpa: number;
  readonly old: bigint;
  readonly value: bigint;
  /** Where the quad is. */
  readonly at: number;
}

/** Fields whose every value is worth a try. Those with which a guest ends QEMU are left out: STE.S2AA64, and CD.IPS is limited. */
const STE_FIELDS = Object.entries(STE).filter(([name]) => name !== "S2AA64");
/** Those that another stream with the same VMID and tables may have otherwise: what is cached serves both. */
const UNSHARED_STE_FIELDS = STE_FIELDS.filter(([name]) => !/^(Config|S2(?!VMID|R|S$))/.test(name));
const CD_FIELDS = Object.entries(CD).filter(([name]) => !name.startsWith("MAIR"));

/** Bits of descriptors that are not part of an address. */
const LEAF_BITS = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 50, 51, 52, 53, 54, 55, 58, 59, 63];
const TABLE_BITS = [0, 1, 2, 6, 7, 10, 51, 52, 58, 59, 60, 61, 62, 63];
/** Bits of an address with which it leads nowhere, or beyond what IPS or S2PS allow. */
const ADDRESS_BITS = [31, 40, 42, 44, 45, 47];

/** Changes something of a stream in the image. */
export function mutate(random: Random, scene: Scene, stream: SceneStream): Mutation | undefined {
  const { image } = scene;
  const visit = random.of(stream.visits);
  const kind = random.of([
    "ste",
    "ste",
    "cd",
    "cd",
    "leaf",
    "leaf",
    "leaf",
    "table",
    "table",
    "l1",
  ]);
  if (kind === "l1") return scene.l1.length > 0 ? mutateL1(random, image, scene.l1) : undefined;
  if (kind === "ste") {
    const fields = stream.isShared ? UNSHARED_STE_FIELDS : STE_FIELDS;
    return mutateField(random, image, "STE", stream.ste, fields);
  }
  if (kind === "cd") {
    return stream.cd === 0 ? undefined : mutateField(random, image, "CD", stream.cd, CD_FIELDS);
  }
  return mutateDescriptor(random, image, visit, kind === "leaf");
}

function mutateL1(random: Random, image: Image, descriptors: readonly number[]): Mutation {
  const gpa = random.of(descriptors);
  return random.chance(0.8)
    ? change(image, "L1STD.Span", gpa, L1STD.Span, random.below(32))
    : change(image, "L1STD.L2Ptr", gpa, L1STD.L2Ptr, NOWHERE);
}

function mutateField(
  random: Random,
  image: Image,
  structure: string,
  gpa: number,
  fields: readonly (readonly [string, Field | AddressField])[],
): Mutation {
  // There are few addresses among them, and much hangs on those.
  const addresses = fields.filter(([, field]) => !("shift" in field));
  const [name, field] = random.of(addresses.length > 0 && random.chance(0.15) ? addresses : fields);
  const isAddress = !("shift" in field);
  const value = isAddress
    ? random.of([NOWHERE, NOWHERE + 2 ** 43, 2 ** 46 + 0x4100_0000, 2 ** 50 + 0x4100_0000])
    : name === "IPS"
    ? random.below(6)
    : random.below(field.mask + 1);
  return change(image, `${structure}.${name}`, gpa, field, value);
}

function change(
  image: Image,
  name: string,
  gpa: number,
  field: Field | AddressField,
  value: number,
): Mutation {
  const at = gpa + Math.floor(field.low / 64) * 8;
  const old = image.load(at);
  image.set(gpa, field, value);
  image.note(at, name);
  return { name, gpa, at, old, value: image.load(at) };
}

function mutateDescriptor(
  random: Random,
  image: Image,
  visit: Visit,
  isLeaf: boolean,
): Mutation | undefined {
  if (visit.leaves.length === 0) return undefined;
  const { stage, leaf } = random.of(visit.leaves);
  const at = isLeaf ? leaf.descriptor : random.of([...leaf.above, leaf.descriptor]);
  const table = at !== leaf.descriptor;
  const bit = random.chance(0.8)
    ? random.of(table ? TABLE_BITS : LEAF_BITS)
    : random.of(ADDRESS_BITS);
  const old = image.load(at);
  image.store(at, old ^ (1n << BigInt(bit)));
  const name = `stage ${stage} ${table ? "table" : "leaf"} bit ${bit}`;
  image.note(at, name);
  return { name, gpa: at, at, old, value: image.load(at) };
}
