/** What the files of a host tell: sysfs, procfs, configuration space, the IORT. */
import { assertEquals } from "@std/assert";
import { fileFacts } from "../../vmm/probe/facts.ts";
import { rootComplexes } from "../../vmm/probe/iort.ts";
import { pciCapabilities } from "../../vmm/probe/pci_functions.ts";
import { Tree } from "../../vmm/probe/tree.ts";
import { ARM_HOST, configSpace, HostTree, iort } from "../support/host_tree.ts";

Deno.test("an arm64 host is read as what it is", async (t) => {
  using host = new HostTree(ARM_HOST);
  const facts = await fileFacts(new Tree(host.root));
  await t.step("kernel", () => {
    assertEquals(facts.kernel, {
      release: "7.3.4",
      architecture: "aarch64",
      options: {
        IOMMUFD: "y",
        ARM_SMMU_V3: "y",
        ARM_SMMU_V3_IOMMUFD: "y",
        ARM_SMMU_V3_SVA: "n",
        VFIO: "y",
        VFIO_PCI: "m",
        VFIO_DEVICE_CDEV: "y",
        PCI_ATS: "n",
        PCI_PASID: "n",
        KVM: "n",
      },
      kvm: "absent",
      iommufd: "usable",
      allowUnsafeInterrupts: false,
      hasVfioPci: true,
      firmware: "ACPI",
    });
  });
  await t.step("IOMMUs and groups, by number", () => {
    assertEquals(facts.iommus, [{ name: "smmu3.0x0000000009050000", kind: "Arm SMMUv3" }]);
    const msi = { start: "0x0000000008000000", last: "0x00000000080fffff", type: "msi" };
    assertEquals(facts.groups, [
      { id: "0", type: "DMA", members: ["0000:01:00.0"], reserved: [msi] },
      { id: "1", type: "DMA", members: ["0000:01:10.0"], reserved: [msi] },
      { id: "10", type: "DMA", members: ["0000:01:10.1"], reserved: [msi] },
    ]);
  });
  await t.step("PCI functions", () => {
    const smmu = "smmu3.0x0000000009050000";
    const common = { class: "020000", iommu: smmu };
    const virtual = {
      ...common,
      id: "8086:10ca",
      driver: "vfio-pci",
      physicalFunction: "0000:01:00.0",
      virtualFunctions: undefined,
      capabilities: { ats: { enabled: false } },
      isVfio: true,
    };
    assertEquals(facts.functions, [
      {
        ...common,
        address: "0000:01:00.0",
        id: "8086:10c9",
        driver: "igb",
        group: "0",
        physicalFunction: undefined,
        virtualFunctions: { enabled: 2, most: 8 },
        capabilities: {
          ats: { enabled: true },
          pasid: { enabled: true, width: 20, execute: true, privileged: true },
        },
        isVfio: false,
        cdev: undefined,
      },
      {
        ...virtual,
        address: "0000:01:10.0",
        group: "1",
        cdev: { name: "vfio0", path: "/dev/vfio/devices/vfio0", state: "usable" },
      },
      {
        ...virtual,
        address: "0000:01:10.1",
        group: "10",
        cdev: { name: "vfio1", path: "/dev/vfio/devices/vfio1", state: "usable" },
      },
    ]);
  });
  await t.step("firmware, users of VFIO, what could not be read", () => {
    assertEquals(facts.rootComplexes, [{ segment: 0, memoryFlags: 7, ats: true }]);
    assertEquals([facts.holders, facts.unread], [{}, []]);
  });
});

Deno.test("a machine with nothing is read without a complaint", async () => {
  using host = new HostTree({ "/proc/sys/kernel/osrelease": "6.1.0\n" });
  const facts = await fileFacts(new Tree(host.root));
  assertEquals([facts.kernel.release, facts.kernel.options], ["6.1.0", undefined]);
  assertEquals([facts.kernel.iommufd, facts.kernel.kvm], ["absent", "absent"]);
  assertEquals([facts.kernel.firmware, facts.kernel.hasVfioPci], ["neither", false]);
  assertEquals([facts.iommus, facts.groups, facts.functions, facts.unread], [[], [], [], []]);
});

Deno.test("the kernel's configuration is found where kernels keep it", async (t) => {
  const text = "CONFIG_IOMMUFD=m\n# CONFIG_VFIO is not set\nCONFIG_KVM=y\n";
  const packed = new Response(
    new Blob([text]).stream().pipeThrough(new CompressionStream("gzip")),
  );
  const files = {
    "/proc/config.gz": new Uint8Array(await packed.arrayBuffer()),
    "/boot/config-6.12": text,
    "/lib/modules/6.12/config": text,
  };
  for (const [path, content] of Object.entries(files)) {
    await t.step(path, async () => {
      using host = new HostTree({ "/proc/sys/kernel/osrelease": "6.12\n", [path]: content });
      const { kernel } = await fileFacts(new Tree(host.root));
      const { IOMMUFD, VFIO, KVM } = kernel.options!;
      assertEquals([IOMMUFD, VFIO, KVM], ["m", "n", "y"]);
    });
  }
});

Deno.test("programs that have VFIO's nodes open are named", async () => {
  using host = new HostTree({
    ...ARM_HOST,
    "/proc/812/fd/7": "-> /dev/vfio/devices/vfio0",
    "/proc/812/fd/8": "-> anon_inode:[iommufd]",
    "/proc/812/fd/9": "-> /dev/vfio/devices/vfio0",
    "/proc/812/comm": "qemu-system-aar\n",
    "/proc/900/fd/3": "-> /dev/vfio/10",
  });
  const { holders } = await fileFacts(new Tree(host.root));
  assertEquals(holders, {
    "/dev/vfio/devices/vfio0": ["qemu-system-aar (812)"],
    "/dev/vfio/10": ["a program (900)"],
  });
});

Deno.test("what VFIO offers without character devices, and without an IOMMU, is told apart", async (t) => {
  const folder = "/sys/bus/pci/devices/0000:01:10.0/vfio-dev";
  using host = new HostTree(ARM_HOST);
  await t.step("no character devices", async () => {
    host.remove(`${folder}/vfio0/dev`);
    const { functions } = await fileFacts(new Tree(host.root));
    assertEquals([functions[1].isVfio, functions[1].cdev], [true, undefined]);
  });
  await t.step("noiommu", async () => {
    host.remove(`${folder}/vfio0`);
    host.set(`${folder}/noiommu-vfio0/dev`, "511:0");
    const { functions } = await fileFacts(new Tree(host.root));
    assertEquals(functions[1].cdev, {
      name: "noiommu-vfio0",
      path: "/dev/vfio/devices/noiommu-vfio0",
      state: "absent",
    });
  });
});

Deno.test("configuration space that is cut or loops is read as far as it goes", async (t) => {
  const looping = configSpace([0x10, 0, 0], [0x13, 1, 0]);
  new DataView(looping.buffer).setUint32(0x140, 0x13 | (1 << 16) | (0x100 << 20), true);
  const wild = configSpace([0x0f, 0, 0]);
  new DataView(wild.buffer).setUint32(0x100, 0x10 | (1 << 16) | (0xffc << 20), true);
  new DataView(wild.buffer).setUint32(0xffc, 0x1b | (1 << 16), true);
  const cases: { name: string; config: Uint8Array; capabilities: object | undefined }[] = [
    { name: "64 bytes: not root", config: new Uint8Array(64), capabilities: undefined },
    { name: "conventional", config: new Uint8Array(256), capabilities: {} },
    { name: "all ones", config: new Uint8Array(4096).fill(0xff), capabilities: {} },
    { name: "a loop", config: looping, capabilities: { pri: { enabled: true } } },
    { name: "the last word", config: wild, capabilities: {} },
  ];
  for (const { name, config, capabilities } of cases) {
    await t.step(name, () => assertEquals(pciCapabilities(config), capabilities));
  }
});

Deno.test("an IORT that is cut, foreign or endless gives what can be understood", async (t) => {
  const whole = iort(3, 7);
  const foreign = whole.slice();
  foreign[0] = 0x41;
  const endless = whole.slice();
  new DataView(endless.buffer).setUint32(36, 0xffff_ffff, true);
  const stuck = whole.slice();
  new DataView(stuck.buffer).setUint16(49, 0, true);
  const found = [{ segment: 7, memoryFlags: 3, ats: true }];
  const cases: { name: string; table: Uint8Array; found: object[] }[] = [
    { name: "whole", table: whole, found },
    { name: "cut in the root complex", table: whole.subarray(0, 100), found: [] },
    { name: "cut in the header", table: whole.subarray(0, 20), found: [] },
    { name: "foreign", table: foreign, found: [] },
    { name: "more nodes than there are", table: endless, found },
    { name: "a node of no length", table: stuck, found: [] },
  ];
  for (const { name, table, found } of cases) {
    await t.step(name, () => assertEquals(rootComplexes(table), found as never));
  }
});
