/**
 * The trace format: gzip over lines of JSON. The first line is a header, each following one an operation at the
 * device's doors with everything that came of it, the last one an end. The page `vmm/trace/FORMAT.md` says the same for people.
 *
 * Every line ends with a check of itself and of all lines before it, so that a change is found at its line.
 * @module
 */
import { crc32 } from "node:zlib";
import type { Features } from "../../hw/smmuv3/features.ts";

/** Version of the format. A reader refuses another major one, and passes over what a newer minor one added. */
export const VERSION = { major: 1, minor: 4 } as const;

/** The first line. */
export interface TraceHeader {
  /** What this is. */
  readonly format: "vsmmu-trace";
  /** `MAJOR.MINOR`. */
  readonly version: string;
  /** The device's features. */
  readonly features: Features;
  /** The iommufd behind it, if any. */
  readonly iommufd?: TraceIommufd;
  /** log2 of the sets of its TLB. */
  readonly log2tlbSets: number;
  /** log2 of the quads that a reader has to remember. */
  readonly log2known: number;
  /** `mapped` where registers were memory; writes are those that were found there. */
  readonly registers?: "mapped";
  /** What ran: free words, such as `Linux` or the command line. */
  readonly guest: Readonly<Record<string, string>>;
  /** When the recording began, as ISO 8601; times of operations count seconds from then. */
  readonly began: string;
  /** What times are, for a reader who has only the file. */
  readonly time?: string;
  /** Where the format is described. */
  readonly schema?: string;
  /** Whether payload is recorded too; without it there are only lengths and checksums. */
  readonly payload?: boolean;
}

/** What the iommufd of a recording was. */
export interface TraceIommufd {
  /** SMMU_IDR0 to IDR5, IIDR and AIDR of the SMMU behind it. */
  readonly idrs: readonly number[];
  /** StreamIDs of the devices bound to it, in that order. */
  readonly streams: readonly number[];
  /** Whether its devices were real ones, whose DMA nobody sees; what endpoints move then passes the SMMU itself. */
  readonly isKernel?: boolean;
}

/** A store or another thing that the device did during an operation, in order. */
export type Output =
  /** It stored quads: address, bytes as hexadecimal, whether there was RAM. */
  | readonly ["store", gpa: number, bytes: string, ok: boolean]
  /** It stored one word: address, value, whether there was RAM. */
  | readonly ["store32", gpa: number, value: number, ok: boolean]
  /** It replaced a quad if that was the first of these: address, both quads, one of `Exchange` in `hw/guest_memory.ts`. */
  | readonly ["exchange", gpa: number, expected: string, desired: string, outcome: number]
  /** It moved a payload: address, length, CRC-32 of the bytes (of what is written, or was read), whether there was RAM. */
  | readonly ["read" | "write", gpa: number, sizeBytes: number, crc: number, ok: boolean]
  /** It pulsed a wire. */
  | readonly ["irq", line: string]
  /** It sent a message to where no RAM is: address, data, whether something took it. */
  | readonly ["msi", gpa: number, data: number, ok: boolean]
  /** It had an endpoint forget translations, as `EndpointPort` has it, with the address as hexadecimal: whether that answered. */
  | readonly [
    "invalidate",
    streamId: number,
    substreamId: number,
    everySubstream: boolean,
    iova: string,
    log2pages: number,
    ok: boolean,
  ]
  /** It answered a group of page requests, as `EndpointPort` has it. */
  | readonly ["respond", streamId: number, substreamId: number, group: number, response: number]
  /** It ended a transaction that could wait: its number, whether it was done. */
  | readonly ["end", transaction: number, ok: boolean]
  /** An endpoint asked for something while it was told what precedes this; what came of it follows. */
  | readonly ["asked", operation: Asked];

/**
 * A call of iommufd: the ioctl's name, or `read` or `write` of a queue; its arguments, the error number or 0, the result.
 * 64 bits and bytes are hexadecimal; a descriptor is the number of its file.
 */
export type IommufdCall = readonly [
  name: string,
  args: Readonly<Record<string, unknown>>,
  errno: number,
  result: unknown,
];

/**
 * What the guest had changed before a fetch: the number of the fetch within the operation, address, and quads as
 * hexadecimal bytes in memory order; without bytes there is no RAM.
 */
export type Change = readonly [fetch: number, gpa: number, bytes: string | null];

/** What led to an operation, and what the device read and did. */
export interface Effects {
  /** Memory that was not known to be so, in the order of the fetches. */
  readonly mem?: readonly Change[];
  /** How many records the device fetched. */
  readonly fetches?: number;
  /** Hash of their addresses. */
  readonly path?: number;
  /** What it did, in order. */
  readonly out?: readonly Output[];
  /** What was asked of iommufd, in order. */
  readonly calls?: readonly IommufdCall[];
}

/** Who asks, and of which address. */
export interface Asking {
  /** StreamID. */
  readonly stream: number;
  /** SubstreamID; absent without one. */
  readonly substream?: number;
  /** Address, as hexadecimal. */
  readonly iova: string;
}

/** What endpoints ask for. */
export type Asked =
  & Asking
  & (
    | {
      readonly op:
        | "dma-read"
        | "dma-write"
        /** The same by an address that was translated already. */
        | "translated-read"
        | "translated-write";
      readonly size: number;
      readonly ok: boolean;
      /** What was to be written, or what the endpoint had in its buffer afterwards, as base64; only on demand. */
      readonly payload?: string;
    }
    | {
      readonly op: "dma-message" | "translated-message";
      readonly data: number;
      readonly ok: boolean;
    }
    /** A transaction that may wait for its end, which is an output with its number. */
    | {
      readonly op: "stallable-read" | "stallable-write";
      readonly size: number;
      readonly transaction: number;
    }
    | {
      readonly op: "translation-request";
      /** Some of `wxp`: to write, to execute, privileged. */
      readonly asks?: string;
      /** One of `CompletionStatus`; only with success there is more. */
      readonly status: number;
      readonly page?: number;
      readonly log2size?: number;
      /** Some of `rwxp`. */
      readonly grants?: string;
    }
    | {
      readonly op: "page-request";
      /** Some of `rwxp`. */
      readonly asks?: string;
      readonly group: number;
      readonly last: boolean;
    }
  );

/** An operation at the doors. */
export type Operation =
  & {
    /** Seconds since the recording began. */
    readonly t: number;
  }
  & Effects
  & (
    | Asked
    | { readonly op: "write"; readonly at: number; readonly bytes: string }
    | { readonly op: "read"; readonly at: number; readonly bytes: string }
    | { readonly op: "reset" }
    /** Hardware reported an event: the eight words of its record. */
    | { readonly op: "hardware-event"; readonly bytes: string }
    /** The device and the hardware behind it were made; always the first. */
    | { readonly op: "start" }
    | {
      readonly op: "ram-map";
      readonly gpa: number;
      readonly size: number;
      readonly offset: number;
      /** Which file: the first that is mapped is 0. */
      readonly file: number;
      readonly writable: boolean;
      readonly ok: boolean;
    }
    /** The guest knows streams of the hardware by other StreamIDs from now on. */
    | {
      readonly op: "stream-move";
      readonly moves: readonly (readonly [from: number, to: number])[];
    }
    /** The host has taken the device of a stream back. */
    | { readonly op: "stream-gone"; readonly gone: number }
    | { readonly op: "ram-unmap"; readonly gpa: number; readonly size: number }
  );

/** The last line of a recording that was ended properly. */
export interface TraceEnd {
  /** Tells it from an operation. */
  readonly end: true;
  /** How many operations there were. */
  readonly operations: number;
}

/** The longest line that a reader takes, in bytes; the features of the device keep a recorder far from it. */
export const LONGEST_LINE_BYTES = 2 ** 26;

/** Puts lines into the format. */
export class LineWriter {
  #check = 0;

  /** A line of JSON with its check and its newline. */
  line(value: TraceHeader | Operation | TraceEnd): string {
    // Without other letters than ASCII, a byte is a letter for every reader.
    const body = JSON.stringify(value).replaceAll(
      /[\u0080-\uffff]/g,
      (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    return this.close(body.slice(0, -1));
  }

  /** A line from the text of a JSON object without its last brace. */
  close(body: string): string {
    this.#check = crc32(body, this.#check);
    return `${body},"c":${this.#check}}\n`;
  }
}

/** Checks lines and takes them out of the format. */
export class LineReader {
  #check = 0;

  /** What a line says; undefined when it is not what was written. */
  line(text: string): Record<string, unknown> | undefined {
    const cut = text.lastIndexOf(',"c":');
    if (cut < 0) return undefined;
    const body = text.slice(0, cut);
    this.#check = crc32(body, this.#check);
    if (text.slice(cut + 5) !== `${this.#check}}`) return undefined;
    try {
      return JSON.parse(`${body}}`);
    } catch {
      return undefined;
    }
  }
}

/** Steps the hash of fetched addresses. */
export function hashAddress(hash: number, gpa: number): number {
  return Math.imul(hash ^ (gpa | 0) ^ (gpa / 0x1_0000_0000), 0x01000193) >>> 0;
}

/** Bytes as hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Hexadecimal as bytes; throws `SyntaxError` when it is none. */
export function fromHex(text: string): Uint8Array {
  return Uint8Array.fromHex(text);
}
