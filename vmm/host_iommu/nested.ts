/**
 * The guest's own tables used by hardware: a stage 2 of guest RAM, and on it, for each stream, what its STE says.
 *
 * One nest parent and one vIOMMU stand for one guest SMMU, because ASIDs are told apart by the parent's VMID. A stream
 * is moved from table to table by attaching it, which replaces what it had; what nobody is attached to any more goes
 * only then. A stream for which that fails aborts.
 * @module
 */
import { CFGI, CMD, OP } from "../../hw/smmuv3/spec/commands.ts";
import { set } from "../../hw/bits.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { type HostIommu, StreamUse } from "../../hw/smmuv3/host_iommu.ts";
import { SystemError } from "../../uapi/errno.ts";
import type { BoundDevice, Iommufd } from "../iommufd/iommufd.ts";
import { Destroyer } from "./destroyer.ts";
import { type EventSink, HostEvents } from "./host_events.ts";
import { Invalidator } from "./invalidator.ts";
import { NestedTables, type Table } from "./nested_tables.ts";
import { StageTwo } from "./stage_two.ts";
import { COMMAND_WORDS } from "./forwarded_command.ts";
import { keyOf, nestedVste } from "./vste.ts";
import { IOMMU_VEVENTQ_TYPE, IOMMU_VIOMMU_TYPE } from "../../uapi/iommufd/mod.ts";

/** An assigned device, and the StreamID that the guest knows it by. */
export interface HostStream {
  /** For messages to people. */
  readonly name: string;
  /** The guest's StreamID. */
  readonly streamId: number;
  /** Bound to the iommufd, and behind the same physical SMMU as the others. */
  readonly device: BoundDevice;
}

/** A stream that the guest knows by another StreamID from now on. */
export type StreamMove = readonly [from: number, to: number];

/** Options of `NestedHost`. */
export interface NestedHostOptions {
  /** Where the hardware is. */
  readonly iommufd: Iommufd;
  /** At least one. */
  readonly streams: readonly HostStream[];
  /** What the guest was offered. */
  readonly features: Features;
  /** Takes one line for people about what hardware refused, or lost. */
  readonly log: (line: string) => void;
  /** Each invalidation has to be done twice: IOMMU_HW_INFO_ARM_SMMUV3 says so of some hardware. */
  readonly repeats?: boolean;
}

const EVENT_DEPTH = 1024;
/** No object of iommufd has this id. */
const NONE = 0;

/** A stream and what it is attached to. */
interface Stream {
  readonly name: string;
  readonly device: BoundDevice;
  streamId: number;
  /** `NONE` when the vIOMMU does not know it. */
  vdeviceId: number;
  /** Undefined when it is attached to nothing, which aborts as well. */
  table: Table | undefined;
}

/** Hardware behind the streams of one guest SMMU. */
export class NestedHost implements HostIommu, Disposable {
  /** Guest RAM as hardware sees it. */
  readonly stageTwo: StageTwo;
  /** Events of the hardware. */
  readonly events: HostEvents;

  readonly #iommufd: Iommufd;
  readonly #features: Features;
  readonly #log: (line: string) => void;
  readonly #destroyer: Destroyer;
  readonly #viommuId: number;
  readonly #tables: NestedTables;
  readonly #invalidator: Invalidator;
  readonly #streams = new Map<number, Stream>();
  readonly #stack = new DisposableStack();
  #streamIds: readonly number[] = [];
  /** The device that new tables are made for: any behind this SMMU will do. */
  #devId: number;

  /**
   * All streams abort at first. Throws `SystemError` when hardware cannot do it; nothing is left then.
   */
  constructor({ iommufd, streams, features, log, repeats = false }: NestedHostOptions) {
    using stack = new DisposableStack();
    this.#iommufd = iommufd;
    this.#features = features;
    this.#log = log;
    const { devId } = streams[0].device;
    this.#devId = devId;
    this.stageTwo = stack.use(new StageTwo(iommufd, devId, log, () => this.#abortAll()));
    this.#destroyer = stack.use(new Destroyer(iommufd, log));
    const hwptId = this.stageTwo.id;
    this.#viommuId = iommufd.viommuAlloc({
      flags: 0,
      type: IOMMU_VIOMMU_TYPE.ARM_SMMUV3,
      devId,
      hwptId,
    });
    stack.defer(() => this.#destroy(this.#viommuId));
    const queue = iommufd.veventqAlloc({
      flags: 0,
      viommuId: this.#viommuId,
      type: IOMMU_VEVENTQ_TYPE.ARM_SMMUV3,
      depth: EVENT_DEPTH,
    });
    stack.defer(() => this.#destroy(queue.id));
    stack.use(queue);
    this.events = stack.use(new HostEvents(queue, log));
    for (const { name, streamId, device } of streams) {
      const stream: Stream = { name, streamId, device, vdeviceId: NONE, table: undefined };
      stack.defer(() => this.#destroy(stream.vdeviceId));
      this.#name(stream);
      this.#streams.set(streamId, stream);
    }
    this.#list();
    this.#tables = stack.use(new NestedTables(iommufd, () => this.#devId, this.#viommuId, log));
    stack.defer(() => this.#detachAll());
    for (const stream of this.#streams.values()) this.#attach(stream, this.#tables.abort);
    this.#invalidator = new Invalidator(iommufd, this.#viommuId, features, repeats);
    this.#stack = stack.move();
  }

  /** StreamIDs of the assigned devices. */
  get streamIds(): readonly number[] {
    return this.#streamIds;
  }

  /** Passes events to `sink`. */
  listen(sink: EventSink): void {
    this.events.listen(sink);
  }

  setStream(streamId: number, use: number, ste: Uint32Array): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    const { abort, bypass } = this.#tables;
    if (use !== StreamUse.Nested) {
      return this.#attempt(stream, () => use === StreamUse.Bypass ? bypass : abort);
    }
    const vste = nestedVste(ste, this.#features);
    if (stream.table?.key === keyOf(vste)) this.#forgetContexts(stream);
    else this.#attempt(stream, () => this.#tables.find(vste));
  }

  invalidate(commands: Uint32Array, count: number): number {
    const done = this.#invalidator.run(commands, count);
    const { failure } = this.#invalidator;
    if (failure !== undefined) this.#log(`${failure.message}; the guest sees CERROR_ILL`);
    return done;
  }

  /**
   * The guest knows devices by other StreamIDs from now on; each aborts until the SMMU is asked about it
   * (`SmmuV3.refreshHost`). Returns why that cannot be; then nothing has changed.
   */
  move(moves: readonly StreamMove[]): string | undefined {
    const moved = moves.map(([from]) => this.#streams.get(from));
    const missing = moved.indexOf(undefined);
    if (missing >= 0) return `No device has StreamID ${hex(moves[missing][0])}`;
    const names = new Map(this.#streams);
    for (const [from] of moves) names.delete(from);
    for (const [at, [, to]] of moves.entries()) {
      const other = names.get(to);
      if (other !== undefined) return `StreamID ${hex(to)} is that of ${other.name}`;
      names.set(to, moved[at]!);
    }
    // All give up their names before one takes another's.
    for (const stream of moved) {
      this.#attempt(stream!, () => this.#tables.abort);
      this.#destroy(stream!.vdeviceId);
      stream!.vdeviceId = NONE;
    }
    for (const [at, [, to]] of moves.entries()) moved[at]!.streamId = to;
    this.#streams.clear();
    for (const [streamId, stream] of names) this.#streams.set(streamId, stream);
    this.#list();
  }

  /** The host takes a device back, which is closed when this returns; the others go on. Nothing happens to a stream of none. */
  withdraw(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#detach(stream);
    this.#destroy(stream.vdeviceId);
    stream.vdeviceId = NONE;
    stream.device[Symbol.dispose]();
    this.#streams.delete(streamId);
    this.#list();
    // A table for a device that is gone would be refused, or be one for whatever has its number then.
    const [other] = this.#streams.values();
    if (other !== undefined && stream.device.devId === this.#devId) {
      this.#devId = other.device.devId;
    }
  }

  /** Detaches everything, and destroys what was made. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  /** Attaches a stream to the table that `find` finds. When that cannot be done, it aborts. */
  #attempt(stream: Stream, find: () => Table): void {
    try {
      this.#name(stream);
      const table = find();
      if (table !== stream.table) this.#attach(stream, table);
    } catch (error) {
      this.#abort(stream, error);
    }
  }

  /** What the stream had goes only after it has something else. */
  #attach(stream: Stream, table: Table): void {
    try {
      if (table !== this.#tables.abort) this.stageTwo.settle();
      stream.device.attach(table.id);
    } catch (error) {
      this.#tables.drop(table);
      throw error;
    }
    table.users++;
    this.#leave(stream);
    stream.table = table;
  }

  #leave(stream: Stream): void {
    const { table } = stream;
    stream.table = undefined;
    if (table === undefined) return;
    table.users--;
    this.#tables.drop(table);
  }

  /** Without a table to abort in, being attached to nothing, or not being ours any more, aborts as well. */
  #abort(stream: Stream, error: unknown): void {
    const reason = messageOf(error);
    this.#log(`${reason}; ${stream.name}, StreamID ${hex(stream.streamId)}, aborts`);
    if (stream.table === this.#tables.abort) return;
    const ways = [
      (): unknown => stream.device.attach(this.#tables.abort.id),
      (): void => stream.device.detach(),
      (): void => stream.device[Symbol.dispose](),
    ];
    const way = ways.findIndex((way) => isDone(way));
    this.#leave(stream);
    // The kernel destroys the vDEVICE of a device that is unbound.
    if (way === 2) stream.vdeviceId = NONE;
    if (way !== 0) return;
    this.#tables.abort.users++;
    stream.table = this.#tables.abort;
  }

  /** CMD_CFGI_STE also says that the stream's CDs are others, which Linux need not be told with a new STE. */
  #forgetContexts(stream: Stream): void {
    const command = new Uint32Array(COMMAND_WORDS);
    set(command, CMD.Opcode, OP.CMD_CFGI_CD_ALL);
    set(command, CFGI.StreamID, stream.streamId);
    if (this.#invalidator.run(command, 1) === 0) this.#abort(stream, this.#invalidator.failure);
  }

  /** Gives a device its StreamID at the vIOMMU, unless it has it. Throws `SystemError`. */
  #name(stream: Stream): void {
    if (stream.vdeviceId !== NONE) return;
    this.#destroyer.retry();
    stream.vdeviceId = this.#iommufd.vdeviceAlloc({
      viommuId: this.#viommuId,
      devId: stream.device.devId,
      virtId: BigInt(stream.streamId),
    });
  }

  #detachAll(): void {
    for (const stream of this.#streams.values()) this.#detach(stream);
  }

  #detach(stream: Stream): void {
    try {
      stream.device.detach();
    } catch (error) {
      this.#log(`${messageOf(error)}; ${stream.name} is unbound`);
      stream.device[Symbol.dispose]();
      stream.vdeviceId = NONE;
    }
    this.#leave(stream);
  }

  #abortAll(): void {
    for (const stream of this.#streams.values()) this.#attempt(stream, () => this.#tables.abort);
  }

  #list(): void {
    this.#streamIds = [...this.#streams.keys()].sort((a, b) => a - b);
  }

  #destroy(id: number): void {
    if (id !== NONE) this.#destroyer.destroy(id);
  }
}

function isDone(action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    messageOf(error);
    return false;
  }
}

/** What the host refused, in words; a mistake of ours is thrown on. */
function messageOf(error: unknown): string {
  if (error instanceof SystemError) return error.message;
  throw error;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
