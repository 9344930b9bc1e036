/**
 * Functions of a host by name.
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { Tree } from "../../vmm/probe/tree.ts";
import { hostDevice } from "../../vmm/vfio/host_device.ts";
import { HostTree } from "../support/host_tree.ts";

const VF = "/sys/bus/pci/devices/0000:01:10.0";
const RESERVED = `0x0000000008000000 0x00000000080fffff msi
0x00000000c0000000 0x00000000c0ffffff reserved
`;

function host(): HostTree {
  return new HostTree({
    [`${VF}/vfio-dev/vfio3/dev`]: "511:3",
    [`${VF}/iommu_group/reserved_regions`]: RESERVED,
    "/sys/class/vfio-dev/vfio3/device": "-> ../../../bus/pci/devices/0000:01:10.0",
    "/sys/bus/pci/devices/0000:00:01.0/driver": "-> ../../drivers/igbvf",
    "/sys/bus/pci/devices/0000:00:01.0/class": "0x020000",
  });
}

Deno.test("a function is found by its character device and by its PCI address", () => {
  using files = host();
  const tree = new Tree(files.root);
  const expected = {
    devicePath: "/dev/vfio/devices/vfio3",
    address: "0000:01:10.0",
    msiWindow: { base: 0x0800_0000, sizeBytes: 0x10_0000 },
  };
  for (const name of ["/dev/vfio/devices/vfio3", "0000:01:10.0", "01:10.0"]) {
    assertEquals(hostDevice(name, tree), expected);
  }
});

Deno.test("a function without messages needs no window for them", () => {
  const window = { base: 0x0800_0000, sizeBytes: 0x10_0000 };
  // Status says that there is a list; it begins at 0x40, with one capability.
  const cases = [
    { name: "PCI Express", id: 0x10, expected: undefined },
    { name: "MSI", id: 0x05, expected: window },
    { name: "MSI-X", id: 0x11, expected: window },
  ];
  for (const { name, id, expected } of cases) {
    const config = new Uint8Array(256);
    [config[0x06], config[0x34], config[0x40]] = [0x10, 0x40, id];
    using files = new HostTree({
      [`${VF}/vfio-dev/vfio3/dev`]: "511:3",
      [`${VF}/iommu_group/reserved_regions`]: RESERVED,
      [`${VF}/config`]: config,
    });
    assertEquals(hostDevice("01:10.0", new Tree(files.root)).msiWindow, expected, name);
  }
});

Deno.test("what is not there, or another driver's, is refused with what to do", async (t) => {
  const cases: readonly (readonly [name: string, message: string])[] = [
    ["0000:02:00.0", "this host has no such PCI function"],
    ["0000:00:01.0", "it belongs to igbvf, not to vfio-pci"],
    [
      "/dev/vfio/devices/vfio9",
      "it is no character device of VFIO; this host has /dev/vfio/devices/vfio3",
    ],
    ["/dev/vfio/devices/../vfio3", "it is no character device of VFIO"],
    ["eth0", "it is no character device of VFIO"],
  ];
  using files = host();
  const tree = new Tree(files.root);
  for (const [name, message] of cases) {
    await t.step(name, () => {
      assertThrows(() => hostDevice(name, tree), EnvironmentError, message);
    });
  }
  const error = assertThrows(() => hostDevice("00:01.0", tree), EnvironmentError);
  assertEquals(error.toolLines, [
    "echo vfio-pci > /sys/bus/pci/devices/0000:00:01.0/driver_override",
    "echo 0000:00:01.0 > /sys/bus/pci/devices/0000:00:01.0/driver/unbind",
    "echo 0000:00:01.0 > /sys/bus/pci/drivers_probe",
  ]);
});
