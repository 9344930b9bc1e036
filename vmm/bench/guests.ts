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

/** An SMMU: ours, or QEMU's or none. */
type Subject = Column & ({ readonly registers: RegisterChoice } | { readonly hasSmmu: boolean });

const SUBJECTS: readonly Subject[] = [
  { name: "QEMU's own SMMU", hasSmmu: true },
  { name: "ours, trapped", mostUnmap: 12, registers: "trapped" },
  { name: "ours, mapped", mostUnmap: 1.2, registers: "mapped" },
  { name: "ours, auto", registers: "auto" },
  { name: "no SMMU", hasSmmu: false },
];

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
  // Each waits for the others as well.
  const { rounds, seconds } = thoroughness;
  const aloneSeconds = guest.timeoutSeconds + 2 * rounds * seconds * mappings.length;
  const timeoutSeconds = aloneSeconds * SUBJECTS.length;
  const common = { ...guest, append, actions: ACTIONS, timeoutSeconds };
  const members = SUBJECTS.map(
    (subject, at): Member<readonly GuestEvent[]> => (turn, signal) => {
      progress(`Starting a guest, ${subject.name}`);
      let turns = 0;
      const told = async (): Promise<void> => {
        await turn();
        progress(`Measuring all guests in turns, ${++turns}`);
      };
      return run(subject, { ...common, turn: at === 0 ? told : turn, signal }, parts);
    },
  );
  const said = await takeTurns(members, signal);
  return guestTable(SUBJECTS, said, mappings);
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

function run(subject: Subject, guest: MicrovmOptions, parts: Provisioned): Promise<GuestEvent[]> {
  if ("hasSmmu" in subject) return runPeerGuest({ ...guest, parts, hasSmmu: subject.hasSmmu });
  const { registers } = subject;
  return runOurs({ ...guest, registers, parts: { ...guest.parts, refresh: false, verify: false } });
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
