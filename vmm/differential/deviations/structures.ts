/**
 * The structures by which a transaction goes, as memory has them when it begins. Commands follow each change of them, so
 * what a device has cached is the same.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import { CD } from "../../../hw/smmuv3/spec/cd.ts";
import { REG, STRTAB_BASE_CFG } from "../../../hw/smmuv3/spec/registers.ts";
import { Config, L1STD, STE, STE_SIZE } from "../../../hw/smmuv3/spec/ste.ts";
import { PLACE } from "../ground.ts";
import type { Program } from "../program.ts";
import { isTransfer, type StepDifference, written } from "./evidence.ts";

const CD_SIZE = 64;

/** Where the second-level table of a stream ends, and which entry of it is asked for. */
export interface Span {
  readonly index: number;
  /** L1STD.Span: there are 2^(span-1) entries, none when it is 0. */
  readonly span: number;
}

/** The STE of the stream that a transfer is of. */
export function steOf(difference: StepDifference): Uint32Array {
  const { program, index } = difference;
  return wordsAt(program, index, steAddress(difference), STE_SIZE);
}

/** The CD of the stream that a transfer is of; zeros without stage 1. */
export function cdOf(difference: StepDifference): Uint32Array {
  const ste = steOf(difference);
  if (!hasStage1(ste)) return new Uint32Array(CD_SIZE / 4);
  // Where stage 2 moves it, it moves it by 4 GiB.
  const gpa = (ste[0] & ~(CD_SIZE - 1)) >>> 0;
  return wordsAt(difference.program, difference.index, gpa, CD_SIZE);
}

/** What the first level says; undefined where there is one level. */
export function spanOf(difference: StepDifference): Span | undefined {
  const { fmt, split } = formOf(difference);
  if (fmt !== 1) return undefined;
  const index = streamOf(difference) & ((1 << split) - 1);
  const [low] = wordsAt(difference.program, difference.index, descriptorOf(difference, split), 8);
  return { index, span: get(Uint32Array.of(low), L1STD.Span) };
}

/** Stage 1 translates. */
export function hasStage1(ste: Uint32Array): boolean {
  return [Config.Stage1 as number, Config.Nested].includes(get(ste, STE.Config));
}

/** Stage 2 translates. */
export function hasStage2(ste: Uint32Array): boolean {
  return [Config.Stage2 as number, Config.Nested].includes(get(ste, STE.Config));
}

/** Both do. */
export function isNested(ste: Uint32Array): boolean {
  return get(ste, STE.Config) === Config.Nested;
}

/** Significant bits of an address that stage 1 takes, in the range of TTB0 and in that of TTB1. */
export function stage1Sizes(cd: Uint32Array): [number, number] {
  return [64 - get(cd, CD.T0SZ), 64 - get(cd, CD.T1SZ)];
}

/** log2 of the granules of stage 1, of TTB0 and TTB1; 0 for a reserved one. */
export function stage1Granules(cd: Uint32Array): [number, number] {
  return [[12, 16, 14, 0][get(cd, CD.TG0)], [0, 14, 12, 16][get(cd, CD.TG1)]];
}

/** log2 of the granule of stage 2; 0 for a reserved one. */
export function stage2Granule(ste: Uint32Array): number {
  return [12, 16, 14, 0][get(ste, STE.S2TG)];
}

/** How many bits of an input choose an entry of the first table of stage 2, and how many there are in a table. */
export function stage2Start(ste: Uint32Array): { indexBits: number; stride: number } {
  const log2granule = stage2Granule(ste);
  const stride = log2granule - 3;
  const below = [2, 1, 0, -1][get(ste, STE.S2SL0)] + (log2granule === 12 ? 0 : 1);
  const level = below < 0 ? 3 : below;
  return { indexBits: 64 - get(ste, STE.S2T0SZ) - log2granule - (3 - level) * stride, stride };
}

function streamOf({ step }: StepDifference): number {
  return isTransfer(step) ? step.stream : 0;
}

function formOf(difference: StepDifference): { fmt: number; split: number } {
  const form = Uint32Array.of(written(difference, REG.STRTAB_BASE_CFG.offset) ?? 0);
  return { fmt: get(form, STRTAB_BASE_CFG.FMT), split: get(form, STRTAB_BASE_CFG.SPLIT) };
}

function descriptorOf(difference: StepDifference, split: number): number {
  return PLACE.streamTable + (streamOf(difference) >>> split) * 8;
}

function steAddress(difference: StepDifference): number {
  const stream = streamOf(difference);
  const { fmt, split } = formOf(difference);
  if (fmt !== 1) return PLACE.streamTable + stream * STE_SIZE;
  const [low] = wordsAt(difference.program, difference.index, descriptorOf(difference, split), 8);
  return ((low & ~(STE_SIZE - 1)) >>> 0) + (stream & ((1 << split) - 1)) * STE_SIZE;
}

/** What is at an address before a step: zero where nothing was stored. */
function wordsAt(
  { steps }: Program,
  index: number,
  gpa: number,
  sizeBytes: number,
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(sizeBytes / 4);
  const view = new DataView(words.buffer);
  for (let i = 0; i < index; i++) {
    const step = steps[i];
    if (step.kind !== "store" || step.gpa < gpa || step.gpa >= gpa + sizeBytes) continue;
    view.setBigUint64(step.gpa - gpa, step.value, true);
  }
  return words;
}
