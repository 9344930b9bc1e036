/**
 * What a guest pays for our SMMU with a function of the host behind it, beside QEMU's own SMMUs: the accelerated one with the
 * same function, and the emulated one, which can have functions of QEMU alone.
 * @module
 */
import { type GuestTable, guestTable, type Mapping } from "../bench/guest_table.ts";
import { runOurs } from "../bench/guests.ts";
import { runPeerGuest } from "../bench/peer_guest.ts";
import type { MicrovmOptions } from "../microvm.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import type { Provisioned } from "../provision/provision.ts";
import { runAccelerated } from "./accelerated_guest.ts";
import type { SmmuExits } from "./smmu_exits.ts";
import { UnmapExits } from "./unmap_exits.ts";

/** How long each mapping is measured, in seconds, and how often in turns. */
const SECONDS = 2;
const ROUNDS = 3;

/** DMA mappings that are measured. */
const MAPPINGS: readonly Mapping[] = [1, 4].flatMap((threads) =>
  [1, 64].map((pages) => ({ threads, pages, isScattered: false }))
);

/** Has a guest measure them, by the action `maps`. */
const WORDS = `vsmmu.maps=${
  MAPPINGS.map(({ threads, pages }) => `${threads}:${pages}:0`).join(",")
} vsmmu.rounds=${ROUNDS} vsmmu.seconds=${SECONDS}`;

/** The guests, all alike but for what is behind their SMMUs. */
export interface ComparedGuests {
  /** Ours, with the function and a network by it. */
  readonly ours: MicrovmOptions;
  /** What the others are made of. */
  readonly parts: Provisioned;
  /** UEFI: the accelerated SMMU wants ACPI. */
  readonly firmwarePath: string;
  /** PCI address of the function. */
  readonly address: string;
  /** How often guests left for their SMMUs, where that can be counted. */
  readonly exits: SmmuExits | undefined;
}

/** An SMMU, and how to run a guest behind it. */
interface Subject {
  readonly name: string;
  readonly run: (console: (line: string) => void) => Promise<readonly GuestEvent[]>;
}

/**
 * The medians of what they measured, one guest after the other, none of them recorded. Throws an `EnvironmentError`
 * when one did not do all it was told.
 */
export async function compareGuests(guests: ComparedGuests): Promise<GuestTable> {
  const { ours, exits } = guests;
  const subjects = subjectsOf(guests);
  const said: (readonly GuestEvent[])[] = [];
  const left: UnmapExits[] = [];
  for (const { name, run } of subjects) {
    ours.progress(`Measuring a guest, ${name}`);
    const watch = new UnmapExits(() => exits?.count ?? 0, SECONDS);
    said.push(
      await run((line) => {
        watch.line(line);
        ours.console(line);
      }),
    );
    left.push(watch);
  }
  return guestTable(subjects, said, MAPPINGS, exits && left);
}

function subjectsOf({ ours, parts, firmwarePath, address }: ComparedGuests): Subject[] {
  const append = `${WORDS} ${ours.append}`;
  const guest = { ...ours, append, record: undefined };
  return [
    {
      name: "QEMU's accelerated",
      run: (console) =>
        runAccelerated({
          ...guest,
          qemu: parts.qemu.tool,
          firmwarePath,
          kernelPath: parts.kernel.path,
          initrdPath: parts.initrd,
          commandLine: `console=ttyAMA0 vsmmu.run=net,maps ${append}`,
          hugePages: ours.hugePages ?? false,
          address,
          console,
        }),
    },
    {
      name: "QEMU's emulated",
      run: (console) =>
        runPeerGuest({ ...guest, parts, hasSmmu: true, actions: ["maps"], console }),
    },
    { name: "ours", run: (console) => runOurs({ ...guest, actions: ["net", "maps"], console }) },
  ];
}
