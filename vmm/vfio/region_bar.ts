/**
 * A BAR of an assigned function whose accesses trap: each is one of the host's.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import { SystemError } from "../../uapi/errno.ts";
import type { HostFunction } from "./host_function.ts";

/** A piece of a BAR that is not the host's, such as a table of MSI-X. */
export interface Overlay {
  /** Where it begins in the BAR, a multiple of 8. */
  readonly offset: number;
  /** Bytes. */
  readonly sizeBytes: number;
  /** What is there. */
  readonly device: MmioDevice;
}

/** The BAR. What the host refuses reads as ones, as where nothing answers. */
export class RegionBar implements MmioDevice {
  readonly #host: HostFunction;
  readonly #index: number;
  readonly #overlays: readonly Overlay[];
  readonly #log: (line: string) => void;

  /** Region `index` of `host`, with `overlays`. */
  constructor(
    host: HostFunction,
    index: number,
    overlays: readonly Overlay[],
    log: (line: string) => void,
  ) {
    this.#host = host;
    this.#index = index;
    this.#overlays = overlays;
    this.#log = log;
  }

  read(offset: number, into: Uint8Array): void {
    const overlay = this.#overlay(offset);
    if (overlay !== undefined) return overlay.device.read(offset - overlay.offset, into);
    try {
      this.#host.read(this.#index, offset, into);
    } catch (error) {
      this.#refused(error);
      into.fill(0xff);
    }
  }

  write(offset: number, from: Uint8Array): void {
    const overlay = this.#overlay(offset);
    if (overlay !== undefined) return overlay.device.write(offset - overlay.offset, from);
    try {
      this.#host.write(this.#index, offset, from);
    } catch (error) {
      this.#refused(error);
    }
  }

  #overlay(offset: number): Overlay | undefined {
    for (const overlay of this.#overlays) {
      if (offset >= overlay.offset && offset < overlay.offset + overlay.sizeBytes) return overlay;
    }
  }

  #refused(error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    this.#log(error.message);
  }
}
