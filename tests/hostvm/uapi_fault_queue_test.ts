/** Page requests of the kernel's mock driver, and what answers them. */
import { assertEquals } from "@std/assert";
import { Poller } from "../../uapi/poll.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import type { RecordQueue } from "../../vmm/iommufd/iommufd.ts";
import { iommuTest, MockDevice } from "../support/mock_device.ts";
import { mockTest, refusal } from "../support/mock_test.ts";

const NEST_PARENT = 1;
const FAULT_ID_VALID = 4;
const SELFTEST = 0xdead;
const WRITE = 2;
const [SUCCESS, INVALID] = [0, 1];

/** A device on a nested HWPT whose page requests go to `queue`. */
function faulting(iommufd: KernelIommufd, queue: RecordQueue): MockDevice {
  const ioasId = iommufd.ioasAlloc();
  const device = new MockDevice(iommufd, ioasId);
  const { devId } = device;
  const parent = iommufd.hwptAlloc({ flags: NEST_PARENT, devId, ptId: ioasId, dataType: 0 });
  const nested = iommufd.hwptAlloc({
    flags: FAULT_ID_VALID,
    devId,
    ptId: parent,
    dataType: SELFTEST,
    data: new Uint8Array(4),
    faultId: queue.id,
  });
  device.attach(nested);
  return device;
}

function request(iommufd: KernelIommufd, { devId }: MockDevice, grpid: number): void {
  const addr = 0xdead_beef_0000n + BigInt(grpid) * 0x1000n;
  iommuTest(iommufd, "TRIGGER_IOPF", 0, { dev_id: devId, pasid: 0x101, grpid, perm: WRITE, addr });
}

function answer(queue: RecordQueue, ...words: number[]): number {
  return queue.write(new Uint8Array(new Uint32Array(words).buffer));
}

mockTest("page requests are read, and answered by their cookies", (iommufd) => {
  using queue = iommufd.faultQueueAlloc();
  const device = faulting(iommufd, queue);
  const records = new Uint8Array(new ArrayBuffer(40 * 4));
  const view = new DataView(records.buffer);
  assertEquals(queue.read(records), 0, "nothing waits, and nobody is kept waiting");
  request(iommufd, device, 7);
  request(iommufd, device, 8);
  assertEquals(queue.read(records), 80);
  const words = [0, 4, 8, 12, 16].map((offset) => view.getUint32(offset, true));
  assertEquals(words, [3, device.devId, 0x101, 7, WRITE]);
  assertEquals(view.getBigUint64(24, true), 0xdead_beef_7000n);
  assertEquals(view.getUint32(40 + 12, true), 8);
  const cookies = [view.getUint32(36, true), view.getUint32(40 + 36, true)];
  assertEquals(refusal(() => answer(queue, cookies[0], 2)), "answer a fault queue: EINVAL");
  assertEquals(refusal(() => answer(queue, 99, SUCCESS)), "answer a fault queue: EINVAL");
  assertEquals(answer(queue, cookies[1], INVALID, cookies[0], SUCCESS), 16);
  assertEquals(refusal(() => answer(queue, cookies[0], SUCCESS)), "answer a fault queue: EINVAL");
  const short = new Uint8Array(new ArrayBuffer(39));
  assertEquals(refusal(() => queue.read(short)), "read a fault queue: ESPIPE");
});

mockTest("a fault queue in use cannot be destroyed", (iommufd) => {
  const queue = iommufd.faultQueueAlloc();
  assertEquals(refusal(() => iommufd.faultQueueAlloc(1)), "IOMMU_FAULT_QUEUE_ALLOC: EOPNOTSUPP");
  assertEquals(refusal(() => iommufd.destroy(queue.id)), "IOMMU_DESTROY: EBUSY");
  queue[Symbol.dispose]();
  iommufd.destroy(queue.id);
  assertEquals(refusal(() => iommufd.destroy(queue.id)), "IOMMU_DESTROY: ENOENT");
});

Deno.test("a poll loop calls who watches a queue, until that ends", () => {
  const poller = new Poller();
  using iommufd = KernelIommufd.open("/dev/iommu", { poller });
  const queue = iommufd.faultQueueAlloc();
  const device = faulting(iommufd, queue);
  const records = new Uint8Array(new ArrayBuffer(40));
  const seen: string[] = [];
  const first = queue.watch(() => seen.push(`first ${queue.read(records)}`));
  const second = queue.watch(() => seen.push("second"));
  assertEquals([poller.step(0), seen], [0, []]);
  request(iommufd, device, 1);
  second[Symbol.dispose]();
  assertEquals([poller.step(1000), seen], [1, ["first 40"]]);
  assertEquals([poller.step(0), seen.length], [0, 1]);
  request(iommufd, device, 2);
  first[Symbol.dispose]();
  assertEquals([poller.step(0), seen.length], [0, 1]);
  queue.watch(() => seen.push("third"));
  queue[Symbol.dispose]();
  assertEquals([poller.step(0), seen.length], [0, 1], "a closed queue is not polled");
});
