/**
 * What a guest pays for its SMMU: Linux's own benchmark of DMA mappings, and the disk, behind each SMMU in one run.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { RegisterChoice } from "../machine_plan.ts";
import { type MicrovmOptions, runMicrovm } from "../microvm.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import { provision, type Provisioned } from "../provision/provision.ts";
import { type Column, type GuestTable, guestTable, type Mapping } from "./guest_table.ts";
import { runPeerGuest } from "./peer_guest.ts";

/** How thoroughly. */
export interface Thoroughness {
  /** How often each guest runs. */
  readonly rounds: number;
  /** How long each mapping is measured in each run, in seconds. */
  readonly seconds: number;
  /** By how many threads at once, and of how many pages. */
  readonly threads: readonly number[];
  readonly pages: readonly number[];
}

/** An SMMU, and how to run a guest behind it. */
interface Subject extends Column {
  readonly run: () => Promise<readonly GuestEvent[]>;
}

/** Mappings by so many threads of so many pages, together and scattered; scattered single pages are single pages. */
function mappingsOf({ threads, pages }: Thoroughness): Mapping[] {
  return threads.flatMap((threads) =>
    pages.flatMap((pages) =>
      (pages === 1 ? [false] : [false, true]).map((isScattered) => ({
        threads,
        pages,
        isScattered,
      }))
    )
  );
}

/**
 * Before all of them, and not counted: by then engines have compiled what is used, QEMU's of the guest and ours of
 * the device, and the registers are where busy guests meet them.
 */
const WARM_UP: Mapping = { threads: 1, pages: 1, isScattered: false };

/** What the guest does, in this order. */
const ACTIONS = ["maps", "bench"];

/**
 * The medians of some runs of every guest, in turns so that all meet the same noise. Throws an `EnvironmentError` when a
 * guest did not do all it was told.
 */
export async function measureGuests(
  guest: MicrovmOptions,
  thoroughness: Thoroughness,
): Promise<GuestTable> {
  const { rounds, seconds } = thoroughness;
  const mappings = mappingsOf(thoroughness);
  const { progress, signal } = guest;
  const parts = await provision({ ...guest.parts, progress, signal });
  const wanted = [WARM_UP, ...mappings].map(({ threads, pages, isScattered }) =>
    `${threads}:${pages}:${Number(isScattered)}`
  );
  const words = `iommu.strict=1 vsmmu.maps=${wanted.join(",")} vsmmu.seconds=${seconds}`;
  const append = `${words} ${guest.append}`.trim();
  const subjects = subjectsOf({ ...guest, append, actions: ACTIONS }, parts);
  const said: GuestEvent[][] = subjects.map(() => []);
  for (let round = 1; round <= rounds; round++) {
    for (const [i, { name, run }] of subjects.entries()) {
      progress(`Measuring a guest, ${name}, ${round} of ${rounds}`);
      said[i].push(...withoutFirst(await run(), "map"));
    }
  }
  return guestTable(subjects, said, mappings);
}

/** All but the first of a kind. */
function withoutFirst(
  events: readonly GuestEvent[],
  kind: GuestEvent["kind"],
): readonly GuestEvent[] {
  const first = events.findIndex((event) => event.kind === kind);
  return events.filter((_, at) => at !== first);
}

function subjectsOf(guest: MicrovmOptions, parts: Provisioned): Subject[] {
  const peer = (hasSmmu: boolean) => (): Promise<GuestEvent[]> =>
    runPeerGuest({ ...guest, parts, hasSmmu });
  const ours = (registers: RegisterChoice) => (): Promise<GuestEvent[]> =>
    runOurs({ ...guest, registers, parts: { ...guest.parts, refresh: false, verify: false } });
  return [
    { name: "QEMU's own SMMU", run: peer(true) },
    { name: "ours, trapped", mostUnmap: 12, run: ours("trapped") },
    { name: "ours, mapped", mostUnmap: 1.2, run: ours("mapped") },
    { name: "ours, auto", run: ours("auto") },
    { name: "no SMMU", run: peer(false) },
  ];
}

/** Runs a guest behind our SMMU; returns what it said. Throws an `EnvironmentError` when something did not hold. */
export async function runOurs(guest: MicrovmOptions): Promise<GuestEvent[]> {
  const events: GuestEvent[] = [];
  const { checks } = await runMicrovm({
    ...guest,
    judge: (said) => {
      events.push(...said);
      return [];
    },
  });
  const failed = checks.find(({ ok }) => !ok);
  if (failed === undefined) return events;
  const failure = events.find((event) => event.kind === "fail");
  throw new EnvironmentError(
    `Cannot measure our SMMUv3: ${failure?.reason ?? `${failed.name}: ${failed.seen}`}`,
  );
}
