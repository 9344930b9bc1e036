/**
 * What the guest says on its console, as events.
 *
 * Our `/init` writes lines `vsmmu: WORD …` to the kernel's log (`guest_init.sh`); the kernel's own lines about its SMMU
 * (Linux: drivers/iommu/arm/arm-smmu-v3) and its panics count too. Everything else on a console is passed over.
 *
 * @module
 */

/** Something the guest reported; `atSeconds` is its own time since it started, `undefined` on a line without a timestamp. */
export type GuestEvent =
  & { readonly atSeconds: number | undefined }
  & (
    /** The kernel's driver took an SMMU. */
    | { readonly kind: "probe"; readonly device: string }
    /** The kernel that runs, as `uname -r` says it. */
    | { readonly kind: "kernel"; readonly release: string }
    /** An IOMMU group, its type (`DMA`, `DMA-FQ`, `identity`) and the PCI addresses in it. */
    | {
      readonly kind: "group";
      readonly index: number;
      readonly type: string;
      readonly devices: readonly string[];
    }
    /** An action of the command line begins. */
    | { readonly kind: "run"; readonly action: string }
    /** A step of an action went well. */
    | { readonly kind: "ok"; readonly step: "mount" | "reread" | "unmount" }
    /** SHA-256 of a file on the disk, in lower-case hexadecimal. */
    | { readonly kind: "sha256"; readonly path: string; readonly digest: string }
    /** What the DMA test device answered; addresses and result as the guest wrote them. */
    | {
      readonly kind: "dma";
      readonly device: string;
      readonly iova: bigint;
      readonly result: number;
    }
    /** A measured transfer. */
    | {
      readonly kind: "bench";
      readonly direction: Direction;
      readonly bytes: number;
      readonly seconds: number;
    }
    /** It waits for a line on its console before it measures. */
    | { readonly kind: "turn" }
    /** How long mappings of some pages took and their removal, with so many threads at it. */
    | {
      readonly kind: "map";
      readonly threads: number;
      readonly pages: number;
      readonly isScattered: boolean;
      readonly mapUs: number;
      readonly unmapUs: number;
    }
    /** A network card: its PCI address, driver and IP address. */
    | {
      readonly kind: "card";
      readonly address: string;
      readonly driver: string;
      readonly ip: string;
    }
    /** IOVAs of a function's IOMMU group that are not free, both ends included, and why: `direct`, `msi`, `reserved`. */
    | {
      readonly kind: "reserved";
      readonly address: string;
      readonly start: bigint;
      readonly last: bigint;
      readonly type: string;
    }
    /** A function is told to read where nothing is mapped. */
    | { readonly kind: "doorbell"; readonly address: string }
    /** The host may take a function back now. */
    | { readonly kind: "kept"; readonly address: string }
    /** A function has gone: unplugged as the guest was asked, pulled out unasked, or its registers read as ones. */
    | {
      readonly kind: "gone";
      readonly address: string;
      readonly how: "unplugged" | "pulled" | "ones";
    }
    /** What the kernel's driver of hot-plug ports says of a slot. */
    | { readonly kind: "slot"; readonly port: string; readonly said: string }
    /** A function had another address for a while, since its bus had another number. */
    | { readonly kind: "moved"; readonly from: string; readonly to: string }
    /** A function was reset while it was at work. */
    | { readonly kind: "reset"; readonly address: string }
    /** Bytes of a function's configuration space, and where they are; those that are not told are zero. */
    | {
      readonly kind: "config";
      readonly address: string;
      readonly offset: number;
      readonly bytes: readonly number[];
    }
    /** A line that lspci printed, with its blanks. */
    | { readonly kind: "lspci"; readonly line: string }
    /** Vectors of MSI-X that a function's driver has, and how many interrupts came by them. */
    | {
      readonly kind: "interrupts";
      readonly address: string;
      readonly vectors: number;
      readonly count: number;
    }
    /** An event record that the kernel's SMMU driver printed: type, StreamID and input address. */
    | {
      readonly kind: "smmuEvent";
      readonly type: number;
      readonly streamId: number;
      /** Absent when the transaction had none. */
      readonly substreamId?: number;
      readonly iova: bigint;
    }
    /** What a write of a function as PASID, where 0 is without one, at an IOVA reached: a page of the guest's, from 1. */
    | {
      readonly kind: "pasid";
      readonly address: string;
      readonly pasid: number;
      readonly iova: bigint;
      /** Absent when it reached none. */
      readonly page?: number;
    }
    /** What the DMA test device, which translates for itself, came to. */
    | {
      readonly kind: "ats";
      readonly address: string;
      /** ATS Control, as Linux has it. */
      readonly control: number;
      /** Of its write to where Linux had mapped a page; absent where that could not. */
      readonly result?: number;
      /** Translations that it had left when Linux had taken the page back, and CMD_ATC_INV until then. */
      readonly kept: number;
      readonly invalidations: number;
      /** PRI_RESULT: Linux's answer to a page request. */
      readonly answer: number;
    }
    /** The guest gave up. */
    | { readonly kind: "fail"; readonly reason: string }
    /** The kernel gave up. */
    | { readonly kind: "panic"; readonly reason: string }
    /** All actions went well. */
    | { readonly kind: "done" }
  );

/** Ways of a measured transfer: of a disk, of a network. */
export type Direction = "read" | "write" | "receive" | "send";

const DIRECTIONS: readonly Direction[] = ["read", "write", "receive", "send"];

type Body = GuestEvent extends infer Event
  ? Event extends { kind: string } ? Omit<Event, "atSeconds"> : never
  : never;

const RECORD_QUADS = 4;
/** Substream ID is valid: bit 11 of a record. */
const SSV = 0x800n;

/** Reads a console line by line. It remembers what spans lines: a measurement's begin and an event record's words. */
export class GuestConsole {
  #began: { direction: string; atSeconds: number } | undefined;
  #record: bigint[] | undefined;

  /** The event that this line completes, or `undefined`. The line's end may be missing, or be a carriage return. */
  push(line: string): GuestEvent | undefined {
    const match = /^(?:\[ *(\d+\.\d+)\](?:\[[^\]]*\])? )?(.*?)\r?$/.exec(line);
    if (match === null) return undefined;
    const atSeconds = match[1] === undefined ? undefined : Number(match[1]);
    const text = match[2];
    const body = text.startsWith("vsmmu: ")
      ? this.#ours(text.slice("vsmmu: ".length), atSeconds)
      : this.#kernels(text);
    return body === undefined ? undefined : { atSeconds, ...body } as GuestEvent;
  }

  #ours(text: string, atSeconds: number | undefined): Body | undefined {
    const [word, ...rest] = text.split(" ");
    if (word === "FAIL") return { kind: "fail", reason: rest.join(" ") };
    if (word === "begin" && atSeconds !== undefined) {
      this.#began = { direction: rest[0], atSeconds };
    } else if (word === "end") {
      return this.#measured(rest, atSeconds);
    }
    return plain(word, rest);
  }

  #measured([direction, bytes]: string[], atSeconds: number | undefined): Body | undefined {
    const began = this.#began;
    this.#began = undefined;
    if (began?.direction !== direction || atSeconds === undefined || !isCount(bytes)) {
      return undefined;
    }
    const way = DIRECTIONS.find((way) => way === direction);
    if (way === undefined) return undefined;
    const seconds = atSeconds - began.atSeconds;
    return { kind: "bench", direction: way, bytes: Number(bytes), seconds };
  }

  #kernels(text: string): Body | undefined {
    const panic = /^Kernel panic - not syncing: (.*)$/.exec(text);
    if (panic !== null) return { kind: "panic", reason: panic[1] };
    const slot = /^pcieport (\S+): pciehp: Slot\(\S+\): (.*)$/.exec(text);
    if (slot !== null) return { kind: "slot", port: slot[1], said: slot[2] };
    const smmu = /^arm-smmu-v3 (\S+): (.*)$/.exec(text);
    if (smmu === null) return undefined;
    const [, device, said] = smmu;
    if (/^(ias \d+-bit, )?oas \d+-bit/.test(said)) return { kind: "probe", device };
    return this.#recordLine(said);
  }

  /** The driver prints `event 0x10 received:` and then the record's four quads, a line each. */
  #recordLine(said: string): Body | undefined {
    if (/^event 0x[0-9a-f]+ received:$/.test(said)) {
      this.#record = [];
      return undefined;
    }
    const quad = /^\t0x([0-9a-f]{16})$/.exec(said);
    if (quad === null || this.#record === undefined) return undefined;
    this.#record.push(BigInt(`0x${quad[1]}`));
    if (this.#record.length < RECORD_QUADS) return undefined;
    const [head, , iova] = this.#record;
    this.#record = undefined;
    return {
      kind: "smmuEvent",
      type: Number(head & 0xffn),
      streamId: Number(head >> 32n),
      ...((head & SSV) === 0n ? {} : { substreamId: Number(head >> 12n & 0xf_ffffn) }),
      iova,
    };
  }
}

/** Reads a console to its end; an event for each line that completes one. */
export async function* guestEvents(lines: AsyncIterable<string>): AsyncGenerator<GuestEvent> {
  const guest = new GuestConsole();
  for await (const line of lines) {
    const event = guest.push(line);
    if (event !== undefined) yield event;
  }
}

function plain(word: string, rest: readonly string[]): Body | undefined {
  const [first, second, third] = rest;
  switch (word) {
    case "kernel":
      return first === undefined ? undefined : { kind: "kernel", release: first };
    case "group":
      if (!isCount(first) || second === undefined) return undefined;
      return { kind: "group", index: Number(first), type: second, devices: rest.slice(2) };
    case "run":
      return first === undefined ? undefined : { kind: "run", action: first };
    case "mount":
    case "reread":
    case "unmount":
      return first === "ok" ? { kind: "ok", step: word } : undefined;
    case "sha256":
      if (!/^[0-9a-f]{64}$/.test(second ?? "")) return undefined;
      return { kind: "sha256", path: first, digest: second };
    case "dma":
      if (!isNumeral(second) || !isNumeral(third)) return undefined;
      return { kind: "dma", device: first, iova: BigInt(second), result: Number(third) };
    case "map":
      if (rest.length !== 5 || !rest.every(isCount)) return undefined;
      return {
        kind: "map",
        threads: Number(first),
        pages: Number(second),
        isScattered: third === "1",
        mapUs: Number(rest[3]) / 10,
        unmapUs: Number(rest[4]) / 10,
      };
    case "card":
      if (second === undefined || third === undefined) return undefined;
      return { kind: "card", address: first, driver: second, ip: third };
    case "reserved":
      if (!isNumeral(second) || !isNumeral(third) || rest[3] === undefined) return undefined;
      return {
        kind: "reserved",
        address: first,
        start: BigInt(second),
        last: BigInt(third),
        type: rest[3],
      };
    case "gone":
      if (second !== "unplugged" && second !== "pulled" && second !== "ones") return undefined;
      return { kind: "gone", address: first, how: second };
    case "doorbell":
    case "kept":
    case "reset":
      return first === undefined ? undefined : { kind: word, address: first };
    case "moved":
      if (first === undefined || second === undefined) return undefined;
      return { kind: "moved", from: first, to: second };
    case "config":
      if (!/^[0-9a-f]+$/.test(second ?? "")) return undefined;
      return {
        kind: "config",
        address: first,
        offset: parseInt(second, 16),
        bytes: rest.slice(2).map((pair) => parseInt(pair, 16)),
      };
    case "lspci":
      return { kind: "lspci", line: rest.join(" ") };
    case "interrupts":
      if (!isCount(second) || !isCount(third)) return undefined;
      return {
        kind: "interrupts",
        address: first,
        vectors: Number(second),
        count: Number(third),
      };
    case "pasid":
      if (!isCount(second) || !isNumeral(third)) return undefined;
      return {
        kind: "pasid",
        address: first,
        pasid: Number(second),
        iova: BigInt(third),
        ...(isCount(rest[3]) ? { page: Number(rest[3]) } : {}),
      };
    case "ats":
      if (rest.length !== 6 || !rest.slice(3).every(isNumeral)) return undefined;
      return {
        kind: "ats",
        address: first,
        control: Number(second),
        ...(isNumeral(third) ? { result: Number(third) } : {}),
        kept: Number(rest[3]),
        invalidations: Number(rest[4]),
        answer: Number(rest[5]),
      };
    case "turn":
    case "done":
      return { kind: word };
  }
}

function isCount(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text);
}

function isNumeral(text: string | undefined): text is string {
  return text !== undefined && /^(0x[0-9a-fA-F]+|\d+)$/.test(text);
}
