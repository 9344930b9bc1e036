/**
 * Our SMMUv3 with its functions in this process, over plain memory.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import { DmaTestDevice } from "../../hw/endpoints/dma_test_device.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import type { PciFunction } from "../../hw/pci/function.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import type { SmmuV3Options } from "../../hw/smmuv3/options.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { REGISTER_SPACE_SIZE } from "../../hw/smmuv3/spec/registers.ts";
import type { RegisterKind } from "../register_page.ts";
import { CopyDevice } from "./copy_device.ts";
import { copyWrites, resultOf, testWrites } from "./function_programs.ts";
import { RAM, READERS, WINDOW, WRITERS } from "./ground.ts";
import { RegisterPageAccess } from "./register_page_access.ts";
import type { Operation, Subject } from "./subject.ts";

/** What QEMU's SMMUv3 of both stages has, as our features. Its ID registers are in `hw/arm/smmuv3.c`. */
export const PEER_FEATURES: Partial<Features> = {
  sidSize: 16,
  ssidSize: 0,
  oas: 44,
  log2CommandQueue: 19,
  log2EventQueue: 19,
  msi: false,
  stage2: true,
  vmid16: true,
  granule16K: true,
  granule64K: true,
  xnx: true,
  abortOnly: true,
};

/** The part of our device that is compared. */
export type Device = Pick<SmmuV3, "read" | "write" | "reset" | "dma" | "look">;

/** Makes the device to be compared. */
export type DeviceMaker = (options: SmmuV3Options) => Device;

/** Our device in this process. */
export class OwnSubject implements Subject {
  readonly name = "ours";
  readonly window: Uint8Array<ArrayBuffer>;
  readonly #smmu: Device;
  readonly #registers: MmioDevice;
  readonly #page: RegisterPageAccess | undefined;
  readonly #functions = new Map<number, PciFunction>();

  /** A device that `make` makes, this build's own by default; its registers trap, or are memory. */
  constructor(
    make: DeviceMaker = (options) => new SmmuV3(options),
    registers: RegisterKind = "trapped",
  ) {
    const buffer = new ArrayBuffer(RAM.sizeBytes);
    this.window = new Uint8Array(buffer, WINDOW.base - RAM.base, WINDOW.sizeBytes);
    const memory = new GuestRam();
    memory.map(RAM.base, buffer);
    const page = registers === "mapped" ? new ArrayBuffer(REGISTER_SPACE_SIZE) : undefined;
    this.#smmu = make({ memory, features: PEER_FEATURES, page });
    this.#page = page && new RegisterPageAccess(page, this.#smmu);
    this.#registers = this.#page ?? this.#smmu;
    const { dma } = this.#smmu;
    for (const streamId of WRITERS) {
      const requester = { streamId, substreamId: -1 };
      this.#functions.set(streamId, new DmaTestDevice({ requester, dma, memory }));
    }
    for (const streamId of READERS) {
      this.#functions.set(streamId, new CopyDevice({ streamId, substreamId: -1 }, dma));
    }
  }

  reset(): Promise<void> {
    this.#smmu.reset();
    this.#page?.clear();
    for (const one of this.#functions.values()) one.reset();
    this.window.fill(0);
    return Promise.resolve();
  }

  perform(operations: readonly Operation[]): Promise<number[]> {
    return Promise.resolve(operations.map((operation) => this.#perform(operation)));
  }

  #perform(operation: Operation): number {
    switch (operation.kind) {
      case "read":
        return read(this.#registers, operation.offset);
      case "write":
        write(this.#registers, operation.offset, operation.value, operation.bytes);
        return 0;
      case "dma-write": {
        const bar = this.#bar(operation.stream);
        for (const { offset, value, bytes } of testWrites(operation)) {
          write(bar, offset, value, bytes);
        }
        read(bar, 0);
        return resultOf((offset) => read(bar, offset));
      }
      case "poke":
        write(this.#space(operation), operation.offset, BigInt(operation.value >>> 0), 4);
        return 0;
      case "peek":
        return read(this.#space(operation), operation.offset);
      default: {
        const bar = this.#bar(operation.stream);
        for (const { offset, value, bytes } of copyWrites(operation)) {
          write(bar, offset, value, bytes);
        }
        return 0;
      }
    }
  }

  #space({ stream, space }: Extract<Operation, { kind: "poke" | "peek" }>): MmioDevice {
    return space === "config" ? this.#functions.get(stream)!.config : this.#bar(stream);
  }

  #bar(stream: number): MmioDevice {
    return this.#functions.get(stream)!.bars[0].device;
  }
}

function read(device: Pick<MmioDevice, "read">, offset: number): number {
  const bytes = new Uint8Array(4);
  device.read(offset, bytes);
  return new DataView(bytes.buffer).getUint32(0, true);
}

function write(
  device: Pick<MmioDevice, "write">,
  offset: number,
  value: bigint,
  sizeBytes: 4 | 8,
): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  device.write(offset, bytes.subarray(0, sizeBytes));
}
