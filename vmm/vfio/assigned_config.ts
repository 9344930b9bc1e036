/**
 * Configuration space of an assigned function: some bytes are the host's, some are ours.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import { SystemError } from "../../uapi/errno.ts";
import { VFIO_PCI } from "../../uapi/vfio/region.ts";
import { type ConfigPlan, Policy } from "./config_policy.ts";
import type { HostFunction } from "./host_function.ts";

const CONFIG = VFIO_PCI.CONFIG_REGION_INDEX;

/** What wants to know of writes to a range. */
interface Watcher {
  readonly first: number;
  readonly end: number;
  readonly written: () => void;
}

/** The 4096 bytes, by their {@linkcode ConfigPlan}. */
export class AssignedConfig implements MmioDevice {
  readonly #host: HostFunction;
  readonly #plan: ConfigPlan;
  readonly #bytes: Uint8Array;
  readonly #log: (line: string) => void;
  readonly #watchers: Watcher[] = [];

  /** `log` is told when the host refuses an access; the guest then reads ones. */
  constructor(host: HostFunction, plan: ConfigPlan, log: (line: string) => void) {
    this.#host = host;
    this.#plan = plan;
    this.#bytes = plan.initial.slice();
    this.#log = log;
  }

  read(offset: number, into: Uint8Array): void {
    const { policy } = this.#plan;
    if (this.#isPassed(offset, into.length)) {
      this.#try(() => this.#host.read(CONFIG, offset, into), () => into.fill(0xff));
    }
    for (let i = 0; i < into.length; i++) {
      if (policy[offset + i] === Policy.Emulated) into[i] = this.#bytes[offset + i];
    }
  }

  write(offset: number, from: Uint8Array): void {
    const { policy, writable } = this.#plan;
    for (let i = 0, first = 0; i <= from.length; i++) {
      const isEnd = i === from.length || policy[offset + i] === Policy.Emulated;
      if (!isEnd) continue;
      if (i > first) {
        const run = from.subarray(first, i);
        this.#try(() => this.#host.write(CONFIG, offset + first, run), () => {});
      }
      first = i + 1;
      if (i === from.length) break;
      const mask = writable[offset + i];
      this.#bytes[offset + i] = (this.#bytes[offset + i] & ~mask) | (from[i] & mask);
    }
    for (const { first, end, written } of this.#watchers) {
      if (offset < end && first < offset + from.length) written();
    }
  }

  /** Calls `written` after writes that touch `sizeBytes` bytes at `offset`. */
  watch(offset: number, sizeBytes: number, written: () => void): void {
    this.#watchers.push({ first: offset, end: offset + sizeBytes, written });
  }

  /** A little-endian register of 1, 2 or 4 bytes, as the guest reads it. */
  get(offset: number, sizeBytes: number): number {
    const bytes = new Uint8Array(sizeBytes);
    this.read(offset, bytes);
    return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
  }

  /** Changes an emulated byte, and what a reset returns it to. */
  redefine(offset: number, value: number): void {
    this.#bytes[offset] = value;
    this.#plan.initial[offset] = value;
  }

  /** Returns emulated bytes to what they were at first. */
  reset(): void {
    this.#bytes.set(this.#plan.initial);
  }

  #isPassed(offset: number, sizeBytes: number): boolean {
    for (let i = 0; i < sizeBytes; i++) {
      if (this.#plan.policy[offset + i] === Policy.Passed) return true;
    }
    return false;
  }

  #try(access: () => void, otherwise: () => void): void {
    try {
      access();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#log(error.message);
      otherwise();
    }
  }
}
