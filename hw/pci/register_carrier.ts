/**
 * A PCI function that carries the registers of something else in BAR0, such as an SMMU on a bus the guest never scans.
 * @module
 */
import type { IrqLine, MmioDevice } from "../device.ts";
import { ConfigSpace } from "./config_space.ts";
import type { Bar, PciFunction } from "./function.ts";
import { IntxPin } from "./intx.ts";

/** What a carrier is made of. */
export interface RegisterCarrierOptions {
  /** Name for messages; `register-carrier` when absent. */
  readonly name?: string;
  /** What answers in BAR0. */
  readonly device: MmioDevice;
  /** Size of BAR0 in bytes, a power of two; 128 KiB when absent: two pages of 64 KiB, as an SMMU has (IHI 0070 §6.1). */
  readonly sizeBytes?: number;
  /** Where INTA goes; without it the function has no interrupt. */
  readonly irq?: IrqLine;
  /** Resets what is carried; called on a function reset. */
  resetDevice?(): void;
}

const NOWHERE: IrqLine = { set: () => {}, pulse: () => {} };

/** The carrier: class 0x080600 (IOMMU), 1234:5343, one 32-bit memory BAR, INTA if wanted, no capabilities. */
export class RegisterCarrier implements PciFunction {
  /** `register-carrier`. */
  readonly name: string;
  /** Configuration space. */
  readonly config: ConfigSpace;
  /** BAR 0: what is carried. */
  readonly bars: readonly Bar[];
  /** The pin, to be driven by what is carried; it obeys Command.InterruptDisable. */
  readonly interrupt: IrqLine;

  readonly #pin: IntxPin;
  readonly #resetDevice: () => void;

  /** A carrier of `options.device`. */
  constructor(options: RegisterCarrierOptions) {
    const { device, irq, sizeBytes = 0x2_0000 } = options;
    this.name = options.name ?? "register-carrier";
    this.bars = [{ index: 0, sizeBytes, device }];
    this.config = new ConfigSpace({
      vendorId: 0x1234,
      deviceId: 0x5343,
      classCode: 0x080600,
      interruptPin: irq ? 1 : 0,
      bars: this.bars,
    });
    this.interrupt = this.#pin = new IntxPin(this.config, irq ?? NOWHERE);
    this.#resetDevice = () => options.resetDevice?.();
  }

  /** Resets what is carried, then the function. */
  reset(): void {
    this.#resetDevice();
    this.#pin.set(false);
    this.config.reset();
  }
}
