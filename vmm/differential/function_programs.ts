/**
 * How the functions that make DMA are driven: the registers of QEMU's `iommu-testdev` and `edu`.
 * @module
 */
import { COPY_BUFFER, COPY_COMMAND, COPY_REG } from "./copy_device.ts";
import { COPY } from "./ground.ts";
import type { Operation } from "./subject.ts";

/** A write to a function's register. */
export interface FunctionWrite {
  readonly offset: number;
  readonly value: bigint;
  readonly bytes: 4 | 8;
}

const TEST_REG = {
  iovaLo: 0x04,
  iovaHi: 0x08,
  length: 0x0c,
  result: 0x10,
  doorbell: 0x14,
  attributes: 0x18,
  gpaLo: 0x1c,
  gpaHi: 0x20,
} as const;
/** Non-secure, and said so. */
const NON_SECURE = 0b1010;

/** What has the test device write; a read of its first register starts it. */
export function testWrites(
  { iova, bytes, gpa }: Extract<Operation, { kind: "dma-write" }>,
): FunctionWrite[] {
  const words: readonly (readonly [number, bigint | number])[] = [
    [TEST_REG.iovaLo, iova & 0xffff_ffffn],
    [TEST_REG.iovaHi, iova >> 32n],
    [TEST_REG.length, bytes],
    [TEST_REG.attributes, NON_SECURE],
    [TEST_REG.gpaLo, gpa],
    [TEST_REG.gpaHi, 0],
    [TEST_REG.doorbell, 1],
  ];
  return words.map(([offset, value]) => ({ offset, value: BigInt(value), bytes: 4 }));
}

/** What came of it. */
export function resultOf(read: (offset: number) => number): number {
  return read(TEST_REG.result);
}

/** Where the result is. */
export const RESULT_OFFSET: number = TEST_REG.result;

/** What has the reader read a part, or read or write everything that it holds. */
export function copyWrites(
  operation: Extract<Operation, { kind: "dma-read" | "dma-load" | "dma-dump" }>,
): FunctionWrite[] {
  const isPart = operation.kind === "dma-read";
  const writes = operation.kind === "dma-dump";
  const ours = BigInt(COPY_BUFFER + (isPart ? operation.slot * COPY.slotBytes : 0));
  const [source, target] = writes ? [ours, operation.iova] : [operation.iova, ours];
  const count = BigInt(isPart ? operation.bytes : COPY.bufferBytes);
  const command = BigInt(COPY_COMMAND.run | (writes ? COPY_COMMAND.toMemory : 0));
  return [
    { offset: COPY_REG.source, value: source, bytes: 8 },
    { offset: COPY_REG.target, value: target, bytes: 8 },
    { offset: COPY_REG.count, value: count, bytes: 8 },
    { offset: COPY_REG.command, value: command, bytes: 8 },
  ];
}
