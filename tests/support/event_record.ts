/**
 * The record of a fault of translation, as the manual has it. IHI 0070 §7.3.
 * @module
 */
import type { Access, Failure } from "./reference_walk.ts";

const NUMBERS = { EABT: 0x0b, TRANSLATION: 0x10, ADDR_SIZE: 0x11, ACCESS: 0x12, PERMISSION: 0x13 };
const CLASSES = { CD: 0n, TT: 1n, IN: 2n };

/** The four quads of the record of a stream without a substream. */
export function eventRecord(
  streamId: number,
  failure: Failure,
  iova: bigint,
  { kind, privileged }: Access,
): bigint[] {
  const { name, stage, klass, ipa, fetch, tableWrite } = failure;
  let word1 = CLASSES[klass] << 40n;
  if (privileged) word1 |= 1n << 33n;
  if (kind === "execute") word1 |= 1n << 34n;
  if (kind !== "write") word1 |= 1n << 35n;
  if (stage === 2) word1 |= 1n << 39n;
  if (tableWrite === false) word1 |= 1n << 44n;
  const last = name === "EABT" ? fetch! : stage === 2 ? ipa! : 0n;
  return [BigInt(NUMBERS[name]) | (BigInt(streamId) << 32n), word1, iova, last];
}
