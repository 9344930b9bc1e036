/**
 * Messages over one client's socket: framing, descriptors, and replies that wait for a slow reader.
 * @module
 */
import { ERRNO, errnoName } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import type { Pinned } from "../../uapi/pinned.ts";
import { POLL, type Poller, type Watch } from "../../uapi/poll.ts";
import { MOST_FDS, Receiver, send, Sender } from "../../uapi/socket.ts";
import type { Outlet } from "./dma_write_msi.ts";
import { HEADER, LONGEST_MESSAGE } from "./protocol.ts";

/** What a connection tells its owner. */
export interface ConnectionOwner {
  /**
   * A message is complete: the first `sizeBytes` of `message`, valid during the call. Descriptors that are still in
   * `fds` afterwards are closed. To end the connection, answer with the reason.
   */
  received(message: Pinned, sizeBytes: number, fds: Fd[]): string | undefined;
  /** The connection is over and its socket closed. */
  closed(reason: string): void;
}

/** Messages to be handled before other descriptors get their turn. */
const TURN = 64;
/** Room for posted messages that a client leaves unread, on top of one reply. */
const POSTED_ROOM = 0x1_8000;

/**
 * One client. The header is received first, then the body together with the next header, so that a burst costs one
 * system call a message. While anything waits to be sent, nothing is received: a client that does not read its replies
 * stops itself.
 */
export class Connection implements Outlet, Disposable {
  readonly #fd: Fd;
  readonly #owner: ConnectionOwner;
  readonly #watch: Watch;
  readonly #receiver = new Receiver(LONGEST_MESSAGE + HEADER.end);
  readonly #sender = new Sender();
  readonly #arrived: Fd[] = [];
  #fds: Fd[] = [];
  #nextFds: Fd[] = [];
  #filled = 0;
  #sizeBytes = 0;
  readonly #outbox = new Uint8Array(new ArrayBuffer(LONGEST_MESSAGE + POSTED_ROOM));
  #waiting = 0;
  #failure: string | undefined;
  #isOver = false;

  /** Serves the socket `fd`, and owns it. */
  constructor(fd: Fd, poller: Poller, owner: ConnectionOwner) {
    this.#fd = fd;
    this.#owner = owner;
    this.#watch = poller.watch(fd, POLL.IN, () => this.serve());
  }

  /**
   * Sends the first `sizeBytes` of `message`, or keeps what does not go now. Descriptors go at once or not at all: a
   * client that leaves no room for them loses the connection.
   */
  reply(message: Pinned, sizeBytes: number, fds: readonly Fd[]): void {
    if (fds.length === 0) return void this.#put(message.bytes, sizeBytes);
    const sent = this.#waiting === 0
      ? this.#sender.send(this.#fd, message, fds, sizeBytes)
      : -ERRNO.EAGAIN;
    if (sent === sizeBytes) return;
    this.#watch.events = POLL.IN | POLL.OUT;
    this.#failure = "it left no room for descriptors";
  }

  /** Sends a message that has no reply; false when the client has left too many unread. */
  post(message: Uint8Array<ArrayBuffer>): boolean {
    if (this.#waiting + message.length > POSTED_ROOM) return false;
    return this.#put(message, message.length);
  }

  /** Closes the socket and every descriptor received but not taken; the owner is not told. */
  [Symbol.dispose](): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#watch[Symbol.dispose]();
    for (const fds of [this.#arrived, this.#fds, this.#nextFds]) closeAll(fds);
    this.#fd[Symbol.dispose]();
  }

  /** Ends the connection for a reason of ours, as if the client had left. */
  end(reason: string): void {
    if (this.#isOver) return;
    this[Symbol.dispose]();
    this.#owner.closed(reason);
  }

  /** Sends what waits, handles what has come, and notices when the client has left. */
  serve(): void {
    if (this.#waiting > 0) this.#flush();
    this.#pump();
    if (this.#failure !== undefined) this.end(this.#failure);
  }

  /** Handles what has come, until a reply is stuck, nothing is left, or it is someone else's turn. */
  #pump(): void {
    let turn = TURN;
    let isDrained = false;
    while (this.#failure === undefined && this.#waiting === 0 && !this.#isOver) {
      if (this.#sizeBytes === 0 && this.#filled >= HEADER.end && !this.#begin()) return;
      if (this.#sizeBytes > 0 && this.#filled >= this.#sizeBytes) {
        this.#deliver();
        turn--;
        continue;
      }
      if (isDrained || turn <= 0) return;
      const wanted = this.#sizeBytes + HEADER.end - this.#filled;
      const count = this.#receiver.receive(this.#fd, this.#filled, wanted, this.#arrived);
      if (count === -ERRNO.EAGAIN || count === -ERRNO.EINTR) return;
      if (count <= 0) return this.#ended(count);
      this.#filled += count;
      isDrained = count < wanted;
      if (this.#arrived.length > 0) this.#assign();
    }
  }

  /** Takes the size from a complete header; false when no message can have it. */
  #begin(): boolean {
    const sizeBytes = this.#receiver.buffer.view.getUint32(HEADER.sizeBytes, true);
    if (sizeBytes >= HEADER.end && sizeBytes <= LONGEST_MESSAGE) {
      this.#sizeBytes = sizeBytes;
      return true;
    }
    this.#failure = `it sent a message of ${sizeBytes} bytes`;
    return false;
  }

  #deliver(): void {
    const message = this.#receiver.buffer;
    const sizeBytes = this.#sizeBytes;
    const fds = this.#fds;
    const reason = this.#owner.received(message, sizeBytes, fds);
    closeAll(fds);
    if (this.#filled > sizeBytes) message.bytes.copyWithin(0, sizeBytes, this.#filled);
    this.#filled -= sizeBytes;
    this.#sizeBytes = 0;
    this.#fds = this.#nextFds;
    this.#nextFds = fds;
    this.#failure ??= reason;
  }

  /** Descriptors ride on a header: those that came with bytes of the next header are the next message's. */
  #assign(): void {
    const isNext = this.#sizeBytes > 0 && this.#filled > this.#sizeBytes;
    const fds = isNext ? this.#nextFds : this.#fds;
    fds.push(...this.#arrived.splice(0));
    if (fds.length > MOST_FDS) this.#failure = `it sent more than ${MOST_FDS} descriptors`;
  }

  #ended(count: number): void {
    if (count === -ERRNO.ETOOMANYREFS) {
      this.#failure = `it sent more than ${MOST_FDS} descriptors`;
    } else if (count < 0 && count !== -ERRNO.ECONNRESET) {
      this.#failure = `receiving failed: ${errnoName(-count)}`;
    } else {
      this.#failure = this.#filled > 0 ? "it left in the middle of a message" : "it left";
    }
  }

  #put(message: Uint8Array<ArrayBuffer>, sizeBytes: number): boolean {
    if (this.#failure !== undefined || this.#isOver) return false;
    let sent = 0;
    if (this.#waiting === 0) {
      sent = send(this.#fd, message, sizeBytes);
      if (sent === sizeBytes) return true;
      if (sent < 0 && !this.#survives(sent)) return false;
      sent = Math.max(sent, 0);
    }
    this.#outbox.set(message.subarray(sent, sizeBytes), this.#waiting);
    this.#waiting += sizeBytes - sent;
    this.#watch.events = POLL.OUT;
    return true;
  }

  #flush(): void {
    const sent = send(this.#fd, this.#outbox, this.#waiting);
    if (sent < 0) return void this.#survives(sent);
    this.#outbox.copyWithin(0, sent, this.#waiting);
    this.#waiting -= sent;
    if (this.#waiting === 0) this.#watch.events = POLL.IN;
  }

  /**
   * Whether a refusal to send is only a full socket. A failure is noted and acted upon in the next turn, because the
   * sender may be a device in the middle of its work.
   */
  #survives(result: number): boolean {
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return true;
    this.#waiting = 0;
    this.#watch.events = POLL.IN | POLL.OUT;
    const isGone = result === -ERRNO.EPIPE || result === -ERRNO.ECONNRESET;
    this.#failure = isGone ? "it left" : `sending failed: ${errnoName(-result)}`;
    return false;
  }
}

function closeAll(fds: Fd[]): void {
  for (const fd of fds) fd[Symbol.dispose]();
  fds.length = 0;
}
