/**
 * The model and a kernel built for testing, which are asked the same, their mock devices too.
 * @module
 */
import { Fd } from "../../uapi/fd.ts";
import { addressOf, ioctl } from "../../uapi/ioctl.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { TwinIommufd } from "../../vmm/iommufd/twin.ts";
import { IOMMU_TEST_CMD, iommu_test_cmd, type TestOp } from "./iommufd_test_abi.ts";
import type { MockIommufd } from "./mock_device.ts";
import { ModelTestIommufd, type TestMemory } from "./model_test_iommufd.ts";

const ID = 8;
/** No descriptor. */
const NONE = 0xffff_ffff;
const OUT_FD = iommu_test_cmd.CREATE_ACCESS.fields.out_access_fd.offset;

/** Operations whose object is an access, by descriptor. */
const OF_ACCESS: ReadonlySet<TestOp> = new Set<TestOp>([
  "ACCESS_PAGES",
  "ACCESS_REPLACE_IOAS",
  "ACCESS_RW",
  "DESTROY_ACCESS_PAGES",
]);

/** An access, in both. */
interface Access {
  readonly first: number;
  readonly second: Fd;
}

/** The two. */
export class TwinTestIommufd extends TwinIommufd implements MockIommufd {
  /** The first. */
  readonly model: ModelTestIommufd;
  readonly #kernel: KernelIommufd;
  /** By the number that stands for the two descriptors. */
  readonly #accesses = new Map<number, Access>();
  #next = 1;

  /** With nothing in either; `memory` is the model's view of what the kernel is given by address and descriptor. */
  constructor(memory: TestMemory) {
    const model = new ModelTestIommufd(memory);
    const kernel = KernelIommufd.open();
    super(model, kernel, { hasSameRecords: true });
    this.model = model;
    this.#kernel = kernel;
  }

  test(op: TestOp, argument: Uint8Array<ArrayBuffer>, bytes?: Uint8Array): void {
    const number = word(argument, ID);
    const access = OF_ACCESS.has(op) ? this.#accesses.get(number) : undefined;
    const ids = OF_ACCESS.has(op)
      ? [access?.first ?? NONE, access?.second.number ?? NONE]
      : [number, number];
    const fields: Readonly<Record<string, { readonly offset: number } | undefined>> =
      iommu_test_cmd[op].fields;
    const uptr = fields.uptr?.offset;
    const sides = ids.map((id) => {
      const own = argument.slice();
      setWord(own, ID, id);
      return { own, pointed: bytes === undefined ? undefined : copyOf(bytes) };
    });
    const seen = ({ own, pointed }: typeof sides[number]): unknown => {
      const shown = own.slice();
      setWord(shown, ID, number);
      if (op === "CREATE_ACCESS") setWord(shown, OUT_FD, 0);
      if (uptr !== undefined && bytes !== undefined) shown.fill(0, uptr, uptr + 8);
      return { argument: shown, bytes: pointed };
    };
    const [model, kernel] = sides;
    const fds: [number?, Fd?] = [];
    const done = this.compare(
      `test ${op}`,
      { argument: plainArgument(op, argument), bytes },
      () => {
        this.model.test(op, model.own, model.pointed);
        if (op === "CREATE_ACCESS") fds[0] = word(model.own, OUT_FD);
        return model;
      },
      () => {
        if (uptr !== undefined && kernel.pointed !== undefined) {
          new DataView(kernel.own.buffer).setBigUint64(uptr, addressOf(kernel.pointed), true);
        }
        ioctl(this.#kernel.fd.number, IOMMU_TEST_CMD, kernel.own, `IOMMU_TEST ${op}`);
        if (op === "CREATE_ACCESS") fds[1] = new Fd(word(kernel.own, OUT_FD));
        return kernel;
      },
      seen,
    );
    argument.set(done.own);
    setWord(argument, ID, number);
    if (bytes !== undefined && done.pointed !== undefined) bytes.set(done.pointed);
    const [first, second] = fds;
    if (first === undefined || second === undefined) return;
    setWord(argument, OUT_FD, this.#next);
    this.#accesses.set(this.#next++, { first, second });
  }

  /** Closes the descriptors of an access. */
  close(number: number): void {
    const access = this.#accesses.get(number);
    if (access === undefined) return;
    this.#accesses.delete(number);
    this.model.close(access.first);
    access.second[Symbol.dispose]();
  }

  override [Symbol.dispose](): void {
    for (const number of [...this.#accesses.keys()]) this.close(number);
    super[Symbol.dispose]();
  }
}

function word(bytes: Uint8Array<ArrayBuffer>, offset: number): number {
  return new DataView(bytes.buffer).getUint32(offset, true);
}

function setWord(bytes: Uint8Array<ArrayBuffer>, offset: number, value: number): void {
  new DataView(bytes.buffer).setUint32(offset, value, true);
}

function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

/** An argument in words, by field. */
function plainArgument(op: TestOp, argument: Uint8Array<ArrayBuffer>): string {
  const view = new DataView(argument.buffer);
  return Object.entries(iommu_test_cmd[op].fields).slice(2).map(([name, { kind, offset }]) => {
    const value = kind === "u64" ? view.getBigUint64(offset, true) : view.getUint32(offset, true);
    return `${name}=0x${value.toString(16)}`;
  }).join(" ");
}
