/**
 * What guests measured behind several SMMUs, side by side.
 * @module
 */
import { transfersOf } from "../transfers.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import { median } from "./compare.ts";
import type { Measure } from "./measure.ts";

/** Some mappings: threads at it, pages of each, whether they are scattered and so mapped as a list. */
export interface Mapping {
  readonly threads: number;
  readonly pages: number;
  readonly isScattered: boolean;
}

/** How often a guest left for its SMMU while it measured some mappings, and how many of those it removed meanwhile. */
export interface ExitsOfMapping extends Mapping {
  readonly exits: number;
  /** By the time that each took: the benchmark does not tell. */
  readonly unmaps: number;
}

/** A column: whose SMMU it is, and how many times as long as in the first column an unmap may take. */
export interface Column {
  readonly name: string;
  readonly mostUnmap?: number;
}

/** What was measured, in each column: the median, `undefined` where there is nothing. */
export interface Row {
  readonly name: string;
  readonly unit: "µs" | "MiB/s" | "exits";
  readonly values: readonly (number | undefined)[];
}

/** All of it. */
export interface GuestTable {
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
  /** What was aimed at, and whether it was reached. */
  readonly aims: readonly Measure[];
}

/** The names of transfers, by their direction. */
const TRANSFERS: Readonly<Record<string, string>> = {
  read: "disk, sequential read",
  write: "disk, sequential write",
  receive: "network, received",
  send: "network, sent",
};

/**
 * A table of what guests said in all their runs, column by column; and of their exits for their SMMU, where those were
 * counted.
 */
export function guestTable(
  columns: readonly Column[],
  said: readonly (readonly GuestEvent[])[],
  mappings: readonly Mapping[],
  exits: readonly { readonly seen: readonly ExitsOfMapping[] }[] = [],
): GuestTable {
  const row = (
    name: string,
    unit: Row["unit"],
    of: (events: readonly GuestEvent[]) => number[],
  ) => ({
    name,
    unit,
    values: said.map((events) => medianOf(of(events))),
  });
  const all = said.flatMap((events) => transfersOf(events));
  const directions = Object.keys(TRANSFERS).filter((direction) =>
    all.some((transfer) => transfer.direction === direction)
  );
  const transfers = directions.map((direction) =>
    row(
      TRANSFERS[direction],
      "MiB/s",
      (events) =>
        transfersOf(events).filter((transfer) => transfer.direction === direction)
          .map(({ bytes, seconds }) => bytes / seconds / 2 ** 20),
    )
  );
  const unmaps = mappings.map((mapping) =>
    row(
      `unmap ${nameOf(mapping)}`,
      "µs",
      (events) => mapsOf(events, mapping).map(({ unmapUs }) => unmapUs),
    )
  );
  const maps = mappings.map((mapping) =>
    row(
      `map ${nameOf(mapping)}`,
      "µs",
      (events) => mapsOf(events, mapping).map(({ mapUs }) => mapUs),
    )
  );
  const left = exits.length === 0 ? [] : mappings.map((mapping): Row => ({
    name: `exits for an unmap, ${nameOf(mapping)}`,
    unit: "exits",
    values: exits.map(({ seen }) =>
      medianOf(
        seen.filter((each) => isSame(each, mapping)).map(({ exits, unmaps }) => exits / unmaps),
      )
    ),
  }));
  return {
    columns: columns.map(({ name }) => name),
    rows: [...mappings.flatMap((_, i) => [maps[i], unmaps[i]]), ...left, ...transfers],
    // With one thread nothing waits for anything else.
    aims: unmaps.filter((_, i) => mappings[i].threads === 1).flatMap((row) => aimsOf(row, columns)),
  };
}

/** The table for people: each median, and after it the ratio to the first column. */
export function tableLines({ columns, rows }: GuestTable): string[] {
  const width = Math.max(...rows.map(({ name }) => name.length));
  const line = (name: string, unit: string, cells: readonly string[]): string =>
    [name.padEnd(width), unit.padEnd(5), ...cells.map((cell) => cell.padStart(18))].join(" ");
  return [
    line("", "", columns),
    ...rows.map(({ name, unit, values }) => {
      const [yardstick] = values;
      return line(
        name,
        unit,
        values.map((value, i) => {
          if (value === undefined) return "-";
          const ratio = i === 0 || !yardstick ? "" : (value / yardstick).toFixed(2);
          return `${value.toFixed(unit === "exits" ? 2 : 1)} ${ratio.padStart(6)}`;
        }),
      );
    }),
  ];
}

function aimsOf({ name, unit, values }: Row, columns: readonly Column[]): Measure[] {
  const [yardstick] = values;
  return columns.flatMap(({ name: column, mostUnmap }, i) => {
    const value = values[i];
    if (mostUnmap === undefined || value === undefined || !yardstick) return [];
    const ratio = value / yardstick;
    return [{
      name: `${name}: ${column}`,
      value,
      unit,
      yardstick,
      ratio,
      aim: `at most ${mostUnmap} of ${columns[0].name}`,
      isWithin: ratio <= mostUnmap,
    }];
  });
}

function nameOf({ threads, pages, isScattered }: Mapping): string {
  const count = (number: number, what: string): string =>
    `${number} ${what}${number === 1 ? "" : "s"}`;
  return `${count(pages, isScattered ? "scattered page" : "page")}, ${count(threads, "thread")}`;
}

function mapsOf(
  events: readonly GuestEvent[],
  mapping: Mapping,
): Extract<GuestEvent, { kind: "map" }>[] {
  return events.filter((event) => event.kind === "map").filter((event) => isSame(event, mapping));
}

function isSame(mapping: Mapping, { threads, pages, isScattered }: Mapping): boolean {
  return mapping.threads === threads && mapping.pages === pages &&
    mapping.isScattered === isScattered;
}

function medianOf(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : median(values);
}
