/** What the Host VM must have for all other tests here. */
import { assert, assertEquals, assertMatch } from "@std/assert";

const PCI = "/sys/bus/pci/devices";

Deno.test("the Host VM is an arm64 machine with iommufd, KVM and the kernel's mock driver", () => {
  assertEquals(Deno.build.arch, "aarch64");
  assertMatch(Deno.osRelease(), /^7\.3\./);
  for (const path of ["/dev/iommu", "/dev/kvm"]) assert(Deno.statSync(path).isCharDevice, path);
  assert(Deno.statSync("/sys/bus/iommufd_mock").isDirectory);
});

Deno.test("two virtual functions and an NVMe disk are VFIO's, each alone in a group behind the SMMU", () => {
  const given = [...Deno.readDirSync(PCI)].map(({ name }) => `${PCI}/${name}`)
    .filter((path) => basename(`${path}/driver`) === "vfio-pci");
  const classes = given.map((path) => Deno.readTextFileSync(`${path}/class`).trim());
  assertEquals(classes.sort(), ["0x010802", "0x020000", "0x020000"]);
  assertEquals(new Set(given.map((path) => basename(`${path}/iommu_group`))).size, 3);
  for (const path of given) {
    assertEquals([...Deno.readDirSync(`${path}/iommu_group/devices`)].length, 1, path);
    const [{ name }] = Deno.readDirSync(`${path}/vfio-dev`);
    assert(Deno.statSync(`/dev/vfio/devices/${name}`).isCharDevice, name);
  }
});

Deno.test("the IORT that Linux uses says that the root complex's devices snoop caches", () => {
  const table = Deno.readFileSync("/sys/firmware/acpi/tables/IORT");
  const view = new DataView(table.buffer);
  const flags: number[] = [];
  // DEN0049E: nodes begin where byte 40 says; type 2 is a root complex, with CPM, DACS and CANWBS in byte 23.
  for (let at = view.getUint32(40, true); at < table.length; at += view.getUint16(at + 1, true)) {
    if (table[at] === 2) flags.push(table[at + 23]);
  }
  assertEquals(flags, [0b111]);
});

Deno.test("what a task leaves in VSMMU_OUT has a place", () => {
  assert(Deno.statSync(Deno.env.get("VSMMU_OUT")!).isDirectory);
});

function basename(link: string): string | undefined {
  try {
    return Deno.readLinkSync(link).split("/").at(-1);
  } catch (error) {
    // Not every function has a driver.
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
