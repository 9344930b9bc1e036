/**
 * The iommufd of a replay: a fresh model, what the recording asked of it, and guest RAM by the files that were mapped.
 * @module
 */
import type { DmaPort } from "../../../hw/device.ts";
import type { GuestMemory } from "../../../hw/guest_memory.ts";
import { SystemError } from "../../../uapi/errno.ts";
import { Fd } from "../../../uapi/fd.ts";
import { EmbeddedIommu, type EmbeddedIommuOptions } from "../../embedded_iommu.ts";
import type { NestedHost, StreamMove } from "../../host_iommu/nested.ts";
import type { IommufdCall, Operation, TraceHeader, TraceIommufd } from "../format.ts";
import { iommufdCall } from "../iommufd_call.ts";
import type { Difference } from "./replayer_compare.ts";

/** An iommufd beside the model, such as the kernel's, and files that it can map. */
export interface Beside extends Disposable {
  /** Puts it beside. */
  readonly join: NonNullable<EmbeddedIommuOptions["beside"]>;
  /** Descriptor of a file of the recording, at least so long. */
  readonly fileOf: (file: number, sizeBytes: number) => number;
}

type RamMap = Extract<Operation, { readonly op: "ram-map" }>;
type RamUnmap = Extract<Operation, { readonly op: "ram-unmap" }>;

const NONE: readonly never[] = [];
const EFAULT = 14;

/** What comes of an experiment with a device that has hardware: nobody knows. */
export const UNKNOWABLE: readonly Difference[] = [{
  what: "hardware",
  expected: "its state before",
  got: "its state after",
}];

/** The hardware of a replay. */
export class ReplayHardware {
  /** For the device. */
  readonly host: NestedHost;
  readonly #embedded: EmbeddedIommu;
  readonly #beside: Beside | undefined;
  readonly #isKernel: boolean;
  readonly #maps: (RamMap & { readonly fd: number })[] = [];
  #calls: IommufdCall[] = [];

  /** What the recording had, over memory as the recording found it. */
  constructor(
    header: TraceHeader & { readonly iommufd: TraceIommufd },
    memory: GuestMemory,
    beside: Beside | undefined,
  ) {
    this.#beside = beside;
    this.#isKernel = header.iommufd.isKernel ?? false;
    this.#embedded = new EmbeddedIommu({
      memory,
      pin: (source) =>
        source.kind === "file" ? this.#pin(source.fd, Number(source.start)) : -EFAULT,
      streams: header.iommufd.streams,
      features: header.features,
      idrs: header.iommufd.idrs,
      calls: (name, args, errno, result) => {
        this.#calls.push(iommufdCall(name, args, errno, result, (fd) => this.#fileOf(fd)));
      },
      log: () => {},
      log2tlbSets: header.log2tlbSets,
      ...(beside ? { beside: beside.join } : {}),
    });
    this.host = this.#embedded.host;
  }

  /** An endpoint's way to memory; undefined for one that the recording did not have there. */
  port(streamId: number, send: (gpa: number, data: number) => boolean): DmaPort | undefined {
    if (this.#isKernel || !this.host.streamIds.includes(streamId)) return undefined;
    return this.#embedded.port(streamId, { send });
  }

  /** Maps guest RAM; returns whether that was done. */
  map(operation: RamMap): boolean {
    const { gpa, size, offset, file, writable } = operation;
    const fd = this.#beside?.fileOf(file, offset + size) ?? file;
    this.#maps.push({ ...operation, fd });
    try {
      this.host.stageTwo.map({ gpa, sizeBytes: size, offset, writable }, borrowed(fd));
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#maps.pop();
      return false;
    }
  }

  /** Takes guest RAM away. */
  unmap({ gpa, size }: RamUnmap): void {
    this.host.stageTwo.unmap({ gpa, sizeBytes: size, offset: 0, writable: false });
    const index = this.#maps.findIndex((map) => map.gpa === gpa);
    if (index >= 0) this.#maps.splice(index, 1);
  }

  /** Streams have other StreamIDs. */
  move(moves: readonly StreamMove[]): void {
    this.#embedded.move(moves);
  }

  /** The host has taken a device back. */
  withdraw(streamId: number): void {
    this.#embedded.withdraw(streamId);
  }

  /** What was asked since the last time, held against the recording. */
  compare(expected: readonly IommufdCall[] = NONE): Difference[] {
    const got = this.#calls;
    this.#calls = [];
    const differences: Difference[] = [];
    for (let i = 0; i < Math.max(expected.length, got.length); i++) {
      const [a, b] = [JSON.stringify(expected[i]), JSON.stringify(got[i])];
      if (a === b) continue;
      differences.push({
        what: `iommufd call ${i + 1}`,
        expected: a ?? "nothing",
        got: b ?? "nothing",
      });
    }
    return differences;
  }

  /** What was asked until now does not count. */
  forget(): void {
    this.#calls = [];
  }

  /** Takes everything down. */
  end(): void {
    this.#embedded[Symbol.dispose]();
  }

  #pin(fd: number, start: number): number {
    const map = this.#maps.find((map) =>
      map.fd === fd && start >= map.offset && start < map.offset + map.size
    );
    return map === undefined ? -EFAULT : map.gpa + start - map.offset;
  }

  #fileOf(fd: number): number {
    return this.#maps.find((map) => map.fd === fd)?.file ?? fd;
  }
}

/** A descriptor that somebody else closes. */
function borrowed(fd: number): Fd {
  return new Fd(fd);
}
