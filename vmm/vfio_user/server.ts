/**
 * A PCI function offered over vfio-user: one socket, one client at a time.
 * @module
 */
import type { PciFunction } from "../../hw/pci/function.ts";
import { errnoName } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import { POLL, type Poller, type Watch } from "../../uapi/poll.ts";
import type { GuestRamMap, GuestRamOwner } from "../guest_ram_map.ts";
import { Connection } from "./connection.ts";
import type { DmaWriteMsi } from "./dma_write_msi.ts";
import type { Intx } from "./intx.ts";
import { LineLimiter } from "./line_limiter.ts";
import { Listener } from "./listener.ts";
import type { MappedRegion } from "./mapped_region.ts";
import { type AccessObserver, Regions } from "./regions.ts";
import type { RequestLine } from "./request_line.ts";
import { Session } from "./session.ts";

/** What an observer hears of a server; it costs nothing where it does not listen. */
export interface VfioUserObserver extends AccessObserver {
  /** A request has arrived: one of `COMMAND`, or any other number. */
  message?(command: number): void;
  /** A client is there, or is gone. */
  connected?(isConnected: boolean): void;
}

/** Options of `VfioUserServer`. */
export interface VfioUserServerOptions {
  /** Where clients connect: a path in a directory that is private to this user. */
  readonly socketPath: string;
  /** Takes the client's maps. */
  readonly guestRam: GuestRamMap;
  /** The function's wired interrupt; without one, the client sees none. */
  readonly intx?: Intx;
  /** How the client is asked to give the function back; without one, it cannot be asked. */
  readonly request?: RequestLine;
  /** Messages that this server's client carries. */
  readonly msi?: DmaWriteMsi;
  /** Regions that the client maps, by index. */
  readonly mapped?: ReadonlyMap<number, MappedRegion>;
  /** Takes lines for people: a burst of 16, then one a second. */
  readonly log?: (line: string) => void;
  /** Hears what happens. */
  readonly observer?: VfioUserObserver;
  /** Name in messages; the function's own unless given. */
  readonly name?: string;
  /** The time in milliseconds, for the log's limit. */
  readonly now?: () => number;
}

const LOG_BURST = 16;
const LOG_REFILL_MS = 1000;
/** Clients to be taken or turned away before other descriptors get their turn. */
const TURN = 8;

/** Serves a function. When a client leaves, for whatever reason, the function is reset and the next may come. */
export class VfioUserServer implements Disposable {
  readonly #pci: PciFunction;
  readonly #options: VfioUserServerOptions;
  readonly #name: string;
  readonly #limiter: LineLimiter;
  readonly #listener: Listener;
  readonly #regions: Regions;
  readonly #ram: GuestRamOwner;
  #watch: Watch | undefined;
  #connection: Connection | undefined;
  #session: Session | undefined;

  /** Listens for the client of `pci`; serves it once registered. Throws `SystemError`. */
  constructor(pci: PciFunction, options: VfioUserServerOptions) {
    const { log = () => {}, now = () => performance.now(), observer = {} } = options;
    this.#pci = pci;
    this.#options = options;
    this.#name = options.name ?? pci.name;
    this.#limiter = new LineLimiter(log, { burst: LOG_BURST, refillMs: LOG_REFILL_MS, now });
    this.#regions = new Regions(pci, observer, options.mapped);
    this.#ram = options.guestRam.owner(this.#name);
    this.#listener = new Listener(options.socketPath);
  }

  /** Whether a client is connected. */
  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  /** Serves from `poller` from now on. */
  register(poller: Poller): void {
    this.#watch ??= poller.watch(this.#listener.fd, POLL.IN, () => this.#accept(poller));
  }

  /** Takes no other client from now on; the one that is there stays. */
  retire(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#listener[Symbol.dispose]();
  }

  /** Ends the connection, as if the client had left, and stops listening. */
  [Symbol.dispose](): void {
    this.retire();
    if (this.#connection === undefined) return;
    this.#connection[Symbol.dispose]();
    this.#closed("we are closing");
  }

  /** Who connects and says nothing keeps nobody out. */
  get #isTaken(): boolean {
    return this.#session?.isAgreed ?? false;
  }

  #log(line: string): void {
    this.#limiter.line(`${this.#name}: ${line}`);
  }

  #accept(poller: Poller): void {
    for (let turn = TURN; turn > 0; turn--) {
      const client = this.#listener.accept();
      if (client === undefined) return;
      // The client we have may have left already: then this one is its successor.
      this.#connection?.serve();
      if (typeof client === "number") {
        return this.#log(`Cannot accept a client: ${errnoName(client)}`);
      }
      // With that one, the function itself may have gone.
      if (this.#watch === undefined) return client[Symbol.dispose]();
      if (this.#isTaken) {
        client[Symbol.dispose]();
        this.#log("Turned a second client away");
      } else {
        this.#connection?.end("it agreed on no version before the next client came");
        this.#serve(client, poller);
      }
    }
  }

  #serve(client: Fd, poller: Poller): void {
    const { intx, request, msi, observer } = this.#options;
    const [pci, regions, ram] = [this.#pci, this.#regions, this.#ram];
    const target = { pci, regions, intx, request, ram, poller };
    const session = new Session(target, {
      reply: (message, sizeBytes, fds) => connection.reply(message, sizeBytes, fds),
      agreed: () => msi?.connect(connection),
      refused: (line) => this.#log(line),
      requested: (command) => observer?.message?.(command),
    });
    const connection = new Connection(client, poller, {
      received: (message, sizeBytes, fds) => {
        try {
          return session.handle(message, sizeBytes, fds);
        } catch (error) {
          return describeBug(error);
        }
      },
      closed: (reason) => this.#closed(reason),
    });
    this.#connection = connection;
    this.#session = session;
    this.#log("A client connected");
    observer?.connected?.(true);
  }

  /** Leaves nothing of the client: its interrupts first, so that a reset says nothing to it. */
  #closed(reason: string): void {
    const { intx, request, msi, observer } = this.#options;
    this.#connection = undefined;
    this.#session = undefined;
    msi?.connect(undefined);
    intx?.disconnect();
    request?.[Symbol.dispose]();
    this.#log(`The client is gone: ${reason}`);
    try {
      if (this.#pci.coldReset) this.#pci.coldReset();
      else this.#pci.reset();
    } catch (error) {
      this.#log(describeBug(error));
    }
    this.#ram.unmapAll();
    observer?.connected?.(false);
  }
}

/** In one line, with the place where it happened. */
function describeBug(error: unknown): string {
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  return `A bug of ours: ${text.split("\n", 2).map((line) => line.trim()).join(" ")}`;
}
