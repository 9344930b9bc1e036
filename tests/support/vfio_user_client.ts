/**
 * A vfio-user client with QEMU's habits, in the thread of the server: it sends, lets the server's poller step, and
 * looks at what came. Numbers are those of the wire, not those of the code under test.
 * @module
 */
import type { Fd } from "../../uapi/fd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import type { Poller } from "../../uapi/poll.ts";
import { connect, Receiver, Sender } from "../../uapi/socket.ts";

/** QEMU 11's own words. */
export const QEMU_CAPABILITIES =
  '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, ' +
  '"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}\0';

const NO_REPLY = 0x10;
const MOST_STEPS = 64;
/** A client gives up when nothing moves for this long. */
const TIMEOUT_MS = 5000;

/** A message that came from the server. */
export interface Message {
  readonly id: number;
  readonly command: number;
  readonly flags: number;
  readonly errno: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Options of a request. */
export interface RequestOptions {
  /** Descriptors that ride on it. */
  readonly fds?: readonly Fd[];
  /** Longest reply that the client can take, header included; the length of the request unless given. */
  readonly room?: number;
  /** Bits of the flags besides the type. */
  readonly flags?: number;
}

/** Little-endian bytes of 32-bit numbers and 64-bit bigints. */
export function words(...values: readonly (number | bigint)[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const value of values) {
    if (typeof value === "bigint") view.setBigUint64(at, value, true);
    else view.setUint32(at, value, true);
    at += typeof value === "bigint" ? 8 : 4;
  }
  return bytes.slice(0, at);
}

/** The bytes of several pieces, one after the other. */
export function joined(...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** A connected client. */
export class VfioUserClient implements Disposable {
  /** Requests of the server, such as DMA_WRITE. */
  readonly received: Message[] = [];
  /** Descriptors that came with replies. */
  readonly fds: Fd[] = [];
  readonly #socket: Fd;
  readonly #poller: Poller;
  readonly #receiver = new Receiver(0x2_0000);
  readonly #sender = new Sender();
  #id = 100;

  /** Connects to the server at `path`, which runs in `poller`. */
  constructor(path: string, poller: Poller) {
    this.#socket = connect(path);
    this.#poller = poller;
  }

  /** Sends bytes as they are. Returns how many went, or minus an error number. */
  raw(bytes: Uint8Array, fds: readonly Fd[] = []): number {
    const pinned = new Pinned(bytes.length);
    pinned.bytes.set(bytes);
    return this.#sender.send(this.#socket, pinned, fds);
  }

  /** A message with its header. */
  message(command: number, payload: Uint8Array, flags: number = 0): Uint8Array<ArrayBuffer> {
    const head = new DataView(new ArrayBuffer(16));
    head.setUint16(0, ++this.#id, true);
    head.setUint16(2, command, true);
    head.setUint32(4, 16 + payload.length, true);
    head.setUint32(8, flags, true);
    return joined(new Uint8Array(head.buffer), payload);
  }

  /** Sends a request and lets the server work until its reply is here. */
  request(command: number, payload: Uint8Array, options: RequestOptions = {}): Message {
    const { fds = [], flags = 0 } = options;
    const message = this.message(command, payload, flags);
    const sent = this.raw(message, fds);
    if (sent !== message.length) throw new Error(`The request did not go: ${sent}`);
    const reply = this.reply(options.room ?? message.length);
    if (reply.id !== this.#id || reply.command !== command) throw new Error("Not our reply");
    return reply;
  }

  /** Sends a request that has no reply, and lets the server work until it has seen it. */
  post(command: number, payload: Uint8Array, fds: readonly Fd[] = []): void {
    this.raw(this.message(command, payload, NO_REPLY), fds);
    this.settle();
  }

  /** Waits for a reply of at most `room` bytes; keeps requests of the server. */
  reply(room: number): Message {
    for (;;) {
      const message = this.next(room);
      if (message === undefined) throw new Error("The server closed the connection");
      if ((message.flags & 0xf) === 1) return message;
      this.received.push(message);
    }
  }

  /** Waits for the next message; undefined when the server has closed the connection. */
  next(room: number): Message | undefined {
    const count = this.#receive(0, 16);
    if (count === 0) return undefined;
    if (count !== 16) throw new Error(`Short read of header: ${count} bytes`);
    const { view, bytes } = this.#receiver.buffer;
    const [id, command] = [view.getUint16(0, true), view.getUint16(2, true)];
    const [size, flags, errno] = [4, 8, 12].map((at) => view.getUint32(at, true));
    if (size < 16) throw new Error(`A message of ${size} bytes`);
    if ((flags & 0xf) === 1 && size > room) throw new Error(`Reply larger than ${room}: ${size}`);
    for (let at = 16; at < size;) {
      const more = this.#receive(at, size - at);
      if (more <= 0) throw new Error("The server left in the middle of a message");
      at += more;
    }
    return { id, command, flags, errno, payload: bytes.slice(16, size) };
  }

  /** Lets the server work until nothing is ready, then takes its requests. */
  settle(): void {
    for (let steps = 0; steps < MOST_STEPS && this.#poller.step(0) > 0; steps++);
    while (this.#peek()) {
      const message = this.next(0);
      if (message === undefined) return;
      this.received.push(message);
    }
  }

  /** Whether the server has closed the connection. */
  isClosed(): boolean {
    for (let steps = 0; steps < MOST_STEPS && this.#poller.step(0) > 0; steps++);
    for (;;) {
      const count = this.#receiver.receive(this.#socket, 0, 0x1_0000, []);
      if (count <= 0) return count !== -11;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.fds) fd[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
  }

  /** Leaves, and lets the server notice. */
  leave(): void {
    this.#socket[Symbol.dispose]();
    for (let steps = 0; steps < MOST_STEPS && this.#poller.step(0) > 0; steps++);
  }

  #peeked = 0;

  #peek(): boolean {
    if (this.#peeked === 0) {
      this.#peeked = Math.max(this.#receiver.receive(this.#socket, 0, 16, []), 0);
    }
    return this.#peeked > 0;
  }

  #receive(at: number, length: number): number {
    if (at === 0 && this.#peeked > 0) {
      const count = this.#peeked;
      this.#peeked = 0;
      return count;
    }
    const end = performance.now() + TIMEOUT_MS;
    while (performance.now() < end) {
      const count = this.#receiver.receive(this.#socket, at, length, this.fds);
      if (count >= 0) return count;
      if (count !== -11) return 0;
      this.#poller.step(1);
    }
    throw new Error("The server does not answer");
  }
}

/** What a client learns while it realizes the device. */
export interface Realized {
  /** Sizes of regions 0 to 5 and 7. */
  readonly regionSizes: readonly number[];
  /** Configuration space. */
  readonly config: Uint8Array<ArrayBuffer>;
  /** How many INTx interrupts there are. */
  readonly intxCount: number;
}

/** What a client brings. */
export interface Machine {
  /** RAM: where it lies, and the file that holds it from its beginning. */
  readonly ram?: { readonly gpa: bigint; readonly sizeBytes: bigint; readonly fd: Fd };
  /** Signalled for INTx. */
  readonly intx?: Fd;
}

/** QEMU's sequence from the connection to a running device. Throws when any reply is an error. */
export function realize(client: VfioUserClient, { ram, intx }: Machine = {}): Realized {
  const ask = (
    command: number,
    payload: Uint8Array,
    options?: RequestOptions,
  ): DataView<ArrayBuffer> => {
    const reply = client.request(command, payload, options);
    if (reply.errno !== 0) throw new Error(`Command ${command} failed: ${reply.errno}`);
    return new DataView(reply.payload.buffer);
  };
  const config = (offset: number, count: number): DataView<ArrayBuffer> =>
    ask(9, words(BigInt(offset), 7, count), { room: 32 + count });
  const setConfig = (offset: number, value: number): DataView<ArrayBuffer> =>
    ask(10, words(BigInt(offset), 7, 4, value));
  ask(1, joined(words(0), new TextEncoder().encode(QEMU_CAPABILITIES)));
  if (ram !== undefined) ask(2, words(32, 3, 0n, ram.gpa, ram.sizeBytes), { fds: [ram.fd] });
  const info = ask(4, words(16, 0, 0, 0));
  if (info.getUint32(8, true) < 8 || info.getUint32(12, true) < 3) throw new Error("Not PCI");
  const regionSizes = [0, 1, 2, 3, 4, 5, 7].map((index) =>
    Number(ask(5, words(32, 0, index, 0, 0n, 0n)).getBigUint64(16, true))
  );
  ask(7, words(16, 0, 3, 0));
  const dump = config(0, 4096);
  setConfig(0x30, 0xffff_f800);
  config(0x30, 4);
  setConfig(0x30, dump.getUint32(16 + 0x30, true));
  for (let bar = 0; bar < 6; bar++) if (regionSizes[bar] > 0) config(0x10 + 4 * bar, 4);
  ask(7, words(16, 0, 2, 0));
  const pin = config(0x3d, 1).getUint8(16);
  config(0x3d, 1);
  const intxCount = ask(7, words(16, 0, 0, 0)).getUint32(12, true);
  if (pin !== 0 && intx !== undefined) ask(8, words(20, 0x24, 0, 0, 1), { fds: [intx] });
  machineReset(ask, setConfig, config, pin === 0 ? undefined : intx);
  return { regionSizes, config: new Uint8Array(dump.buffer.slice(16)), intxCount };
}

/** What system_reset does. */
function machineReset(
  ask: (command: number, payload: Uint8Array, options?: RequestOptions) => DataView<ArrayBuffer>,
  setConfig: (offset: number, value: number) => DataView<ArrayBuffer>,
  config: (offset: number, count: number) => DataView<ArrayBuffer>,
  intx: Fd | undefined,
): void {
  if (intx !== undefined) ask(8, words(20, 0x21, 0, 0, 0));
  const command = config(4, 2).getUint16(16, true);
  ask(10, joined(words(4n, 7, 2), words(command & ~0x407).subarray(0, 2)));
  ask(13, new Uint8Array(0));
  if (intx !== undefined) ask(8, words(20, 0x24, 0, 0, 1), { fds: [intx] });
  for (let bar = 0; bar < 6; bar++) setConfig(0x10 + 4 * bar, 0);
}
