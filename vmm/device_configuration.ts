/**
 * What is to be served, and how.
 * @module
 */
import type { Features } from "../hw/smmuv3/features.ts";
import type { RegisterMode } from "./register_page.ts";
import type { PasidChoice } from "./vfio/pasid_choice.ts";

/** Which iommufd is behind the SMMU. */
export type IommufdKind = "model" | "kernel" | "none";

/** How an endpoint interrupts. */
export type InterruptKind = "msix" | "intx";

/**
 * How a guest reaches the registers of a function of the host: they are mapped into it, or each access traps. A host cannot
 * have a function back before whoever has mapped its registers has let go of them; `trapped` needs nobody for that.
 */
export type BarChoice = "mapped" | "trapped";

/** An endpoint behind the SMMU. */
export type EndpointConfiguration =
  & {
    /** Where its vfio-user server listens. */
    readonly socketPath: string;
    /** Its StreamID. */
    readonly streamId: number;
    /** Whether the guest chooses the number of its bus, and by it the StreamID; until it does, it has the one here. */
    readonly behindPort?: boolean;
  }
  & (
    | {
      readonly kind: "virtio-blk";
      /** Path of a raw image. */
      readonly imagePath: string;
      readonly readOnly?: boolean;
      readonly interrupts: InterruptKind;
    }
    | {
      readonly kind: "dma-test";
      /** Bits of its PASIDs; it has none when absent. */
      readonly pasidWidth?: number;
      /** Whether it translates for itself, and asks for pages where the SMMU has a queue for that; wants feature `ats`. */
      readonly ats?: boolean;
      /**
       * Whether its transfers wait where software has a fault stall them; wants a `stallModel` that can. PCI knows no
       * such thing: it is for a function that is none but to its driver.
       */
      readonly stalls?: boolean;
    }
    | {
      readonly kind: "vfio";
      /** Character device of a function of the host; wants the kernel's iommufd. */
      readonly devicePath: string;
      /** Whether the guest is shown a PASID capability; `auto` by default. */
      readonly pasid?: PasidChoice;
      /** How the guest reaches its registers; `mapped` by default, where the host allows that. */
      readonly bars?: BarChoice;
    }
  );

/** Devices to be served. Plain data: it crosses threads. */
export interface DeviceConfiguration {
  /** Where the vfio-user server of the function that carries the SMMU listens; in a private directory, as all sockets. */
  readonly smmuSocketPath: string;
  /**
   * Where the server of the function listens whose BAR0 has the registers as memory, where they are mapped; without
   * it, they are memory in the other function.
   */
  readonly smmuMemorySocketPath?: string;
  /** Choices among the features of the SMMU. */
  readonly features?: Partial<Features>;
  /**
   * To whom the SMMU hands its tables: an iommufd in this process, that of the kernel for the functions of the host, or
   * nobody. It translates itself for the other endpoints.
   */
  readonly iommufd?: IommufdKind;
  /** How software reaches the registers; `trapped` by default. */
  readonly registers?: RegisterMode;
  /** Where what passes its doors is recorded. */
  readonly recording?: RecordingConfiguration;
  /** What is behind it. */
  readonly endpoints: readonly EndpointConfiguration[];
}

/** Where a recording goes. */
export interface RecordingConfiguration {
  /** Memory of the `TextRing`. */
  readonly ring: SharedArrayBuffer;
  /** What the header says of the guest. */
  readonly guest: Readonly<Record<string, string>>;
  /** Payload too. */
  readonly payload: boolean;
}
