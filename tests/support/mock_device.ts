/**
 * Devices that a kernel built for testing makes for iommufd, and the questions that only such a kernel answers.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import { Fd } from "../../uapi/fd.ts";
import { addressOf, ioctl } from "../../uapi/ioctl.ts";
import { StructBuffer, type Values } from "../../uapi/struct.ts";
import type { BoundDevice, Iommufd } from "../../vmm/iommufd/iommufd.ts";
import type { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { IOMMU_TEST_CMD, iommu_test_cmd, IOMMU_TEST_OP, type TestOp } from "./iommufd_test_abi.ts";

/** What an operation's argument has. */
export type FieldsOf<O extends TestOp> = (typeof iommu_test_cmd)[O]["fields"];

/** What an operation is told, besides its object. */
export type TestValues<O extends TestOp> = Omit<Values<FieldsOf<O>>, "size" | "op" | "id">;

/** An iommufd that takes the operations of a test: the kernel's, or one that does as if. */
export interface MockIommufd extends Iommufd {
  /** Does an operation, whose argument has its head; `bytes` are what it points to. Throws `SystemError`. */
  test(op: TestOp, argument: Uint8Array<ArrayBuffer>, bytes?: Uint8Array): void;
}

/** Does operation `op` on object `id`; returns the argument as it was left. Throws `SystemError`. */
export function iommuTest<O extends TestOp>(
  iommufd: KernelIommufd | MockIommufd,
  op: O,
  id: number,
  values: TestValues<O>,
  bytes?: Uint8Array<ArrayBuffer>,
): StructBuffer<FieldsOf<O>> {
  const struct = iommu_test_cmd[op] as unknown as { size: number; fields: FieldsOf<O> };
  const argument = new StructBuffer(struct);
  const uptr = bytes === undefined ? {} : { uptr: addressOf(bytes) };
  argument.fill({ ...values, ...uptr } as Values<FieldsOf<O>>);
  const head = new StructBuffer(iommu_test_cmd.SET_TEMP_MEMORY_LIMIT);
  head.fill({ size: struct.size, op: IOMMU_TEST_OP[op], id });
  argument.bytes.set(head.bytes.subarray(0, 16));
  if ("test" in iommufd) iommufd.test(op, argument.bytes, bytes);
  else ioctl(iommufd.fd.number, IOMMU_TEST_CMD, argument.bytes, `IOMMU_TEST ${op}`);
  return argument;
}

/** A device of the mock driver, attached. Disposing it destroys it. */
export class MockDevice implements BoundDevice {
  /** The device. */
  readonly devId: number;
  /** The object that stands for its driver. */
  readonly stdevId: number;
  /** What it was attached to first. */
  readonly hwptId: number;
  readonly #iommufd: KernelIommufd | MockIommufd;
  readonly #pasids = new Set<number>();

  /** Makes one that is attached to an IOAS or HWPT, with `flags` of `MOCK`. Throws `SystemError`. */
  constructor(iommufd: KernelIommufd | MockIommufd, ptId: number, flags = 0) {
    const made = iommuTest(iommufd, "MOCK_DOMAIN_FLAGS", ptId, { dev_flags: flags });
    this.#iommufd = iommufd;
    this.devId = made.get("out_idev_id");
    this.stdevId = made.get("out_stdev_id");
    this.hwptId = made.get("out_hwpt_id");
  }

  /** Replaces what it is attached to; attaches or replaces that of a PASID. */
  attach(ptId: number, pasid?: number): number {
    if (pasid === undefined) {
      const argument = iommuTest(this.#iommufd, "MOCK_DOMAIN_REPLACE", this.stdevId, {
        pt_id: ptId,
      });
      return argument.get("pt_id");
    }
    const op = this.#pasids.has(pasid) ? "PASID_REPLACE" : "PASID_ATTACH";
    iommuTest(this.#iommufd, op, this.stdevId, { pasid, pt_id: ptId });
    this.#pasids.add(pasid);
    return ptId;
  }

  /** Detaches a PASID. The device itself is attached as long as it is there. */
  detach(pasid?: number): void {
    if (pasid === undefined) throw new SystemError("detach a mock device", ERRNO.EOPNOTSUPP);
    iommuTest(this.#iommufd, "PASID_DETACH", this.stdevId, { pasid });
    this.#pasids.delete(pasid);
  }

  /** Destroys it. */
  [Symbol.dispose](): void {
    this.#iommufd.destroy(this.stdevId);
  }
}

/** Access of a kernel driver to an IOAS, an owned descriptor. */
export function createAccess(iommufd: KernelIommufd, ioasId: number, flags = 0): Fd {
  return new Fd(iommuTest(iommufd, "CREATE_ACCESS", ioasId, { flags }).get("out_access_fd"));
}
