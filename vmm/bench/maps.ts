/**
 * What a guest pays for DMA mappings: Linux's own benchmark of them behind each SMMU, in one run.
 * @module
 */
import { type MicrovmOptions, runMicrovm } from "../microvm.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import { provision } from "../provision/provision.ts";
import { median } from "./compare.ts";
import type { Measure } from "./measure.ts";
import { runPeerGuest } from "./peer_guest.ts";

/** What is measured: threads at once, pages of a mapping, whether they are scattered. */
interface Mapping {
  readonly threads: number;
  readonly pages: number;
  readonly isScattered: boolean;
}

type MapEvent = Extract<GuestEvent, { kind: "map" }>;

/** Whose SMMU it is, and how often QEMU's own time an unmap may take there. */
interface Column {
  readonly name: string;
  readonly most?: number;
  readonly run: (commandLine: string) => Promise<readonly GuestEvent[]>;
}

const ALL: readonly Mapping[] = [1, 2, 4].flatMap((threads) =>
  [1, 16, 64].flatMap((pages) =>
    [false, true].map((isScattered) => ({ threads, pages, isScattered }))
  )
);
/** Scattered single pages are single pages. */
const MAPPINGS = ALL.filter(({ pages, isScattered }) => pages > 1 || !isScattered);

/** The measures, each the median of `rounds` runs of every guest, in turns. Throws an `EnvironmentError`. */
export async function measureMaps(
  guest: MicrovmOptions,
  rounds: number,
  seconds: number,
): Promise<Measure[]> {
  const { progress } = guest;
  const taken = new Map<string, MapEvent[]>();
  const columns = await columnsOf(guest);
  const wanted = MAPPINGS.map(({ threads, pages, isScattered }) =>
    `${threads}:${pages}:${Number(isScattered)}`
  );
  const words = `vsmmu.maps=${wanted.join(",")} vsmmu.seconds=${seconds}`;
  for (let round = 1; round <= rounds; round++) {
    for (const { name, run } of columns) {
      progress(`Measuring DMA mappings, ${name}, ${round} of ${rounds}`);
      const maps = (await run(words)).filter((event) => event.kind === "map");
      taken.set(name, [...taken.get(name) ?? [], ...maps]);
    }
  }
  return MAPPINGS.flatMap((mapping) =>
    (["map", "unmap"] as const).flatMap((what) => rows(mapping, what, columns, taken))
  );
}

async function columnsOf(guest: MicrovmOptions): Promise<Column[]> {
  const parts = await provision({
    ...guest.parts,
    progress: guest.progress,
    signal: guest.signal,
  });
  const { cpuCount, memoryMiB, timeoutSeconds, signal } = guest;
  const peer = (words: string): Promise<GuestEvent[]> =>
    runPeerGuest({
      parts,
      cpuCount,
      memoryMiB,
      timeoutSeconds,
      signal,
      commandLine: `console=ttyAMA0 vsmmu.run=maps ${words} ${guest.append}`.trim(),
    });
  const ours = (choice: Partial<MicrovmOptions>, more = "") => async (words: string) => {
    const append = `${words} ${more} ${guest.append}`.trim();
    const events: GuestEvent[] = [];
    await runMicrovm({
      ...guest,
      ...choice,
      append,
      actions: ["maps"],
      judge: (said) => {
        events.push(...said);
        return [];
      },
    });
    return events;
  };
  return [
    { name: "QEMU's own SMMU", run: peer },
    { name: "ours, trapped", most: 12, run: ours({ registers: "trapped" }) },
    { name: "ours, mapped", most: 1.2, run: ours({ registers: "mapped" }) },
    { name: "no SMMU", run: ours({}, "iommu.passthrough=1") },
  ];
}

/** A row for each column; the first is the yardstick. */
function rows(
  { threads, pages, isScattered }: Mapping,
  what: "map" | "unmap",
  columns: readonly Column[],
  taken: ReadonlyMap<string, readonly MapEvent[]>,
): Measure[] {
  const times = columns.map(({ name }) =>
    (taken.get(name) ?? [])
      .filter((event) =>
        event.threads === threads && event.pages === pages && event.isScattered === isScattered
      )
      .map((event) => what === "map" ? event.mapUs : event.unmapUs)
  );
  const [yardstick] = times.map(medianOf);
  const subject = `${what} ${pages}${isScattered ? "s" : ""} x${threads}`;
  return columns.flatMap(({ name, most }, i) => {
    const value = medianOf(times[i]);
    if (value === undefined) return [];
    const measure = { name: `${subject}, ${name}`, value, unit: "µs" };
    if (i === 0 || !yardstick) return [measure];
    const ratio = value / yardstick;
    // The aim is for one thread, where nothing waits for anything else.
    const isAimed = what === "unmap" && most !== undefined && threads === 1;
    return [{
      ...measure,
      yardstick,
      ratio,
      ...(isAimed ? { aim: `at most ${most} of QEMU's own SMMU`, isWithin: ratio <= most } : {}),
    }];
  });
}

function medianOf(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : median(values);
}
