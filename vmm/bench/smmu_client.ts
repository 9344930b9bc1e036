/**
 * A vfio-user client of an SMMU that brings RAM: as much of a VMM as a measurement needs.
 * @module
 */
import { REGISTER_SPACE_SIZE } from "../../hw/smmuv3/spec/registers.ts";
import type { Fd } from "../../uapi/fd.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import { POLL, Poller } from "../../uapi/poll.ts";
import { connect, Receiver, Sender } from "../../uapi/socket.ts";
import {
  ACCESS,
  COMMAND,
  DMA_MAP,
  DMA_MAP_FLAGS,
  FLAGS,
  HEADER,
  REGION_INFO,
  VERSION,
} from "../vfio_user/protocol.ts";

const LONGEST = 256;
const TIMEOUT_MS = 5000;
const WORD = 4;

/** The client. */
export class SmmuClient implements Disposable {
  /** Its RAM, as the SMMU sees it. */
  readonly ram: ArrayBuffer;
  readonly #socket: Fd;
  readonly #sender = new Sender();
  readonly #receiver = new Receiver(LONGEST);
  readonly #poller = new Poller();
  readonly #post = message(COMMAND.REGION_WRITE, ACCESS.data + WORD, FLAGS.NO_REPLY);
  readonly #stack = new DisposableStack();

  /**
   * Connects to the server at `path`, which sees `sizeBytes` of RAM at `gpa` from then on. Throws `SystemError`, and an `Error`
   * when the server refuses something.
   */
  constructor(path: string, gpa: number, sizeBytes: number) {
    using stack = new DisposableStack();
    const file = stack.use(createMemfd("ram", sizeBytes));
    this.ram = stack.use(new Mapping(file, { offset: 0, sizeBytes, writable: true })).buffer;
    this.#socket = stack.use(connect(path));
    stack.use(this.#poller.watch(this.#socket, POLL.IN, () => {}));
    this.#post.view.setUint32(ACCESS.count, WORD, true);
    this.#ask(message(COMMAND.VERSION, VERSION.text));
    const map = message(COMMAND.DMA_MAP, DMA_MAP.end);
    map.view.setUint32(DMA_MAP.argsz, DMA_MAP.end - HEADER.end, true);
    map.view.setUint32(DMA_MAP.flags, DMA_MAP_FLAGS.READ | DMA_MAP_FLAGS.WRITE, true);
    map.setU64(DMA_MAP.iova, gpa);
    map.setU64(DMA_MAP.size, sizeBytes);
    this.#ask(map, [file]);
    this.#stack = stack.move();
  }

  /** The registers as memory. Throws an `Error` when they are none. */
  map(): Uint32Array {
    const request = message(COMMAND.GET_REGION_INFO, REGION_INFO.end);
    request.view.setUint32(REGION_INFO.argsz, LONGEST - HEADER.end, true);
    const [page] = this.#ask(request);
    if (page === undefined) throw new Error("The registers of the SMMU cannot be mapped");
    using _page = page;
    const range = { offset: 0, sizeBytes: REGISTER_SPACE_SIZE, writable: true };
    return new Uint32Array(this.#stack.use(new Mapping(page, range)).buffer);
  }

  /** Has a register written, as a VMM does for a store that trapped, and does not wait for it. */
  post(offset: number, value: number): void {
    this.#post.setU64(ACCESS.offset, offset);
    this.#post.view.setUint32(ACCESS.data, value, true);
    this.#sender.send(this.#socket, this.#post, []);
  }

  /** Leaves. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  /** The descriptors that come with the answer. */
  #ask(request: Pinned, fds: readonly Fd[] = []): Fd[] {
    this.#sender.send(this.#socket, request, fds);
    this.#poller.step(TIMEOUT_MS);
    const received: Fd[] = [];
    const count = this.#receiver.receive(this.#socket, 0, LONGEST, received);
    const { view } = this.#receiver.buffer;
    if (count < HEADER.end || view.getUint32(HEADER.errno, true) !== 0) {
      throw new Error(
        `Request ${request.view.getUint16(HEADER.command, true)} of vfio-user failed`,
      );
    }
    return received;
  }
}

function message(command: number, sizeBytes: number, flags: number = FLAGS.REQUEST): Pinned {
  const request = new Pinned(sizeBytes);
  request.view.setUint16(HEADER.command, command, true);
  request.view.setUint32(HEADER.sizeBytes, sizeBytes, true);
  request.view.setUint32(HEADER.flags, flags, true);
  return request;
}
