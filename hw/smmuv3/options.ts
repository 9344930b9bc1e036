/**
 * What an SMMUv3 is made of.
 * @module
 */
import type { MsiPort } from "../device.ts";
import type { GuestMemory } from "../guest_memory.ts";
import type { EndpointPort } from "./endpoint_port.ts";
import type { Features } from "./features.ts";
import type { HostIommu } from "./host_iommu.ts";
import type { InterruptLines } from "./interrupts.ts";
import type { Observer } from "./observer.ts";

/** What a device is made of. */
export interface SmmuV3Options {
  /** Guest memory: tables, queues and the target of DMA. */
  readonly memory: GuestMemory;
  /** Choices among the features; the rest is the default. */
  readonly features?: Partial<Features>;
  /** Wired interrupts. */
  readonly lines?: InterruptLines;
  /** Takes messages to addresses where no RAM is. */
  readonly msi?: MsiPort;
  /** Hardware that translates some streams itself. */
  readonly host?: HostIommu | undefined;
  /** Endpoints with an ATC or page requests; told of commands for them. */
  readonly endpoints?: EndpointPort;
  /** Watches the device. */
  readonly observer?: Observer;
  /** Storage of the registers, 128 KiB, which nobody else writes; a new buffer by default. */
  readonly registers?: ArrayBufferLike;
  /** Memory in which software finds the registers, 128 KiB, where its accesses do not trap; see `SmmuV3.look`. */
  readonly page?: ArrayBufferLike | undefined;
  /** Size of the TLB, as log2 of its sets of four entries. */
  readonly log2tlbSets?: number;
}
