/** What devices and PASIDs of the kernel's mock driver are attached to. */
import { assertEquals } from "@std/assert";
import type { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { createAccess, iommuTest, MockDevice } from "../support/mock_device.ts";
import { mockTest, refusal } from "../support/mock_test.ts";

const FIXED_RW = 7;
const PASID_FLAG = 8;
const DEVICE_PASID = 4;
const PASID = 100;

/** What the PASID of a device is attached to; 0 for nothing. */
function pasidIs(iommufd: KernelIommufd, { stdevId }: MockDevice, hwptId: number): void {
  iommuTest(iommufd, "PASID_CHECK_HWPT", stdevId, { pasid: PASID, hwpt_id: hwptId });
}

mockTest("a device is moved from one address space to another", (iommufd, pages) => {
  const [first, second] = [iommufd.ioasAlloc(), iommufd.ioasAlloc()];
  const device = new MockDevice(iommufd, first);
  const map = { flags: FIXED_RW, userVa: pages.address, length: 0x1000n, iova: 0x100_0000n };
  iommufd.ioasMap({ ...map, ioasId: second, userVa: pages.address + 0x1000n });
  assertEquals(refusal(() => iommufd.destroy(first)), "IOMMU_DESTROY: EBUSY");
  const hwptId = device.attach(second);
  assertEquals(hwptId === device.hwptId, false);
  const seen = { iova: 0x100_0000n, length: 0x1000n, uptr: pages.address + 0x1000n };
  iommuTest(iommufd, "MD_CHECK_MAP", hwptId, seen);
  assertEquals(
    refusal(() => iommufd.destroy(device.hwptId)),
    "IOMMU_DESTROY: ENOENT",
    "the HWPT that the kernel made by itself went",
  );
  iommufd.destroy(first);
  assertEquals(refusal(() => iommufd.destroy(second)), "IOMMU_DESTROY: EBUSY");
  assertEquals(refusal(() => device.attach(99)), "IOMMU_TEST MOCK_DOMAIN_REPLACE: ENOENT");
  assertEquals(refusal(() => iommufd.destroy(device.devId)), "IOMMU_DESTROY: EBUSY");
  device[Symbol.dispose]();
  assertEquals(refusal(() => iommufd.destroy(device.devId)), "IOMMU_DESTROY: ENOENT");
  iommufd.destroy(second);
});

mockTest("two devices share the HWPT of an address space", (iommufd) => {
  const ioasId = iommufd.ioasAlloc();
  const first = new MockDevice(iommufd, ioasId);
  const second = new MockDevice(iommufd, ioasId);
  assertEquals(first.hwptId, second.hwptId);
  first[Symbol.dispose]();
  assertEquals(refusal(() => iommufd.destroy(ioasId)), "IOMMU_DESTROY: EBUSY");
  second[Symbol.dispose]();
  iommufd.destroy(ioasId);
});

mockTest("a PASID is attached, moved and detached", (iommufd) => {
  const ioasId = iommufd.ioasAlloc();
  const device = new MockDevice(iommufd, ioasId, DEVICE_PASID);
  const { devId, stdevId } = device;
  const info = iommufd.getHwInfo(devId);
  assertEquals(info.maxPasidLog2, 20);
  const alloc = (flags: number): number =>
    iommufd.hwptAlloc({ flags, devId, ptId: ioasId, dataType: 0 });
  const [plain, one, two] = [alloc(0), alloc(PASID_FLAG), alloc(PASID_FLAG)];
  const attach = (op: "PASID_ATTACH" | "PASID_REPLACE", ptId: number): string =>
    refusal(() => iommuTest(iommufd, op, stdevId, { pasid: PASID, pt_id: ptId }));

  assertEquals(attach("PASID_ATTACH", one), "IOMMU_TEST PASID_ATTACH: EINVAL", "not yet allowed");
  device.attach(one);
  pasidIs(iommufd, device, 0);
  assertEquals(attach("PASID_ATTACH", plain), "IOMMU_TEST PASID_ATTACH: EINVAL");
  assertEquals(attach("PASID_ATTACH", ioasId), "IOMMU_TEST PASID_ATTACH: EINVAL");
  assertEquals(attach("PASID_REPLACE", two), "IOMMU_TEST PASID_REPLACE: EINVAL", "nothing yet");
  device.attach(one, PASID);
  pasidIs(iommufd, device, one);
  assertEquals(attach("PASID_ATTACH", two), "IOMMU_TEST PASID_ATTACH: EBUSY");
  device.attach(two, PASID);
  pasidIs(iommufd, device, two);
  assertEquals(refusal(() => iommufd.destroy(two)), "IOMMU_DESTROY: EBUSY");
  device.detach(PASID);
  device.detach(PASID);
  pasidIs(iommufd, device, 0);
  iommufd.destroy(two);
});

mockTest("an access is moved to another address space", (iommufd, pages) => {
  const [first, second] = [iommufd.ioasAlloc(), iommufd.ioasAlloc()];
  using access = createAccess(iommufd, first);
  const map = { flags: FIXED_RW, length: 0x1000n, iova: 0x1000n };
  iommufd.ioasMap({ ...map, ioasId: second, userVa: pages.address });
  pages.view.setUint32(0x10, 0x600d, true);
  const read = (): unknown =>
    iommuTest(iommufd, "ACCESS_RW", access.number, {
      iova: 0x1010n,
      length: 4n,
      uptr: pages.address + 0x2000n,
    });
  assertEquals(refusal(read), "IOMMU_TEST ACCESS_RW: ENOENT");
  iommuTest(iommufd, "ACCESS_REPLACE_IOAS", access.number, { ioas_id: second });
  read();
  assertEquals(pages.view.getUint32(0x2000, true), 0x600d);
  iommufd.destroy(first);
  assertEquals(refusal(() => iommufd.destroy(second)), "IOMMU_DESTROY: EBUSY");
});

mockTest("what the kernel does not take is refused by name", async (iommufd, pages, t) => {
  const ioasId = iommufd.ioasAlloc();
  const device = new MockDevice(iommufd, ioasId);
  const { devId } = device;
  const hwpt = { flags: 0, devId, ptId: ioasId, dataType: 0 };
  const parent = iommufd.hwptAlloc({ ...hwpt, flags: 1 });
  const map = {
    flags: FIXED_RW,
    ioasId,
    userVa: pages.address,
    length: 0x1000n,
    iova: 0x100_0000n,
  };
  const copy = {
    flags: FIXED_RW,
    dstIoasId: ioasId,
    srcIoasId: ioasId,
    length: 0x1000n,
    dstIova: 0x200_0000n,
    srcIova: 0x100_0000n,
  };
  const vdevice = { viommuId: parent, devId, virtId: 1n };
  const event = { flags: 0, viommuId: parent, type: 1, depth: 1 };
  const huge = 0xffff_ffff_ffff_f000n;
  const cases: [string, () => unknown, string][] = [
    ["an unknown flag", () => iommufd.ioasMap({ ...map, flags: 8 }), "EOPNOTSUPP"],
    ["no access", () => iommufd.ioasMap({ ...map, flags: 1 }), "EINVAL"],
    ["no length", () => iommufd.ioasMap({ ...map, length: 0n }), "EINVAL"],
    ["half a page", () => iommufd.ioasMap({ ...map, length: 0x7ffn }), "EINVAL"],
    [
      "a length past the end",
      () => iommufd.ioasMap({ ...map, userVa: huge, length: 0x2000n }),
      "EOVERFLOW",
    ],
    ["no memory there", () => iommufd.ioasMap({ ...map, userVa: 0n }), "EFAULT"],
    ["outside the aperture", () => iommufd.ioasMap({ ...map, iova: 0x8000_0000n }), "EINVAL"],
    ["no such IOAS", () => iommufd.ioasMap({ ...map, ioasId: 99 }), "ENOENT"],
    ["a HWPT is no IOAS", () => iommufd.ioasMap({ ...map, ioasId: parent }), "ENOENT"],
    ["a hole", () => iommufd.ioasCopy(copy), "ENOENT"],
    ["nothing mapped", () => iommufd.ioasUnmap(ioasId, 0x1000n, 0x1000n), "ENOENT"],
    ["an unknown option", () => iommufd.option(9, 1, 0, 0n), "EOPNOTSUPP"],
    ["a HWPT flag", () => iommufd.hwptAlloc({ ...hwpt, flags: 0x100 }), "EOPNOTSUPP"],
    ["a HWPT on a device", () => iommufd.hwptAlloc({ ...hwpt, ptId: devId }), "EINVAL"],
    ["no such device", () => iommufd.hwptAlloc({ ...hwpt, devId: 99 }), "ENOENT"],
    ["data of no type", () => iommufd.hwptAlloc({ ...hwpt, data: new Uint8Array(4) }), "EINVAL"],
    ["a type without data", () => iommufd.hwptAlloc({ ...hwpt, dataType: 2 }), "EINVAL"],
    ["no such fault queue", () => iommufd.hwptAlloc({ ...hwpt, flags: 4, faultId: 99 }), "ENOENT"],
    ["no vIOMMU for a vDEVICE", () => iommufd.vdeviceAlloc(vdevice), "ENOENT"],
    ["no vIOMMU for events", () => iommufd.veventqAlloc(event), "ENOENT"],
    ["physical addresses", () => iommufd.ioasNoiommuGetPa(ioasId, 0n, 0x1000n), "ENOENT"],
  ];
  for (const [name, call, errno] of cases) {
    await t.step(name, () => assertEquals(refusal(call).split(": ")[1], errno));
  }
});
