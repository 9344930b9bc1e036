/**
 * Whole pages of memory that the kernel can map, by address or as a file.
 * @module
 */
import type { Fd } from "../../uapi/fd.ts";
import { addressOf } from "../../uapi/ioctl.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";

/** A mapped memfd. */
export class SharedPages implements Disposable {
  /** The file. */
  readonly fd: Fd;
  /** Its bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same. */
  readonly view: DataView<ArrayBuffer>;
  /** Where they are. */
  readonly address: bigint;
  readonly #mapping: Mapping;

  /** `sizeBytes` zeros, a multiple of the page size. */
  constructor(sizeBytes: number) {
    using stack = new DisposableStack();
    this.fd = stack.use(createMemfd("pages", sizeBytes));
    this.#mapping = new Mapping(this.fd, { offset: 0, sizeBytes, writable: true });
    this.bytes = new Uint8Array(this.#mapping.buffer);
    this.view = new DataView(this.#mapping.buffer);
    this.address = addressOf(this.bytes);
    stack.move();
  }

  /** Unmaps and closes. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.fd[Symbol.dispose]();
  }
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  // One of them reads the folder.
  return [...Deno.readDirSync("/proc/self/fd")].length - 1;
}
