/**
 * The part of the DMA test device that asks software for pages, and its registers on the second page. IHI 0070 §8, PCI
 * Express Base 5.0 §10.4.
 * @module
 */
import type { AtsPort } from "../ats_port.ts";
import { bits, get, set } from "../bits.ts";
import type { Requester } from "../device.ts";
import type { Capability, ConfigSpace } from "../pci/config_space.ts";
import {
  pageRequestCapability,
  PRI_CONTROL,
  PRI_REGISTER,
  PRI_STATUS,
} from "../pci/page_requests.ts";
import type { ConfigRegister } from "../pci/registers.ts";
import { PageResponse } from "../smmuv3/endpoint_port.ts";
import { PageRequestGroups } from "./page_request_groups.ts";

/** Register offsets; each has 32 bits. */
const REG = {
  /** Written: asks for the page of IOVA. */
  REQUEST: 0x1030,
  /** The last answer. */
  RESULT: 0x1034,
  /** Requests that are not answered. */
  OUTSTANDING: 0x1038,
} as const;

/** Fields of REQUEST. */
const REQUEST = {
  Read: bits(0),
  Write: bits(1),
  Execute: bits(2),
  Privileged: bits(3),
  Last: bits(4),
  Group: bits(24, 16),
} as const;
/** Fields of RESULT: which group was answered and how, whether a request was not sent, whether there is an answer. */
const RESULT = {
  Group: bits(8, 0),
  Response: bits(17, 16),
  NotSent: bits(30),
  Answered: bits(31),
} as const;

/** Page requests that can be outstanding. */
const CAPACITY = 32;

/** Page requests of one function. */
export class DmaTestPageRequests {
  readonly #port: AtsPort;
  readonly #groups = new PageRequestGroups();
  readonly #request = new Uint32Array(1);
  readonly #result = new Uint32Array(1);
  #config: ConfigSpace | undefined;
  #at = 0;

  /** By `port`. */
  constructor(port: AtsPort) {
    this.#port = port;
  }

  /** Its capability. */
  capability(): Capability {
    return pageRequestCapability(CAPACITY, {
      placed: (config, offset) => {
        this.#config = config;
        this.#at = offset;
      },
      controlled: () => this.#controlled(),
    });
  }

  /** As after reset: what was asked is never answered. */
  clear(): void {
    this.#request[0] = 0;
    this.#result[0] = 0;
    this.#groups.clear();
  }

  /** The value of a register; undefined where it has none. */
  read(offset: number): number | undefined {
    switch (offset) {
      case REG.REQUEST:
        return this.#request[0];
      case REG.RESULT:
        return this.#result[0];
      case REG.OUTSTANDING:
        return this.#groups.outstanding;
      default:
        return undefined;
    }
  }

  /** A register is written. `requester` makes what it asks for, of IOVA; undefined where it cannot be. */
  write(
    offset: number,
    value: number,
    requester: Requester | undefined,
    lo: number,
    hi: number,
  ): void {
    if (offset !== REG.REQUEST) return;
    this.#request[0] = value;
    this.#result[0] = 0;
    if (!this.#ask(requester, lo, hi)) set(this.#result, RESULT.NotSent, 1);
  }

  /** CMD_PRI_RESP, or what the SMMU itself answers. After a failure nothing more is expected. §10.5.2.3 */
  respond(substreamId: number, group: number, response: number): void {
    if (this.#has(PRI_REGISTER.Status, PRI_STATUS.ResponseFailure.shift)) return;
    const isFailure = response === PageResponse.Denied;
    if (!this.#groups.answer(group, substreamId, isFailure)) {
      this.#change(PRI_STATUS.UnexpectedPageRequestGroupIndex.shift, true);
      return;
    }
    if (isFailure) this.#change(PRI_STATUS.ResponseFailure.shift, true);
    this.#result[0] = 0;
    set(this.#result, RESULT.Group, group);
    set(this.#result, RESULT.Response, response);
    set(this.#result, RESULT.Answered, 1);
    this.#showStopped();
  }

  /** Sends what REQUEST says; false when it may not. The answer may come before this returns. */
  #ask(requester: Requester | undefined, lo: number, hi: number): boolean {
    if (requester === undefined || !this.#mayAsk()) return false;
    const has = (field: typeof REQUEST.Read): boolean => get(this.#request, field) !== 0;
    const kind = {
      read: has(REQUEST.Read),
      write: has(REQUEST.Write),
      execute: has(REQUEST.Execute),
      privileged: has(REQUEST.Privileged),
      last: has(REQUEST.Last),
    };
    const group = get(this.#request, REQUEST.Group);
    const { substreamId } = requester;
    // A Stop Marker is never answered.
    const isStopMarker = substreamId >= 0 && kind.last && !kind.read && !kind.write;
    if (!isStopMarker && !this.#groups.add(group, substreamId)) return false;
    this.#port.requestPage(requester, lo, hi, group, kind);
    return true;
  }

  /** Enabled, not failed, and with fewer requests outstanding than software allows. */
  #mayAsk(): boolean {
    const allocation = this.#config!.get(this.#at, PRI_REGISTER.Allocation);
    return this.#has(PRI_REGISTER.Control, PRI_CONTROL.Enable.shift) &&
      !this.#has(PRI_REGISTER.Status, PRI_STATUS.ResponseFailure.shift) &&
      this.#groups.outstanding < Math.min(allocation, CAPACITY);
  }

  /** §10.5.2.2: a reset is for while it is not enabled; it reads as 0. */
  #controlled(): void {
    const enabled = Number(this.#has(PRI_REGISTER.Control, PRI_CONTROL.Enable.shift));
    if (this.#has(PRI_REGISTER.Control, PRI_CONTROL.Reset.shift) && enabled === 0) {
      this.#groups.clear();
    }
    const bits = enabled << PRI_CONTROL.Enable.shift;
    this.#config!.put(this.#at + PRI_REGISTER.Control.offset, Uint8Array.of(bits));
    this.#showStopped();
  }

  /** Stopped: not enabled, and nothing outstanding. */
  #showStopped(): void {
    const isEnabled = this.#has(PRI_REGISTER.Control, PRI_CONTROL.Enable.shift);
    this.#change(PRI_STATUS.Stopped.shift, !isEnabled && this.#groups.outstanding === 0);
  }

  #has(register: ConfigRegister, bit: number): boolean {
    return (this.#config!.get(this.#at, register) >>> bit & 1) !== 0;
  }

  #change(bit: number, isSet: boolean): void {
    const status = this.#config!.get(this.#at, PRI_REGISTER.Status) & ~(1 << bit);
    const value = status | (isSet ? 1 << bit : 0);
    const at = this.#at + PRI_REGISTER.Status.offset;
    this.#config!.put(at, Uint8Array.of(value & 0xff, value >>> 8));
  }
}
