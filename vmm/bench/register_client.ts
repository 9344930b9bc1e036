/**
 * A vfio-user client that maps the registers of an SMMU, and brings RAM: as much of a VMM as a measurement needs.
 * @module
 */
import type { Fd } from "../../uapi/fd.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import { POLL, Poller } from "../../uapi/poll.ts";
import { connect, Receiver, Sender } from "../../uapi/socket.ts";
import { REGISTER_SPACE_SIZE } from "../../hw/smmuv3/spec/registers.ts";
import {
  COMMAND,
  DMA_MAP,
  DMA_MAP_FLAGS,
  HEADER,
  REGION_INFO,
  VERSION,
} from "../vfio_user/protocol.ts";

const LONGEST = 256;
const TIMEOUT_MS = 5000;

/** The client. */
export class RegisterClient implements Disposable {
  /** The registers, as the device sees them. */
  readonly registers: Uint32Array;
  /** The RAM, as the device sees it. */
  readonly ram: ArrayBuffer;
  readonly #stack = new DisposableStack();

  /**
   * Connects to the server at `path`, which has `sizeBytes` of RAM at `gpa` from then on. Throws `SystemError`, and an `Error` when
   * the server refuses something or its registers cannot be mapped.
   */
  constructor(path: string, gpa: number, sizeBytes: number) {
    using stack = new DisposableStack();
    const whole = { offset: 0, writable: true };
    const file = stack.use(createMemfd("ram", sizeBytes));
    this.ram = stack.use(new Mapping(file, { ...whole, sizeBytes })).buffer;
    const ask = requester(stack.use(connect(path)));
    ask(COMMAND.VERSION, VERSION.text, () => {}, []);
    ask(COMMAND.DMA_MAP, DMA_MAP.end, (request) => {
      request.view.setUint32(DMA_MAP.argsz, DMA_MAP.end - HEADER.end, true);
      request.view.setUint32(DMA_MAP.flags, DMA_MAP_FLAGS.READ | DMA_MAP_FLAGS.WRITE, true);
      request.setU64(DMA_MAP.iova, gpa);
      request.setU64(DMA_MAP.size, sizeBytes);
    }, [file]);
    const [page] = ask(COMMAND.GET_REGION_INFO, REGION_INFO.end, ({ view }) => {
      view.setUint32(REGION_INFO.argsz, LONGEST - HEADER.end, true);
    }, []);
    if (page === undefined) throw new Error(`The registers behind ${path} cannot be mapped`);
    using _page = page;
    const mapping = new Mapping(page, { ...whole, sizeBytes: REGISTER_SPACE_SIZE });
    this.registers = new Uint32Array(stack.use(mapping).buffer);
    this.#stack = stack.move();
  }

  /** Leaves. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }
}

/** Asks a server, by a message of `sizeBytes` that `fill` makes whole, and returns the descriptors that came with the answer. */
function requester(
  socket: Fd,
): (
  command: number,
  sizeBytes: number,
  fill: (request: Pinned) => void,
  fds: readonly Fd[],
) => Fd[] {
  const receiver = new Receiver(LONGEST);
  const poller = new Poller();
  poller.watch(socket, POLL.IN, () => {});
  const sender = new Sender();
  return (command, sizeBytes, fill, fds) => {
    const request = new Pinned(sizeBytes);
    request.view.setUint16(HEADER.command, command, true);
    request.view.setUint32(HEADER.sizeBytes, sizeBytes, true);
    fill(request);
    sender.send(socket, request, fds);
    poller.step(TIMEOUT_MS);
    const received: Fd[] = [];
    const count = receiver.receive(socket, 0, LONGEST, received);
    const errno = count < HEADER.end ? -1 : receiver.buffer.view.getUint32(HEADER.errno, true);
    if (errno !== 0) throw new Error(`Request ${command} of vfio-user failed: error ${errno}`);
    return received;
  };
}
