/**
 * The hardware behind emulated endpoints: devices of an iommufd in this process, and the guest's tables handed to it.
 * @module
 */
import type { DmaPort, MsiPort } from "../hw/device.ts";
import type { GuestMemory } from "../hw/guest_memory.ts";
import type { Features } from "../hw/smmuv3/features.ts";
import type { Observer } from "../hw/smmuv3/observer.ts";
import { NestedHost, type StreamMove } from "./host_iommu/nested.ts";
import type { BoundDevice, Iommufd } from "./iommufd/iommufd.ts";
import { ModelIommufd } from "./iommufd/model.ts";
import type { Pin } from "./iommufd/model/area.ts";
import { ArmSmmuV3 } from "./iommufd/model/arm_smmuv3.ts";
import { type IommufdObserver, ObservedIommufd } from "./iommufd/observed.ts";

/** What it is made of. */
export interface EmbeddedIommuOptions {
  /** Memory by the addresses that `pin` finds. */
  readonly memory: GuestMemory;
  /** Finds guest RAM that is shown to hardware. */
  readonly pin: Pin;
  /** The guest's StreamIDs of the endpoints. */
  readonly streams: readonly number[];
  /** What the guest was offered. */
  readonly features: Features;
  /** ID registers of the SMMU behind it; a good host by default. */
  readonly idrs?: readonly number[];
  /** Watches translations and transfers. */
  readonly observer?: Observer | undefined;
  /** Sees each call of the iommufd. */
  readonly calls: IommufdObserver;
  /** Takes one line for people about what was refused, or lost. */
  readonly log: (line: string) => void;
  readonly log2tlbSets: number;
  /** Puts another iommufd beside the model; `bind` binds the devices of both. */
  readonly beside?: (model: Iommufd) => {
    readonly iommufd: Iommufd;
    readonly bind: (index: number, device: BoundDevice) => BoundDevice;
  };
}

/** The hardware. */
export class EmbeddedIommu implements Disposable {
  /** For the guest's SMMU. */
  readonly host: NestedHost;
  readonly #model: ModelIommufd;
  readonly #devices = new Map<number, number>();
  readonly #stack = new DisposableStack();

  /** Throws `SystemError` when an iommufd beside the model refuses something; nothing is left then. */
  constructor(options: EmbeddedIommuOptions) {
    const { memory, pin, streams, features, idrs, observer, calls, log, log2tlbSets } = options;
    using stack = new DisposableStack();
    const driver = new ArmSmmuV3({ memory, observer, log2tlbSets, ...(idrs ? { idrs } : {}) });
    this.#model = stack.use(new ModelIommufd({ pin }));
    const beside = options.beside?.(this.#model);
    const iommufd = new ObservedIommufd(beside?.iommufd ?? this.#model, calls);
    const bound = streams.map((streamId, index) => {
      const device = stack.use(iommufd.bind({ streamId }, () => {
        const own = this.#model.bind({ driver, streamId });
        return beside === undefined ? own : beside.bind(index, own);
      }));
      this.#devices.set(streamId, device.devId);
      return { name: `stream 0x${streamId.toString(16)}`, streamId, device };
    });
    this.host = stack.use(new NestedHost({ iommufd, streams: bound, features, log }));
    this.#stack = stack.move();
  }

  /** An endpoint's way to memory, by its StreamID, if it is here; its messages to where no RAM is go to `msi`. */
  port(streamId: number, msi?: MsiPort): DmaPort | undefined {
    const device = this.#devices.get(streamId);
    return device === undefined ? undefined : this.#model.port(device, msi);
  }

  /** The guest knows endpoints by other StreamIDs from now on; returns why that cannot be. */
  move(moves: readonly StreamMove[]): string | undefined {
    const refusal = this.host.move(moves);
    if (refusal !== undefined) return refusal;
    const devices = moves.map(([from]) => this.#devices.get(from)!);
    for (const [from] of moves) this.#devices.delete(from);
    for (const [at, [, to]] of moves.entries()) this.#devices.set(to, devices[at]);
  }

  /** A device is taken away, as the host takes a function of its own. */
  withdraw(streamId: number): void {
    this.host.withdraw(streamId);
    this.#devices.delete(streamId);
  }

  /** No function of the host is here. */
  deviceAt(): undefined {
    return undefined;
  }

  /** Takes everything down. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }
}
