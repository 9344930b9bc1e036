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

/** Judges what the guest said. */
export function checkGuest(events: readonly GuestEvent[], expected: Expectations): Check[] {
  const checks = [checkProbe(events), checkGroup(events, expected)];
  if (expected.actions.includes("disk")) checks.push(...checkDisk(events, expected));
  if (expected.actions.includes("fault")) checks.push(...checkFault(events, expected));
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
  const wanted = actions.includes("fault") && groupType(commandLine) !== "identity" ? 1 : 0;
  const total = Object.values(summary.events).reduce((sum, count) => sum + count, 0);
  return [
    {
      name: wanted === 0
        ? "No event, no refused command"
        : "The one event of the fault and no other, no refused command",
      ok: total === wanted && summary.eventsDropped === 0 && summary.commandErrors === 0,
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
  const said = digestOf(events, OUTPUT);
  return {
    name: "The file that the guest wrote is in the image",
    ok: said !== undefined && said === found,
    seen: said === found
      ? `SHA-256 ${said}`
      : `guest ${said ?? "nothing"}, image ${found ?? "nothing"}`,
  };
}

function checkProbe(events: readonly GuestEvent[]): Check {
  const probe = events.find((event) => event.kind === "probe");
  return {
    name: "Linux probed the SMMUv3",
    ok: probe !== undefined,
    seen: probe?.kind === "probe" ? probe.device : "no line of arm-smmu-v3",
  };
}

function checkGroup(events: readonly GuestEvent[], { disk, commandLine }: Expectations): Check {
  const type = groupType(commandLine);
  const group = events.find((event) =>
    event.kind === "group" && event.devices.includes(disk.address)
  );
  const seen = group?.kind === "group" ? group.type : "no group";
  return { name: `The disk is in an IOMMU group of type ${type}`, ok: seen === type, seen };
}

function checkDisk(events: readonly GuestEvent[], { input }: Expectations): Check[] {
  const steps = events.flatMap((event) => event.kind === "ok" ? [event.step] : []);
  const said = input && digestOf(events, input.path);
  return [
    ...(input
      ? [{
        name: `The guest read ${input.path} intact`,
        ok: said === input.sha256,
        seen: said === input.sha256
          ? `SHA-256 ${said}`
          : `${said ?? "nothing"}, not ${input.sha256}`,
      }]
      : []),
    {
      name: "The guest mounted, wrote, read back and unmounted",
      ok: ["mount", "reread", "unmount"].every((step) => steps.includes(step as "mount")),
      seen: steps.join(", ") || "nothing",
    },
  ];
}

function checkFault(events: readonly GuestEvent[], expected: Expectations): Check[] {
  const isIdentity = groupType(expected.commandLine) === "identity";
  const { streamId, iova } = expected.fault;
  const dma = events.find((event) => event.kind === "dma");
  const event = events.find((event) => event.kind === "smmuEvent");
  const told = event?.kind === "smmuEvent"
    ? `type ${hex(event.type)}, StreamID ${hex(event.streamId)}, address ${hex(event.iova)}`
    : "no event";
  const isRight = event?.kind === "smmuEvent" && event.type === F_TRANSLATION &&
    event.streamId === streamId && event.iova === iova;
  return [
    {
      name: "The unmapped write was aborted",
      ok: dma?.kind === "dma" && dma.result === DMA_ABORTED,
      seen: dma?.kind === "dma" ? `result ${hex(dma.result)}` : "no result",
    },
    ...(isIdentity ? [] : [{
      name: `The guest's kernel printed type 0x10, StreamID ${hex(streamId)}, address ${hex(iova)}`,
      ok: isRight,
      seen: told,
    }]),
  ];
}

function digestOf(events: readonly GuestEvent[], path: string): string | undefined {
  const event = events.find((event) => event.kind === "sha256" && event.path === path);
  return event?.kind === "sha256" ? event.digest : undefined;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
