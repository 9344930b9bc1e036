/**
 * Page requests of a device to the real kernel on our own SMMU. Wants `hostvm --smmu ours`.
 *
 * Linux 7.3 gives the SMMU a PRI queue and empties it, but enables page requests of no function behind an SMMUv3, and VFIO
 * shows the capability without letting anybody write it. Root can, past the driver. The kernel then answers each group
 * itself: Response Failure, whoever asked; nothing of it comes to iommufd.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { DMA_TEST_CLASS, DmaTester, type PageAnswer } from "../support/dma_tester.ts";
import { vfioPath } from "../support/kernel_guest.ts";
import { KernelSpace, PAGE } from "../support/kernel_space.ts";
import { EXTENDED, RootConfig } from "../support/root_config.ts";
import { SharedPages } from "../support/shared_pages.ts";

const [CONTROL, STATUS, ALLOCATION] = [4, 6, 12];
const [ENABLE, RESET] = [1, 2];
/** Page Request Status: Response Failure; Stopped; PASIDs in answers. */
const [FAILURE, STOPPED, PASID_REQUIRED] = [0x0001, 0x0100, 0x8000];
const RESPONSE_FAILURE = 0;
const CONFIG_REGION = 7;
const IOVA = 0x7_0000_0000;
const PASID = 1;

/** The second device has the capability. */
const WITH = 1;
const isOff = Deno.readTextFileSync("/proc/cmdline").includes("pci=noats");

/** What became of page requests when the kernel had time to answer. */
async function answered(tester: DmaTester): Promise<PageAnswer> {
  for (let i = 0; i < 100 && tester.pages.group === undefined; i++) {
    await new Promise((done) => setTimeout(done, 20));
  }
  return tester.pages;
}

/** The kernel's messages. */
async function kernelLog(): Promise<string> {
  const { stdout } = await new Deno.Command("dmesg").output();
  return new TextDecoder().decode(stdout);
}

Deno.test("a page request is answered by the kernel itself", { ignore: isOff }, async (t) => {
  const path = vfioPath(DMA_TEST_CLASS, WITH);
  using iommufd = KernelIommufd.open("/dev/iommu");
  using pages = new SharedPages(PAGE);
  using device = iommufd.bindVfio(path);
  const tester = new DmaTester(device.vfio);
  const space = new KernelSpace(iommufd, device.devId);
  space.map(IOVA, pages, 0);
  device.attach(new KernelSpace(iommufd, device.devId).hwptId);
  device.attach(space.hwptId, PASID);
  const config = new RootConfig(path);
  const at = config.find(EXTENDED.PRI);
  await t.step("neither Linux nor VFIO enables them", () => {
    assertEquals(config.get16(at + CONTROL), 0);
    const enable = new Uint8Array(new ArrayBuffer(2));
    enable[0] = ENABLE;
    device.vfio.write(CONFIG_REGION, at + CONTROL, enable);
    assertEquals(config.get16(at + CONTROL), 0, "what VFIO was given is dropped");
    tester.requestPage(IOVA, 5, true, PASID);
    assertEquals(tester.pages, { notSent: true, outstanding: 0 });
  });
  await t.step(
    "enabled by root, one is Response Failure, even of a page that is there",
    async () => {
      config.set32(at + ALLOCATION, 4);
      config.set16(at + CONTROL, ENABLE);
      assertEquals(config.get16(at + STATUS), PASID_REQUIRED);
      tester.requestPage(IOVA, 5, true, PASID);
      assertEquals(await answered(tester), {
        notSent: false,
        group: 5,
        response: RESPONSE_FAILURE,
        outstanding: 0,
      });
      assertEquals(config.get16(at + STATUS), PASID_REQUIRED | FAILURE);
      const told = await kernelLog();
      assertMatch(told, /unexpected PRI request received/);
      assertMatch(
        told,
        /sid 0x00000010\.0x00001: \[5L\] unprivileged RW access at iova 0x0*700000000/,
      );
    },
  );
  await t.step("after which the device asks no more, until it is told to begin anew", async () => {
    tester.requestPage(IOVA, 6, true, PASID);
    assertEquals(tester.pages, { notSent: true, outstanding: 0 });
    config.set16(at + CONTROL, 0);
    assertEquals(config.get16(at + STATUS), PASID_REQUIRED | FAILURE | STOPPED);
    config.set16(at + STATUS, FAILURE);
    config.set16(at + CONTROL, RESET);
    config.set16(at + CONTROL, ENABLE);
    tester.requestPage(IOVA, 7, false, PASID);
    tester.requestPage(IOVA + PAGE, 7, false, PASID);
    assertEquals(tester.pages, { notSent: false, outstanding: 2 }, "a group is not complete");
    tester.requestPage(IOVA + 2 * PAGE, 7, true, PASID);
    const { group, outstanding } = await answered(tester);
    assertEquals([group, outstanding], [7, 0]);
  });
  await t.step("transfers go on as before", () => assertEquals(tester.write(IOVA, 8, PASID), true));
});
