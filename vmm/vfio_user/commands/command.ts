/**
 * What a command of vfio-user is, and what it works on.
 * @module
 */
import type { PciFunction } from "../../../hw/pci/function.ts";
import { ERRNO } from "../../../uapi/errno.ts";
import type { Fd } from "../../../uapi/fd.ts";
import type { Pinned } from "../../../uapi/pinned.ts";
import type { Poller } from "../../../uapi/poll.ts";
import type { GuestRamOwner, Refusal } from "../../guest_ram_map.ts";
import type { Intx } from "../intx.ts";
import type { RequestLine } from "../request_line.ts";
import type { Regions } from "../regions.ts";

/** What the commands of one client work on. */
export interface Target {
  /** Reset by RESET. */
  readonly pci: PciFunction;
  /** Its regions. */
  readonly regions: Regions;
  /** Its wired interrupt, if it has one. */
  readonly intx: Intx | undefined;
  /** How the client is asked to give the function back, if that can happen. */
  readonly request: RequestLine | undefined;
  /** Where the client's maps go. */
  readonly ram: GuestRamOwner;
  /** For descriptors that unmask the interrupt. */
  readonly poller: Poller;
}

/** A request, valid while its command runs. */
export interface Request {
  /** Its bytes, header first; others may follow. */
  readonly message: Pinned;
  /** Its length. */
  readonly sizeBytes: number;
  /** Whether the client wants no reply. */
  readonly isPosted: boolean;
  /** Descriptors that came along. Those that a command does not take out are closed. */
  readonly fds: Fd[];
  /** Descriptors that go along with the reply; their owner keeps them. */
  readonly carried: Fd[];
}

/** One row of the table of commands. */
export interface Command {
  /** Length of the fixed part of a request, header included. */
  readonly sizeBytes: number;
  /** Whether more may follow; otherwise a longer request is refused. */
  readonly isOpen?: true;
  /** Most descriptors that may come along; none unless given. */
  readonly mostFds?: number;
  /** Whether it makes sense only with a reply. */
  readonly needsReply?: true;
  /** Writes the reply's payload and returns its length, header included; or tells why not. */
  readonly run: (target: Target, request: Request, reply: Pinned) => number | Refusal;
}

/** The refusal of a request that makes no sense. */
export function invalid(reason: string): Refusal {
  return { errno: ERRNO.EINVAL, reason };
}

/** Copies the payload of a request, up to `end`, into its reply. */
export function echo({ message }: Request, reply: Pinned, end: number): void {
  for (let i = 16; i < end; i++) reply.bytes[i] = message.bytes[i];
}
