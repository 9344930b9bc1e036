/**
 * Streams with their STEs, CDs and tables, chosen at random and legal; and the addresses that are worth a visit.
 * @module
 */
import { CD } from "../../hw/smmuv3/spec/cd.ts";
import { Config, L1STD, STE } from "../../hw/smmuv3/spec/ste.ts";
import { NOWHERE, PLACE, STREAMS, WRITERS } from "./ground.ts";
import { Image } from "./image.ts";
import type { Random } from "../random.ts";
import { firstLevelOf, type Leaf, shiftOf, TableBuilder } from "./table_builder.ts";

/** A page that a stream can be sent to. */
export interface Visit {
  readonly iova: bigint;
  /** Where it leads when nothing forbids. */
  readonly gpa: number;
  /** Size of the page, or of what is there instead, in bytes. */
  readonly sizeBytes: number;
  /** Leaves on the way, of each stage that translates. */
  readonly leaves: readonly { readonly stage: 1 | 2; readonly leaf: Leaf }[];
}

/** A stream. */
export interface SceneStream {
  readonly streamId: number;
  readonly ste: number;
  /** Where its CD is; 0 without. */
  readonly cd: number;
  readonly config: number;
  readonly asid: number;
  readonly vmid: number;
  /** Another stream has the same CD and tables, and the same visits. */
  readonly isShared: boolean;
  readonly granules: { readonly stage1: number; readonly stage2: number };
  readonly visits: readonly Visit[];
  /** Both stages: leaves of stage 2 where the CD and the tables of stage 1 are. */
  readonly below: readonly Leaf[];
  /** Both stages: what has to be added to a physical address to get that of the guest. */
  readonly delta: number;
}

/** What registers say of the stream table. */
export interface StreamTableForm {
  readonly log2size: number;
  readonly split: number;
  readonly twoLevel: boolean;
}

/** Everything that a program begins with. */
export interface Scene {
  readonly image: Image;
  readonly streams: readonly SceneStream[];
  readonly table: StreamTableForm;
  /** Where the first-level descriptors are that were made. */
  readonly l1: readonly number[];
}

const AF = 1n << 10n;
const NOT_GLOBAL = 1n << 11n;
/** Leaf attributes of stage 1: AP is bits 7:6. */
const UNPRIVILEGED = 1n << 6n;
const READ_ONLY = 1n << 7n;
/** Of stage 2: normal memory, and S2AP in bits 7:6. */
const S2_NORMAL = 0b1111n << 2n;
const S2_ALL = 0b11n << 6n;
const TG0_OF: Readonly<Record<number, number>> = { 12: 0, 14: 2, 16: 1 };
const TG1_OF: Readonly<Record<number, number>> = { 12: 2, 14: 1, 16: 3 };
const GRANULES = [12, 12, 14, 16] as const;
/** STE.S2SL0 by granule and level. */
const SL0: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  12: { 2: 0, 1: 1, 0: 2 },
  14: { 3: 0, 2: 1, 1: 2 },
  16: { 3: 0, 2: 1, 1: 2 },
};
const ASIDS = [1, 2, 0x1e20];
/** One for each stream: with the same one, different tables would be a mistake of software. */
const VMIDS = [1, 0x300, 7];

/** A scene of up to three streams. */
export function makeScene(random: Random): Scene {
  const image = new Image();
  const twoLevel = random.chance(0.4);
  const split = random.of([6, 8, 10]);
  const table = { twoLevel, split, log2size: random.of([7, 8, twoLevel ? 16 : 9]) };
  const l1: number[] = [];
  const leafTables = new Map<number, number>();
  const steOf = (streamId: number): number => {
    if (!twoLevel) return PLACE.streamTable + streamId * 64;
    const index = streamId >>> split;
    const size = 64 << split;
    let leafTable = leafTables.get(index);
    if (leafTable === undefined) {
      leafTable = PLACE.leafTables + leafTables.size * 0x1_0000;
      leafTable += leafTable % size;
      leafTables.set(index, leafTable);
      const descriptor = PLACE.streamTable + index * 8;
      image.set(descriptor, L1STD.L2Ptr, leafTable);
      image.set(descriptor, L1STD.Span, split + 1);
      l1.push(descriptor);
    }
    return leafTable + (streamId & ((1 << split) - 1)) * 64;
  };
  const count = random.between(1, 3);
  const ids = random.shuffled(STREAMS);
  const streams: SceneStream[] = [];
  for (let i = 0; i < count; i++) {
    const [first] = streams;
    const isShared = first !== undefined && random.chance(0.5);
    const streamId = take(ids, isShared ? !isWriter(first.streamId) : isWriter(ids[0]));
    const ste = steOf(streamId);
    if (isShared) {
      for (let at = 0; at < 64; at += 8) image.store(ste + at, image.load(first.ste + at));
      streams[0] = { ...first, isShared: true };
      streams.push({ ...first, streamId, ste, isShared: true });
    } else {
      const cd = PLACE.contexts + i * 0x1000;
      streams.push(makeStream(random, image, streamId, ste, cd, VMIDS[i]));
    }
  }
  return { image, streams, table, l1 };
}

function isWriter(streamId: number): boolean {
  return WRITERS.includes(streamId);
}

/** Takes an id out of `ids`: one of a function that writes, or reads, where there is one left. */
function take(ids: number[], writes: boolean): number {
  const at = ids.findIndex((id) => isWriter(id) === writes);
  return ids.splice(Math.max(at, 0), 1)[0];
}

function makeStream(
  random: Random,
  image: Image,
  streamId: number,
  ste: number,
  cd: number,
  vmid: number,
): SceneStream {
  const config = random.of([
    ...[Config.Stage1, Config.Stage1, Config.Stage1],
    ...[Config.Stage2, Config.Stage2],
    ...[Config.Nested, Config.Nested, Config.Nested],
    Config.Bypass,
    0,
  ]);
  const asid = random.of(ASIDS);
  image.set(ste, STE.V, 1);
  image.set(ste, STE.Config, config);
  image.set(ste, STE.S2VMID, vmid);
  // An STE of stage 2 without it ends QEMU.
  image.set(ste, STE.S2AA64, 1);
  // At address 0 QEMU has memory; what nobody set leads to where nothing is for both.
  image.set(ste, STE.S1ContextPtr, NOWHERE);
  const common = { streamId, ste, config, asid, vmid, isShared: false };
  if (config < Config.Stage1) {
    const visits = [0x41_6f_00_00, 0x41_70_00_00].map((gpa) => ({
      iova: BigInt(gpa),
      gpa,
      sizeBytes: 0x1000,
      leaves: [],
    }));
    return { ...common, cd: 0, visits, granules: { stage1: 12, stage2: 12 }, below: [], delta: 0 };
  }
  const stage2 = (config & 2) === 0 ? undefined : makeStage2(random, image, ste);
  const delta = stage2?.delta ?? 0;
  const granules = { stage1: 12, stage2: stage2?.tables.form.log2granule ?? 12 };
  if (config === Config.Stage2) {
    return {
      ...common,
      cd: 0,
      visits: stage2Visits(random, image, stage2!),
      granules,
      below: [],
      delta,
    };
  }
  const { visits, tables, below } = makeStage1(random, image, ste, cd, asid, stage2);
  granules.stage1 = tables[0].form.log2granule;
  return { ...common, cd, visits, granules, below, delta };
}

interface Stage2 {
  readonly tables: TableBuilder;
  readonly delta: number;
}

function makeStage2(random: Random, image: Image, ste: number): Stage2 {
  const log2granule = random.of(GRANULES);
  const stride = log2granule - 3;
  const concatenates = random.chance(0.1);
  const form = random.of(
    [0, 1, 2, 3].flatMap((firstLevel) =>
      [25, 32, 36, 40, 44].filter((inputBits) => {
        if (SL0[log2granule][firstLevel] === undefined || inputBits < 32) return false;
        const index = inputBits - shiftOf(log2granule, firstLevel);
        // QEMU does not find its way in more than one first table; and sixteen of 64 KiB take all of the window.
        return index >= 1 && index <= stride + (concatenates ? log2granule === 12 ? 4 : 2 : 0);
      }).map((inputBits) => ({ log2granule, inputBits, firstLevel }))
    ),
  );
  const tables = new TableBuilder(image, form);
  const delta = form.inputBits > 32 && random.chance(0.5) ? 0x1_0000_0000 : 0;
  image.set(ste, STE.S2T0SZ, 64 - form.inputBits);
  image.set(ste, STE.S2SL0, SL0[log2granule][form.firstLevel]);
  image.set(ste, STE.S2TG, TG0_OF[log2granule]);
  image.set(ste, STE.S2PS, random.chance(0.1) ? 2 : random.of([4, 5]));
  image.set(ste, STE.S2R, random.chance(0.9) ? 1 : 0);
  image.set(ste, STE.S2AFFD, random.chance(0.2) ? 1 : 0);
  image.set(ste, STE.S2TTB, tables.root);
  return { tables, delta };
}

/** What guests and drivers set: everything allowed, less, nothing, or no access flag. */
function stage2Attributes(random: Random): bigint {
  const permissions = random.of([S2_ALL, S2_ALL, S2_ALL, 0b01n << 6n, 0b10n << 6n, 0n]);
  return S2_NORMAL | permissions | (random.chance(0.9) ? AF : 0n);
}

function stage2Visits(random: Random, image: Image, { tables }: Stage2): Visit[] {
  const { log2granule, inputBits } = tables.form;
  const visits: Visit[] = [];
  const base = baseOf(random, inputBits, 21);
  for (let i = 0; i < 5; i++) {
    const level = levelOf(random, log2granule, tables.form.firstLevel);
    const size = 2 ** shiftOf(log2granule, level);
    const iova = level === 3 ? base + BigInt(i * size) : blockBase(random, inputBits, size);
    if (i === 4) {
      visits.push({ iova: base + BigInt(i * size), gpa: PLACE.data, sizeBytes: size, leaves: [] });
      continue;
    }
    const { gpa, inside } = target(image, log2granule, size);
    const leaf = tables.map(iova, gpa, level, stage2Attributes(random));
    visits.push({
      iova: iova + BigInt(inside),
      gpa: gpa + inside,
      sizeBytes: 2 ** log2granule,
      leaves: [{ stage: 2, leaf }],
    });
  }
  return visits;
}

function makeStage1(
  random: Random,
  image: Image,
  ste: number,
  cd: number,
  asid: number,
  stage2: Stage2 | undefined,
): { visits: Visit[]; tables: TableBuilder[]; below: Leaf[] } {
  const delta = stage2?.delta ?? 0;
  const useUpper = random.chance(0.3);
  const ranges = useUpper ? [false, true] : [false];
  const visits: Visit[] = [];
  const trees: TableBuilder[] = [];
  for (const upper of ranges) {
    const log2granule = random.of(GRANULES);
    const inputBits = random.of([48, 48, 39, 39, 36, 32, 25, random.between(25, 48)]);
    const firstLevel = firstLevelOf(log2granule, inputBits);
    const tables = new TableBuilder(image, { log2granule, inputBits, firstLevel }, delta);
    trees.push(tables);
    visits.push(...stage1Visits(random, image, tables, upper, stage2));
    image.set(cd, upper ? CD.T1SZ : CD.T0SZ, 64 - inputBits);
    image.set(cd, upper ? CD.TG1 : CD.TG0, upper ? TG1_OF[log2granule] : TG0_OF[log2granule]);
    image.set(cd, upper ? CD.TTB1 : CD.TTB0, tables.root);
  }
  if (!useUpper) {
    image.set(cd, CD.EPD1, 1);
    image.set(cd, CD.TTB1, NOWHERE);
    image.set(cd, CD.T1SZ, 16);
    image.set(cd, CD.TG1, TG1_OF[12]);
  }
  image.set(cd, CD.V, 1);
  image.set(cd, CD.AA64, 1);
  image.set(cd, CD.A, 1);
  image.set(cd, CD.R, random.chance(0.9) ? 1 : 0);
  image.set(cd, CD.AFFD, random.chance(0.2) ? 1 : 0);
  image.set(cd, CD.IPS, random.of([4, 4, 5, 2]));
  image.set(cd, CD.ASET, 1);
  if (random.chance(0.2)) image.set(cd, CD.TBI, random.between(1, 3));
  image.set(cd, CD.ASID, asid);
  image.set(ste, STE.S1ContextPtr, random.chance(0.04) ? NOWHERE : cd + delta);
  const below: Leaf[] = [];
  if (stage2 !== undefined) {
    const pages = [cd - cd % 0x1000, ...trees.flatMap(({ tables }) => tables)];
    const size = 2 ** stage2.tables.form.log2granule;
    for (const [i, table] of pages.entries()) {
      const bytes = i === 0 ? 0x1000 : 2 ** tableSize(trees, table);
      for (let at = table - table % size; at < table + bytes; at += size) {
        const read = random.chance(0.5) ? S2_ALL : 0b01n << 6n;
        below.push(stage2.tables.map(BigInt(at + delta), at, 3, S2_NORMAL | read | AF));
      }
    }
  }
  return { visits, tables: trees, below };
}

function tableSize(trees: readonly TableBuilder[], table: number): number {
  return trees.find(({ tables }) => tables.includes(table))!.form.log2granule;
}

function stage1Visits(
  random: Random,
  image: Image,
  tables: TableBuilder,
  upper: boolean,
  stage2: Stage2 | undefined,
): Visit[] {
  const { log2granule, inputBits, firstLevel } = tables.form;
  const extend = (input: bigint): bigint => upper ? input | (-1n << BigInt(inputBits)) : input;
  const visits: Visit[] = [];
  const base = baseOf(random, inputBits, log2granule + 3);
  for (let i = 0; i < 5; i++) {
    const level = levelOf(random, log2granule, firstLevel);
    const size = 2 ** shiftOf(log2granule, level);
    const input = level === 3 ? base + BigInt(i * size) : blockBase(random, inputBits, size);
    const iova = BigInt.asUintN(64, extend(input));
    if (i === 4) {
      const unmapped = BigInt.asUintN(64, extend(base + BigInt(i * 2 ** log2granule)));
      visits.push({ iova: unmapped, gpa: PLACE.data, sizeBytes: 2 ** log2granule, leaves: [] });
      continue;
    }
    const { gpa, inside } = target(image, Math.max(log2granule, 12), size);
    const attributes = random.of([UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED | READ_ONLY]) |
      (random.chance(0.8) ? NOT_GLOBAL : 0n) | (random.chance(0.92) ? AF : 0n);
    const delta = stage2?.delta ?? 0;
    const leaves: { stage: 1 | 2; leaf: Leaf }[] = [
      { stage: 1, leaf: tables.map(input, gpa + delta, level, attributes) },
    ];
    let pageBytes = 2 ** log2granule;
    if (stage2 !== undefined) {
      const below = stage2.tables;
      const at = gpa + inside;
      const page = 2 ** below.form.log2granule;
      const start = at - at % page;
      const leaf = below.map(BigInt(start + delta), start, 3, stage2Attributes(random));
      leaves.push({ stage: 2, leaf });
      pageBytes = Math.min(pageBytes, page);
    }
    visits.push({
      iova: BigInt.asUintN(64, iova + BigInt(inside)),
      gpa: gpa + inside,
      sizeBytes: pageBytes,
      leaves,
    });
  }
  return visits;
}

/** A page of data, or the block around one. */
function target(
  image: Image,
  log2granule: number,
  sizeBytes: number,
): { gpa: number; inside: number } {
  const page = image.page(2 ** log2granule);
  const gpa = page - page % sizeBytes;
  return { gpa, inside: page - gpa };
}

/** The first of eight pages in a row. */
function baseOf(random: Random, inputBits: number, log2align: number): bigint {
  const input = BigInt.asUintN(inputBits, random.quad());
  return input >> BigInt(log2align) << BigInt(log2align);
}

function blockBase(random: Random, inputBits: number, sizeBytes: number): bigint {
  const size = BigInt(sizeBytes);
  return BigInt.asUintN(inputBits, random.quad()) / size * size;
}

/** Mostly pages; blocks where there are any. Blocks of 1 GiB begin where RAM does. */
function levelOf(random: Random, log2granule: number, firstLevel: number): number {
  if (random.chance(0.75)) return 3;
  const highest = log2granule === 12 ? 1 : 2;
  return Math.max(random.of([2, highest]), firstLevel);
}
