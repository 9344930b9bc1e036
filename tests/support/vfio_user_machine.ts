/**
 * A recording PCI function behind a vfio-user server, in a directory of its own.
 * @module
 */
import { GuestRam } from "../../hw/guest_memory.ts";
import type { PciFunction } from "../../hw/pci/function.ts";
import { libc } from "../../uapi/libc.ts";
import { Poller } from "../../uapi/poll.ts";
import { GuestRamMap } from "../../vmm/guest_ram_map.ts";
import { DmaWriteMsi } from "../../vmm/vfio_user/dma_write_msi.ts";
import { Intx } from "../../vmm/vfio_user/intx.ts";
import type { MappedRegion } from "../../vmm/vfio_user/mapped_region.ts";
import type { RequestLine } from "../../vmm/vfio_user/request_line.ts";
import { type VfioUserObserver, VfioUserServer } from "../../vmm/vfio_user/server.ts";
import { VfioUserClient, words } from "./vfio_user_client.ts";

/** A function with a 64 KiB BAR 0 and a 4 KiB BAR 2 that remembers what was done to it. */
export class RecordingFunction implements PciFunction {
  readonly name = "recorder";
  /** Accesses and resets, such as `bar0 write 8: 1 2 3 4`. */
  readonly log: string[] = [];
  /** BAR 0. */
  readonly memory = new Uint8Array(0x1_0000);
  /** Configuration space: an interrupt pin, and a number in each dword. */
  readonly space = new Uint8Array(0x1000);
  /** Called by each access of BAR 2. */
  onBar2: () => void = () => {};

  constructor() {
    for (let i = 0; i < this.space.length; i += 4) this.space[i] = i / 4;
    this.space[0x3d] = 1;
  }

  readonly config = {
    read: (offset: number, into: Uint8Array): void => {
      into.set(this.space.subarray(offset, offset + into.length));
    },
    write: (offset: number, from: Uint8Array): void => {
      this.log.push(`config write ${offset}: ${from.join(" ")}`);
    },
  };

  readonly bars = [
    {
      index: 0,
      sizeBytes: 0x1_0000,
      device: {
        read: (offset: number, into: Uint8Array): void => {
          this.log.push(`bar0 read ${offset}+${into.length}`);
          into.set(this.memory.subarray(offset, offset + into.length));
        },
        write: (offset: number, from: Uint8Array): void => {
          this.log.push(`bar0 write ${offset}: ${from.join(" ")}`);
          this.memory.set(from, offset);
        },
      },
    },
    {
      index: 2,
      sizeBytes: 0x1000,
      device: { read: () => this.onBar2(), write: () => this.onBar2() },
    },
  ];

  reset(): void {
    this.log.push("reset");
  }
}

/** A server, its function, and what surrounds them. */
export class TestMachine implements Disposable {
  readonly directory = Deno.makeTempDirSync();
  readonly path = `${this.directory}/function.sock`;
  readonly poller = new Poller();
  readonly ram = new GuestRam();
  readonly lines: string[] = [];
  readonly guestRam: GuestRamMap = new GuestRamMap(this.ram, {
    log: (line) => this.lines.push(line),
  });
  readonly pci = new RecordingFunction();
  readonly intx = new Intx();
  readonly msi = new DmaWriteMsi();
  /** The clock of the server's log, in milliseconds. */
  timeMs = 0;
  readonly server: VfioUserServer;

  constructor(
    options: {
      readonly intx?: false;
      readonly observer?: VfioUserObserver;
      readonly mapped?: ReadonlyMap<number, MappedRegion>;
      readonly request?: RequestLine;
    } = {},
  ) {
    libc();
    const { intx, observer, mapped, request } = options;
    this.server = new VfioUserServer(this.pci, {
      socketPath: this.path,
      guestRam: this.guestRam,
      msi: this.msi,
      log: (line) => this.lines.push(line),
      now: () => this.timeMs,
      ...(intx === false ? {} : { intx: this.intx }),
      ...(observer === undefined ? {} : { observer }),
      ...(mapped === undefined ? {} : { mapped }),
      ...(request === undefined ? {} : { request }),
    });
    this.server.register(this.poller);
  }

  /** A client that has connected. */
  client(): VfioUserClient {
    const client = new VfioUserClient(this.path, this.poller);
    this.poller.step(0);
    return client;
  }

  /** A client that has agreed on the version, with an empty log behind it. */
  agreed(): VfioUserClient {
    const client = this.client();
    client.request(1, words(0), { room: 214 });
    this.lines.length = 0;
    return client;
  }

  [Symbol.dispose](): void {
    this.server[Symbol.dispose]();
    Deno.removeSync(this.directory, { recursive: true });
  }
}
