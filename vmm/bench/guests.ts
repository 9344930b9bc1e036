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
import { type Member, takeTurns } from "./turns.ts";

/** How thoroughly. */
export interface Thoroughness {
  /** How often each guest measures all mappings. */
  readonly rounds: number;
  /** How long each mapping is measured each time, in seconds. */
  readonly seconds: number;
  /** By how many threads at once, and of how many pages. */
  readonly threads: readonly number[];
  readonly pages: readonly number[];
}

/** An SMMU, and how to run a guest behind it. */
interface Subject extends Column {
  readonly run: Member<readonly GuestEvent[]>;
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
 * Before all of them, and not told: by then engines have compiled what is used, QEMU's of the guest and ours of the
 * device.
 */
const WARM_UP: Mapping = { threads: 1, pages: 1, isScattered: false };

/** How many guests there are. */
const SUBJECTS = 5;

/** What the guest does, in this order. */
const ACTIONS = ["maps", "bench"];

/**
 * The medians of what all guests measured, in turns, so that all meet the same noise: while one measures the others wait.
 * Throws an `EnvironmentError` when one did not do all it was told.
 */
export async function measureGuests(
  guest: MicrovmOptions,
  thoroughness: Thoroughness,
): Promise<GuestTable> {
  const mappings = mappingsOf(thoroughness);
  const { progress, signal } = guest;
  const parts = await provision({ ...guest.parts, progress, signal });
  const append = `${wordsOf(mappings, thoroughness)} ${guest.append}`.trim();
  const subjects = subjectsOf({ ...guest, append, actions: ACTIONS }, parts);
  const members = subjects.map(
    ({ name, run }, at): Member<readonly GuestEvent[]> => (turn, signal) => {
      progress(`Starting a guest, ${name}`);
      let turns = 0;
      const told = async (): Promise<void> => {
        await turn();
        progress(`Measuring all guests in turns, ${++turns}`);
      };
      return run(at === 0 ? told : turn, signal);
    },
  );
  const said = await takeTurns(members, signal);
  return guestTable(subjects, said, mappings);
}

/** What the guests are told. */
function wordsOf(mappings: readonly Mapping[], { rounds, seconds }: Thoroughness): string {
  const [before, ...wanted] = [WARM_UP, ...mappings].map(({ threads, pages, isScattered }) =>
    `${threads}:${pages}:${Number(isScattered)}`
  );
  return [
    "iommu.strict=1 vsmmu.turns=1",
    `vsmmu.before=${before} vsmmu.maps=${wanted.join(",")}`,
    `vsmmu.rounds=${rounds} vsmmu.seconds=${seconds}`,
  ].join(" ");
}

function subjectsOf(guest: MicrovmOptions, parts: Provisioned): Subject[] {
  // Each waits for the others as well.
  const common = { ...guest, timeoutSeconds: guest.timeoutSeconds * SUBJECTS };
  const peer = (hasSmmu: boolean): Subject["run"] => (turn, signal) =>
    runPeerGuest({ ...common, turn, signal, parts, hasSmmu });
  const own = { ...guest.parts, refresh: false, verify: false };
  const ours = (registers: RegisterChoice): Subject["run"] => (turn, signal) =>
    runOurs({ ...common, turn, signal, registers, parts: own });
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
