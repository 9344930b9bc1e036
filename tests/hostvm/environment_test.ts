/** What the Host VM must have for all other tests here. */
import { assert, assertEquals } from "@std/assert";

Deno.test("the Host VM has iommufd, KVM, three VFIO devices and the mock device's debugfs", () => {
  assert(Deno.statSync("/dev/iommu").isCharDevice);
  assert(Deno.statSync("/dev/kvm").isCharDevice);
  const devices = [...Deno.readDirSync("/dev/vfio/devices")].map(({ name }) => name).sort();
  assertEquals(devices, ["vfio0", "vfio1", "vfio2"]);
});

Deno.test("the IORT says that devices snoop caches", () => {
  const table = Deno.readFileSync("/sys/firmware/acpi/tables/IORT");
  assertEquals(new TextDecoder().decode(table.subarray(0, 4)), "IORT");
});
