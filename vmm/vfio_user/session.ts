/**
 * One client's requests and their replies, from VERSION to the end of the connection.
 * @module
 */
import { ERRNO, errnoName, SystemError } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import type { Refusal } from "../guest_ram_map.ts";
import { invalid, type Request, type Target } from "./commands/command.ts";
import { COMMANDS } from "./commands/table.ts";
import { COMMAND, commandName, FLAGS, HEADER, LONGEST_MESSAGE } from "./protocol.ts";

/** Whom a session tells what. */
export interface SessionOwner {
  /** Sends the first `sizeBytes` of a reply, and copies of `fds` with it. */
  reply(message: Pinned, sizeBytes: number, fds: readonly Fd[]): void;
  /** A version was agreed: messages may go to the client. */
  agreed(): void;
  /** A request was refused. */
  refused(line: string): void;
  /** A request has arrived. */
  requested(command: number): void;
}

/**
 * Answers requests. Nothing a client sends makes this throw: a refusal is an error reply and one line, and a message
 * that leaves no common ground is a reason to end the connection.
 */
export class Session {
  readonly #target: Target;
  readonly #owner: SessionOwner;
  readonly #reply = new Pinned(LONGEST_MESSAGE);
  #isAgreed = false;

  /** A session that waits for VERSION. */
  constructor(target: Target, owner: SessionOwner) {
    this.#target = target;
    this.#owner = owner;
  }

  /** Whether a version was agreed. */
  get isAgreed(): boolean {
    return this.#isAgreed;
  }

  /**
   * Does what a message of `sizeBytes` asks and answers it. Returns why the connection must end, or undefined.
   * Descriptors that were not taken out of `fds` still belong to the caller.
   */
  handle(message: Pinned, sizeBytes: number, fds: Fd[]): string | undefined {
    const { view } = message;
    const flags = view.getUint32(HEADER.flags, true);
    const type = flags & FLAGS.TYPE;
    // We ask nothing that has a reply, but a client may still report that a posted write failed.
    if (type === FLAGS.REPLY) return undefined;
    if (type !== FLAGS.REQUEST) return `it sent a message of type ${type}`;
    const command = view.getUint16(HEADER.command, true);
    if (!this.#isAgreed && command !== COMMAND.VERSION) {
      return `it began with ${commandName(command)} and not with VERSION`;
    }
    this.#owner.requested(command);
    const isPosted = (flags & FLAGS.NO_REPLY) !== 0;
    const request: Request = { message, sizeBytes, isPosted, fds, carried: [] };
    this.#answer(request, command, this.#run(command, request));
    return this.#isAgreed ? undefined : "no version was agreed";
  }

  #run(command: number, request: Request): number | Refusal {
    const row = COMMANDS[command];
    const { sizeBytes, isPosted, fds } = request;
    if (row === undefined) return { errno: ERRNO.ENOSYS, reason: "it is not supported" };
    if (sizeBytes < row.sizeBytes || (sizeBytes > row.sizeBytes && !row.isOpen)) {
      return invalid(`it has ${sizeBytes} bytes`);
    }
    if (fds.length > (row.mostFds ?? 0)) return invalid(`it came with ${fds.length} descriptors`);
    if (row.needsReply && isPosted) return invalid("it asks for no reply");
    if (command === COMMAND.VERSION && this.#isAgreed) return invalid("it was agreed before");
    try {
      return row.run(this.#target, request, this.#reply);
    } catch (error) {
      // The host refused what the device needed, such as a write to its disk. Anything else is a bug of ours.
      if (error instanceof SystemError) return { errno: error.errno, reason: error.message };
      throw error;
    }
  }

  #answer(request: Request, command: number, result: number | Refusal): void {
    const { message, isPosted, carried } = request;
    const refusal = typeof result === "number" ? undefined : result;
    const sizeBytes = typeof result === "number" ? result : HEADER.end;
    if (!isPosted) {
      const { view } = this.#reply;
      view.setUint16(HEADER.id, message.view.getUint16(HEADER.id, true), true);
      view.setUint16(HEADER.command, command, true);
      view.setUint32(HEADER.sizeBytes, sizeBytes, true);
      view.setUint32(HEADER.flags, refusal ? FLAGS.REPLY | FLAGS.ERROR : FLAGS.REPLY, true);
      view.setUint32(HEADER.errno, refusal?.errno ?? 0, true);
      this.#owner.reply(this.#reply, sizeBytes, carried);
    }
    if (refusal !== undefined) {
      const { errno, reason } = refusal;
      this.#owner.refused(`${commandName(command)} refused with ${errnoName(errno)}: ${reason}`);
    } else if (!this.#isAgreed) {
      this.#isAgreed = true;
      this.#owner.agreed();
    }
  }
}
