/**
 * What a guest with functions of the host must have shown.
 * @module
 */
import type { Summary } from "../counters.ts";
import type { Check } from "../guest_checks.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import type { PeerSummary } from "./peer.ts";
import type { TakenBack } from "./take_back.ts";

const F_TRANSLATION = 0x10;

/** A network card in the guest. */
export interface CardExpectations {
  /** Its PCI address and StreamID. */
  readonly address: string;
  readonly streamId: number;
  /** The driver that is to take it. */
  readonly driver: string;
  /** Where the host's kernel has doorbells of its interrupt controller. */
  readonly msiWindow: { readonly base: number; readonly sizeBytes: number } | undefined;
}

/** Judges a network card that was used. */
export function checkCard(
  events: readonly GuestEvent[],
  { address, driver, msiWindow }: CardExpectations,
  peer: PeerSummary,
): Check[] {
  const card = events.find((event) => event.kind === "card");
  const direct = events.flatMap((event) =>
    event.kind === "reserved" && event.address === address && event.type === "direct" ? [event] : []
  );
  const interrupts = events.find((event) => event.kind === "interrupts");
  const digest = (path: string): string | undefined =>
    events.flatMap((event) => event.kind === "sha256" && event.path === path ? [event.digest] : [])
      .at(-1);
  const received = digest("receive");
  const [sent] = peer.sent;
  const taken = peer.taken.at(-1);
  const { base, sizeBytes } = msiWindow ?? { base: NaN, sizeBytes: NaN };
  return [
    {
      name: `The guest's ${driver} took the function`,
      ok: card?.kind === "card" && card.driver === driver && card.address === address,
      seen: card?.kind === "card" ? `${card.driver}, ${card.address}` : "no network card",
    },
    {
      name: "The window of the host's MSIs is mapped to itself",
      ok: direct.some(({ start, last }) =>
        Number(start) === base && Number(last) === base + sizeBytes - 1
      ),
      seen: direct.map(({ start, last }) => `${hex(start)}-${hex(last)}`).join(", ") || "no region",
    },
    {
      name: "What the guest received over TCP is what was sent",
      ok: received !== undefined && received === sent,
      seen: received === sent ? `SHA-256 ${received}` : `${received ?? "nothing"}, not ${sent}`,
    },
    {
      name: "What the guest sent over TCP arrived",
      ok: received !== undefined && taken?.sha256 === received,
      seen: taken ? `${taken.sizeBytes} bytes, SHA-256 ${taken.sha256}` : "nothing",
    },
    {
      name: "Its interrupts came by MSI-X",
      ok: interrupts?.kind === "interrupts" && interrupts.vectors > 0 && interrupts.count > 0,
      seen: interrupts?.kind === "interrupts"
        ? `${interrupts.count} by ${interrupts.vectors} vectors`
        : "none",
    },
  ];
}

/** Judges an NVMe disk of which a file system was used, with a file of so many MiB, and that was reset then. */
export function checkNvme(
  events: readonly GuestEvent[],
  mib: number,
  isReset: boolean,
): Check[] {
  const digests = events.flatMap((event) =>
    event.kind === "sha256" && event.path.startsWith("nvme-") ? [event] : []
  );
  const [written, read] = ["nvme-written", "nvme-read"].map((path) =>
    digests.find((event) => event.path === path)?.digest
  );
  const after = digests.find((event) => event.path === "nvme-after-reset")?.digest;
  const wasReset = events.some((event) => event.kind === "reset");
  return [
    ...(isReset
      ? [{
        name: "The NVMe disk was reset while it read, and has what was written",
        ok: wasReset && after !== undefined && after === written,
        seen: wasReset ? `SHA-256 ${after ?? "none"}` : "it was not reset",
      }]
      : []),
    {
      name: `${mib} MiB on the NVMe disk's file system read back as they were written`,
      ok: written !== undefined && written === read,
      seen: written === read ? `SHA-256 ${read ?? "none"}` : `${read ?? "nothing"}, not ${written}`,
    },
  ];
}

/** Judges a DMA test device that wrote at one IOVA as itself and as two PASIDs, and at one that is mapped for none of them. */
export function checkPasids(
  events: readonly GuestEvent[],
  { address, streamId }: Pick<CardExpectations, "address" | "streamId">,
): Check[] {
  const writes = events.flatMap((event) =>
    event.kind === "pasid" && event.address === address ? [event] : []
  );
  const iova = writes[0]?.iova;
  const reached = writes.filter((write) => write.iova === iova)
    .map(({ pasid, page }) => `PASID ${pasid}: ${page === undefined ? "none" : `page ${page}`}`);
  const beyond = writes.filter((write) => write.iova !== iova);
  const faults = events.flatMap((event) =>
    event.kind === "smmuEvent" && event.type === F_TRANSLATION && event.streamId === streamId
      ? [`${event.substreamId ?? 0}: ${hex(event.iova)}`]
      : []
  );
  const expected = beyond.map(({ pasid, iova }) => `${pasid}: ${hex(iova)}`);
  return [
    {
      name: "One IOVA is another page for the function and for each of two PASIDs of it",
      ok: reached.join() === "PASID 0: page 1,PASID 1: page 2,PASID 2: page 3",
      seen: reached.join(", ") || "nothing",
    },
    {
      name: `What is not mapped is an event of StreamID ${hex(streamId)} and the SubstreamID`,
      ok: expected.length === 3 && faults.join() === expected.join() &&
        beyond.every(({ page }) => page === undefined),
      seen: faults.join(", ") || "no event",
    },
  ];
}

/** Judges that hardware walks the guest's tables: guest RAM is mapped once, and never again. */
export function checkNesting({ iommufd: { calls, refused, commandsPassed } }: Summary): Check[] {
  const maps = calls["IOMMU_IOAS_MAP_FILE"] ?? 0;
  const unmaps = calls["IOMMU_IOAS_UNMAP"] ?? 0;
  return [
    {
      name: "Guest RAM was mapped once, and nothing was mapped or unmapped after",
      ok: maps === 1 && unmaps === 0,
      seen: `${maps} IOMMU_IOAS_MAP_FILE, ${unmaps} IOMMU_IOAS_UNMAP`,
    },
    {
      name: "The guest's invalidations were passed on",
      ok: commandsPassed > 0 && refused === 0,
      seen: `${commandsPassed} commands; ${refused} calls refused`,
    },
  ];
}

/** Judges a function that was told to read where nothing is mapped. */
export function checkCardFault(
  events: readonly GuestEvent[],
  { streamId }: CardExpectations,
  iova: bigint,
): Check[] {
  const begun = events.find((event) => event.kind === "doorbell");
  const told = events.find((event) => event.kind === "smmuEvent");
  const isRight = told?.kind === "smmuEvent" && told.type === F_TRANSLATION &&
    told.streamId === streamId && told.iova === iova;
  const seconds = (told?.atSeconds ?? NaN) - (begun?.atSeconds ?? NaN);
  return [{
    name: `Within a second the guest's kernel printed type 0x10, StreamID ${hex(streamId)}, ` +
      `address ${hex(iova)}`,
    ok: isRight && seconds < 1,
    seen: told?.kind === "smmuEvent"
      ? `type ${hex(told.type)}, StreamID ${hex(told.streamId)}, address ${hex(told.iova)}` +
        (Number.isNaN(seconds) ? "" : `, after ${seconds.toFixed(2)} s`)
      : "no event",
  }];
}

/** The longest that a host waits: its kernel asks for the fourth time after 30 seconds. */
const TAKE_BACK_S = 35;

/** Judges a network card that its host took back from the running guest. */
export function checkTakenBack(
  events: readonly GuestEvent[],
  taken: TakenBack | undefined,
  way: "unplugged" | "ones",
): Check[] {
  const gone = events.find((event) => event.kind === "gone");
  const slots = events.flatMap((event) => event.kind === "slot" ? [event.said] : []);
  return [
    {
      name: `The host had the function back within ${TAKE_BACK_S} s`,
      ok: taken !== undefined && taken.seconds < TAKE_BACK_S,
      seen: taken === undefined ? "nobody took it" : `after ${taken.seconds.toFixed(1)} s`,
    },
    {
      name: "It is there for the next guest",
      ok: taken !== undefined && taken.failure === undefined,
      seen: taken?.failure ?? "bound to vfio-pci and to an iommufd again",
    },
    {
      name: way === "unplugged"
        ? "The guest was asked to unplug it, and its driver let go of it"
        : "The guest found ones in its registers, and its driver let go of it",
      ok: gone?.kind === "gone" && gone.how === way && (way === "ones" || slots.length > 0),
      seen: [gone?.kind === "gone" ? `${gone.address} ${gone.how}` : "it is there", ...slots]
        .join("; "),
    },
  ];
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
