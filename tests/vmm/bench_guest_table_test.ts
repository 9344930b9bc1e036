/**
 * The table of guests behind several SMMUs: which events count where, medians, ratios and aims.
 * @module
 */
import { assertEquals } from "@std/assert";
import { guestTable, type Mapping, tableLines } from "../../vmm/bench/guest_table.ts";
import type { GuestEvent } from "../../vmm/provision/guest_console.ts";

const MAPPINGS: readonly Mapping[] = [
  { threads: 1, pages: 1, isScattered: false },
  { threads: 2, pages: 16, isScattered: true },
];

function map(mapping: Mapping, mapUs: number, unmapUs: number): GuestEvent {
  return { kind: "map", atSeconds: 1, ...mapping, mapUs, unmapUs };
}

function transfer(direction: "read" | "receive", seconds: number): GuestEvent {
  return { kind: "bench", atSeconds: 1, direction, bytes: 0x40_0000, seconds };
}

const [ONE, SCATTERED] = MAPPINGS;
const COLUMNS = [{ name: "theirs" }, { name: "slow", mostUnmap: 12 }, {
  name: "fast",
  mostUnmap: 1.2,
}];
const TABLE = guestTable(COLUMNS, [
  // Out of order, with one that was disturbed: the median is the middle one.
  [
    map(ONE, 2, 900),
    map(ONE, 1, 10),
    map(SCATTERED, 7, 8),
    map(ONE, 3, 8),
    transfer("read", 0.5),
  ],
  [map(ONE, 4, 110), transfer("read", 2), transfer("read", 1), transfer("receive", 4)],
  [{ kind: "kernel", atSeconds: 1, release: "7.3" }, map(ONE, 2, 15)],
], MAPPINGS);

Deno.test("guestTable() has the median of each column, and nothing where nothing was measured", () => {
  assertEquals(TABLE.rows, [
    { name: "map 1 page, 1 thread", unit: "µs", values: [2, 4, 2] },
    { name: "unmap 1 page, 1 thread", unit: "µs", values: [10, 110, 15] },
    { name: "map 16 scattered pages, 2 threads", unit: "µs", values: [7, undefined, undefined] },
    { name: "unmap 16 scattered pages, 2 threads", unit: "µs", values: [8, undefined, undefined] },
    { name: "disk, sequential read", unit: "MiB/s", values: [8, 3, undefined] },
    { name: "network, received", unit: "MiB/s", values: [undefined, 1, undefined] },
  ]);
});

Deno.test("guestTable() judges unmaps of one thread by their ratio to the first column", () => {
  const judged = TABLE.aims.map(({ name, ratio, aim, isWithin }) => [name, ratio, aim, isWithin]);
  assertEquals(judged, [
    ["unmap 1 page, 1 thread: slow", 11, "at most 12 of theirs", true],
    ["unmap 1 page, 1 thread: fast", 1.5, "at most 1.2 of theirs", false],
  ]);
});

Deno.test("tableLines() shows ratios beside all but the first column", () => {
  const lines = tableLines(TABLE).map((line) => line.trim().replaceAll(/ {2,}/g, " | "));
  assertEquals(lines, [
    "theirs | slow | fast",
    "map 1 page, 1 thread | µs | 2.0 | 4.0 | 2.00 | 2.0 | 1.00",
    "unmap 1 page, 1 thread | µs | 10.0 | 110.0 | 11.00 | 15.0 | 1.50",
    "map 16 scattered pages, 2 threads | µs | 7.0 | - | -",
    "unmap 16 scattered pages, 2 threads µs | 8.0 | - | -",
    "disk, sequential read | MiB/s | 8.0 | 3.0 | 0.38 | -",
    "network, received | MiB/s | - | 1.0 | -",
  ]);
});
