/** A real PCI function by its VFIO device. */
import { assertEquals } from "@std/assert";
import { EventFd } from "../../uapi/eventfd.ts";
import { VFIO_DEVICE_FEATURE } from "../../uapi/vfio/feature.ts";
import { VfioDevice } from "../../uapi/vfio/vfio_device.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import type { KernelDevice } from "../../vmm/iommufd/kernel_device.ts";
import { refusal } from "../support/mock_test.ts";
import { PCI_CLASS, vfioPath } from "../support/kernel_guest.ts";
import { openDescriptors } from "../support/shared_pages.ts";

const PATH = vfioPath(PCI_CLASS.NVME);
const [BAR0, BAR2, CONFIG] = [0, 2, 7];
const [INTX, MSIX] = [0, 2];
const [MASK, TRIGGER] = [8, 0x20];

/** A test with the disk, attached to an address space of its own; it leaves no descriptor open. */
function diskTest(name: string, run: (device: KernelDevice, iommufd: KernelIommufd) => void): void {
  Deno.test(name, () => {
    const before = openDescriptors();
    {
      using iommufd = KernelIommufd.open();
      using device = iommufd.bindVfio(PATH);
      device.attach(iommufd.ioasAlloc());
      run(device, iommufd);
    }
    assertEquals(openDescriptors(), before, "open descriptors");
  });
}

Deno.test("a device that is not bound refuses everything", () => {
  using device = new VfioDevice(PATH);
  assertEquals(refusal(() => device.info()), `VFIO_DEVICE_GET_INFO on ${PATH}: EINVAL`);
  assertEquals(refusal(() => device.attach(1)), `VFIO_DEVICE_ATTACH_IOMMUFD_PT on ${PATH}: EINVAL`);
  using stranger = EventFd.create();
  const told = refusal(() => device.bind(stranger.fd.number));
  assertEquals(told, `VFIO_DEVICE_BIND_IOMMUFD on ${PATH}: EBADFD`);
});

diskTest("regions are described, read and mapped", ({ vfio }) => {
  const bar0 = vfio.region(BAR0);
  assertEquals([bar0.flags & 7, bar0.sizeBytes, bar0.isMsixMappable], [7, 0x4000, true]);
  assertEquals([bar0.sparse, bar0.type], [undefined, undefined]);
  assertEquals(vfio.region(BAR2).sizeBytes, 0);
  const config = vfio.region(CONFIG);
  assertEquals([config.flags & 7, config.sizeBytes], [3, 0x1000]);
  const id = new Uint8Array(new ArrayBuffer(4));
  vfio.read(CONFIG, 0, id);
  assertEquals([...id], [0x36, 0x1b, 0x10, 0x00]);
  vfio.write(CONFIG, 4, Uint8Array.of(2));
  using mapping = vfio.map(BAR0, 0, 0x1000);
  const version = new Uint32Array(mapping.buffer)[2];
  vfio.read(BAR0, 8, id);
  assertEquals(new Uint32Array(id.buffer)[0], version);
  assertEquals(version >> 16, 1, "NVMe 1");
  assertEquals(refusal(() => vfio.map(CONFIG, 0, 0x1000)), "map 4096 bytes: EINVAL");
  assertEquals(refusal(() => vfio.map(BAR0, 0x4000, 0x1000)), "map 4096 bytes: EINVAL");
  assertEquals(refusal(() => vfio.region(99)), `VFIO_DEVICE_GET_REGION_INFO on ${PATH}: EINVAL`);
  assertEquals(refusal(() => vfio.read(BAR2, 0, id)), `read region 2 of ${PATH}: EINVAL`);
});

diskTest("interrupts signal eventfds, until they are switched off", ({ vfio }) => {
  const { count, flags } = vfio.irq(MSIX);
  assertEquals([count > 8, flags & 1], [true, 1]);
  using first = EventFd.create();
  using third = EventFd.create();
  const eventfds = [first.fd.number, -1, third.fd.number];
  vfio.setIrqs({ index: MSIX, action: TRIGGER, eventfds });
  vfio.setIrqs({ index: MSIX, action: TRIGGER, count: 3 });
  assertEquals([first.drain(), third.drain()], [1, 1]);
  vfio.setIrqs({ index: MSIX, start: 1, action: TRIGGER, bools: [true, true] });
  assertEquals([first.drain(), third.drain()], [0, 1]);
  vfio.setIrqs({ index: MSIX, action: TRIGGER, count: 0 });
  assertEquals([first.drain(), third.drain()], [0, 0]);
  const mask = refusal(() => vfio.setIrqs({ index: MSIX, action: MASK, count: 1 }));
  assertEquals(mask, `VFIO_DEVICE_SET_IRQS on ${PATH}: ENOTTY`);
  const many = refusal(() =>
    vfio.setIrqs({ index: MSIX, start: count, action: TRIGGER, eventfds })
  );
  assertEquals(many, `VFIO_DEVICE_SET_IRQS on ${PATH}: EINVAL`);
  vfio.setIrqs({ index: INTX, action: TRIGGER, eventfds: [first.fd.number] });
  vfio.setIrqs({ index: INTX, action: MASK, count: 1 });
  vfio.setIrqs({ index: INTX, action: TRIGGER, count: 0 });
});

diskTest("a device is reset, alone or with those of its slot", ({ vfio, devId }) => {
  assertEquals(vfio.info().flags & 3, 3);
  vfio.reset();
  const { flags, devices } = vfio.dependents();
  assertEquals(flags, 3);
  assertEquals(devices, [{ devId, segment: 0, bus: 2, devfn: 0 }]);
  vfio.hotReset();
});

diskTest("a device that cannot migrate says so", ({ vfio }) => {
  const { MIGRATION, LOW_POWER_EXIT, GET, SET } = VFIO_DEVICE_FEATURE;
  assertEquals(vfio.hasFeature(MIGRATION, GET), false);
  assertEquals(vfio.hasFeature(LOW_POWER_EXIT, SET), true);
  assertEquals(
    refusal(() => vfio.feature(MIGRATION, GET, new Uint8Array(8))),
    `VFIO_DEVICE_FEATURE on ${PATH}: ENOTTY`,
  );
  assertEquals(
    refusal(() => vfio.feature(LOW_POWER_EXIT, GET, new Uint8Array())),
    `VFIO_DEVICE_FEATURE on ${PATH}: EINVAL`,
  );
});

diskTest("a device is detached, and attached anew", (device, iommufd) => {
  device.detach();
  device.detach();
  const other = iommufd.ioasAlloc();
  const hwptId = device.attach(other);
  assertEquals(device.attach(other), hwptId);
  const told = refusal(() => device.attach(99));
  assertEquals(told, `VFIO_DEVICE_ATTACH_IOMMUFD_PT on ${PATH}: ENOENT`);
  const pasid = refusal(() => device.attach(other, 1));
  assertEquals(pasid.startsWith(`VFIO_DEVICE_ATTACH_IOMMUFD_PT on ${PATH}: E`), true, pasid);
});
