/**
 * What a run must have shown, judged from what the guest said, what is on its disk and what the device counted.
 * @module
 */
import type { Summary } from "./counters.ts";
import type { GuestEvent } from "./provision/guest_console.ts";

/** One statement about a run. */
export interface Check {
  /** What should hold. */
  readonly name: string;
  /** Whether it does. */
  readonly ok: boolean;
  /** What was seen. */
  readonly seen: string;
}

/** What the run was meant to be. */
export interface Expectations {
  /** Actions that the guest was told to do. */
  readonly actions: readonly string[];
  /** The guest kernel's command line. */
  readonly commandLine: string;
  /** The file that we put on the disk. */
  readonly input: { readonly path: string; readonly sha256: string } | undefined;
  /** PCI address and StreamID of the disk. */
  readonly disk: { readonly address: string; readonly streamId: number };
  /** StreamID of the DMA test device, and where it was told to write. */
  readonly fault: { readonly streamId: number; readonly iova: bigint };
}

const OUTPUT = "/data/output.bin";
const F_TRANSLATION = 0x10;
/** Result of the DMA test device when its write was aborted. */
const DMA_ABORTED = 0xdead0002;

/** The type of IOMMU group that a command line asks Linux for. Linux `Documentation/admin-guide/kernel-parameters.txt`. */
export function groupType(commandLine: string): string {
  const words = commandLine.split(/\s+/);
  if (words.some((word) => /^iommu\.passthrough=(1|y|on)/i.test(word))) return "identity";
  if (words.some((word) => /^iommu\.strict=(0|n|off)/i.test(word))) return "DMA-FQ";
  return "DMA";
}

/** Bit of ATS Control, and PRI_RESULT for an answer to group 5 that denies. */
const ATS_ENABLE = 15;
const PAGE_DENIED = 0x8000_0005;

/** How often `pasids` writes where nothing is mapped: as the function, and as each of two PASIDs. */
const PASIDS_FAULTS = 3;

/** Judges what the guest said. */
export function checkGuest(events: readonly GuestEvent[], expected: Expectations): Check[] {
  const checks = [checkProbe(events, expected), checkGroup(events, expected)];
  if (expected.actions.includes("disk")) checks.push(...checkDisk(events, expected));
  if (expected.actions.includes("fault")) checks.push(...checkFault(events, expected));
  if (expected.actions.includes("ats")) checks.push(...checkAts(events));
  if (expected.actions.includes("renumber")) checks.push(checkMoves(events, expected));
  if (expected.actions.includes("reboot")) checks.push(...checkReboots(events, expected));
  const failure =
    events.flatMap((event) =>
      event.kind === "fail"
        ? [event.reason]
        : event.kind === "panic"
        ? [`Kernel panic: ${event.reason}`]
        : []
    )[0];
  const done = events.some((event) => event.kind === "done");
  checks.push({
    name: "The guest did all it was told",
    ok: done && failure === undefined,
    seen: failure ?? (done ? "done" : "it ended before it was done"),
  });
  return checks;
}

/** Judges what the device counted. */
export function checkDevice(summary: Summary, { actions, commandLine }: Expectations): Check[] {
  const events = Object.entries(summary.events).map(([name, count]) => `${count} ${name}`);
  const wanted = groupType(commandLine) === "identity"
    ? 0
    : times("fault", actions) + PASIDS_FAULTS * times("pasids", actions);
  const most = wanted + times("renumber", actions);
  const total = Object.values(summary.events).reduce((sum, count) => sum + count, 0);
  // Hardware may try a faulting access more than once.
  const isEnough = actions.includes("netfault") ? total > wanted : total >= wanted && total <= most;
  return [
    {
      name: actions.includes("netfault")
        ? "Events of the faults, no refused command"
        : wanted === 0
        ? "No event, no refused command"
        : "One event for each fault and no other, no refused command",
      ok: isEnough && summary.eventsDropped === 0 && summary.commandErrors === 0,
      seen: `${events.join(", ") || "no event"}; ${summary.eventsDropped} dropped; ` +
        `${summary.commandErrors} commands refused`,
    },
    {
      name: "No register read for a CMD_SYNC",
      ok: summary.mmio.readsPerSync === 0 && summary.syncs > 0,
      seen: `${summary.mmio.readsPerSync.toFixed(2)} for each of ${summary.syncs}`,
    },
  ];
}

/** Judges the file that the guest wrote, as it was found in the image afterwards. */
export function checkOutput(events: readonly GuestEvent[], found: string | undefined): Check {
  const said = digestsOf(events, OUTPUT).at(-1);
  return {
    name: "The file that the guest wrote is in the image",
    ok: said !== undefined && said === found,
    seen: said === found
      ? `SHA-256 ${said}`
      : `guest ${said ?? "nothing"}, image ${found ?? "nothing"}`,
  };
}

/** How often a guest starts that does these actions. */
function boots(actions: readonly string[]): number {
  return 1 + times("reboot", actions);
}

function times(action: string, actions: readonly string[]): number {
  return actions.filter((other) => other === action).length;
}

function checkProbe(events: readonly GuestEvent[], { actions }: Expectations): Check {
  const devices = events.flatMap((event) => event.kind === "probe" ? [event.device] : []);
  return {
    name: "Linux probed the SMMUv3",
    ok: devices.length >= boots(actions),
    seen: devices.join(", ") || "no line of arm-smmu-v3",
  };
}

function checkGroup(
  events: readonly GuestEvent[],
  { actions, disk, commandLine }: Expectations,
): Check {
  const type = groupType(commandLine);
  const types = events.flatMap((event) =>
    event.kind === "group" && event.devices.includes(disk.address) ? [event.type] : []
  );
  return {
    name: `The disk is in an IOMMU group of type ${type}`,
    ok: types.length >= boots(actions) && types.every((seen) => seen === type),
    seen: types.join(", ") || "no group",
  };
}

function checkDisk(events: readonly GuestEvent[], { actions, input }: Expectations): Check[] {
  const steps = events.flatMap((event) => event.kind === "ok" ? [event.step] : []);
  const all = Array.from({ length: times("disk", actions) }, () => "mount, reread, unmount");
  const said = new Set(input && digestsOf(events, input.path));
  const seen = [...said].join(", ") || "nothing";
  return [
    ...(input
      ? [{
        name: `The guest read ${input.path} intact`,
        ok: seen === input.sha256,
        seen: seen === input.sha256 ? `SHA-256 ${seen}` : `${seen}, not ${input.sha256}`,
      }]
      : []),
    {
      name: "The guest mounted, wrote, read back and unmounted",
      ok: steps.join(", ") === all.join(", "),
      seen: steps.join(", ") || "nothing",
    },
  ];
}

/** It reads its output once more when it has rebooted, before it does anything else. */
function checkReboots(events: readonly GuestEvent[], { actions }: Expectations): Check[] {
  const at = events.flatMap((event, index) =>
    event.kind === "run" && event.action === "reboot" ? [index] : []
  );
  const kernels = events.filter((event) => event.kind === "kernel").length;
  const checks = [{
    name: "The guest rebooted as often as it was told",
    ok: at.length === times("reboot", actions) && kernels === boots(actions),
    seen: `started ${kernels} times`,
  }];
  if (!actions.slice(0, actions.indexOf("reboot")).includes("disk")) return checks;
  const kept = at.filter((index) => {
    const before = digestsOf(events.slice(0, index), OUTPUT).at(-1);
    return before !== undefined && before === digestsOf(events.slice(index), OUTPUT)[0];
  });
  return [...checks, {
    name: "What the guest wrote is there after each reboot",
    ok: at.length > 0 && kept.length === at.length,
    seen: `${kept.length} of ${at.length} times`,
  }];
}

/**
 * A stream of which Linux knows nothing aborts, with its StreamID where our SMMU translates it, and without a word where
 * hardware does: there an STE that is not valid is one that aborts.
 */
function checkMoves(events: readonly GuestEvent[], { actions }: Expectations): Check {
  const moves = events.flatMap((event, at) => event.kind === "moved" ? [{ ...event, at }] : []);
  const seen = moves.map(({ from, to, at }) => {
    const began = events.findLastIndex((event, index) => index < at && event.kind === "run");
    const during = events.slice(began, at);
    const aborted = during.some((event) => event.kind === "dma" && event.result === DMA_ABORTED);
    const streams = during.flatMap((event) => event.kind === "smmuEvent" ? [event.streamId] : []);
    const streamId = parseInt(to.slice(5, 7), 16) << 8;
    return {
      ok: aborted && streams.every((other) => other === streamId),
      text: `${from} as ${to}, events ${streams.map(hex).join(", ") || "none"}`,
    };
  });
  return {
    name: "A function has the StreamID of the number that the guest gave its bus",
    ok: seen.length === times("renumber", actions) && seen.every(({ ok }) => ok),
    seen: seen.map(({ text }) => text).join("; ") || "no move",
  };
}

function checkFault(events: readonly GuestEvent[], expected: Expectations): Check[] {
  const isIdentity = groupType(expected.commandLine) === "identity";
  const { streamId, iova } = expected.fault;
  const dma = events.find((event) => event.kind === "dma");
  const told = events.filter((event) => event.kind === "smmuEvent");
  const event = told.find((event) => event.streamId === streamId) ?? told[0];
  const what = event
    ? `type ${hex(event.type)}, StreamID ${hex(event.streamId)}, address ${hex(event.iova)}`
    : "no event";
  const isRight = event?.type === F_TRANSLATION && event.streamId === streamId &&
    event.iova === iova;
  return [
    {
      name: "The unmapped write was aborted",
      ok: dma?.kind === "dma" && dma.result === DMA_ABORTED,
      seen: dma?.kind === "dma" ? `result ${hex(dma.result)}` : "no result",
    },
    ...(isIdentity ? [] : [{
      name: `The guest's kernel printed type 0x10, StreamID ${hex(streamId)}, address ${hex(iova)}`,
      ok: isRight,
      seen: what,
    }]),
  ];
}

/** Linux 7.3 denies page requests of functions that it handles no faults of. */
function checkAts(events: readonly GuestEvent[]): Check[] {
  const event = events.find((event) => event.kind === "ats");
  if (event === undefined) return [{ name: "ATS", ok: false, seen: "the guest told nothing" }];
  const { control, result, kept, invalidations, answer } = event;
  return [
    {
      name: "Linux lets the DMA test device translate for itself",
      ok: control >>> ATS_ENABLE === 1,
      seen: `ATS Control ${hex(control)}`,
    },
    ...(result === undefined ? [] : [{
      name: "By its own translation it writes to the page that Linux mapped",
      ok: result === 0,
      seen: `result ${hex(result)}`,
    }]),
    {
      name: "Linux had it forget what it may have translated",
      ok: kept === 0 && invalidations > 0,
      seen: `${invalidations} CMD_ATC_INV, ${kept} translations left`,
    },
    {
      name: "Linux answered its page request",
      ok: answer === PAGE_DENIED,
      seen: `PRI_RESULT ${hex(answer)}`,
    },
  ];
}

function digestsOf(events: readonly GuestEvent[], path: string): string[] {
  return events.flatMap((event) =>
    event.kind === "sha256" && event.path === path ? [event.digest] : []
  );
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
