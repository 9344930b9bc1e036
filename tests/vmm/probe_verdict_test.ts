/** What is made of the facts: every refusal, with its reason and what to do. */
import { assert, assertEquals } from "@std/assert";
import type { Features } from "../../hw/smmuv3/features.ts";
import { type Examination, type StepName, STEPS } from "../../vmm/probe/examination.ts";
import { type Facts, fileFacts } from "../../vmm/probe/facts.ts";
import type { KernelFacts } from "../../vmm/probe/kernel_facts.ts";
import type { PciFunction } from "../../vmm/probe/pci_functions.ts";
import { Tree } from "../../vmm/probe/tree.ts";
import { type Answer, judge, type Reason } from "../../vmm/probe/verdict.ts";
import { ARM_HOST, HostTree } from "../support/host_tree.ts";

const VF = "0000:01:10.0";
/** QEMU's stand-in. */
const IDENTITY = {
  flags: 0,
  idr: [0x0d44_101b, 0x0273_0010, 0, 0x1414, 0, 0x74],
  iidr: 0,
  aidr: 0,
};

using host = new HostTree(ARM_HOST);
const files = await fileFacts(new Tree(host.root));

/** A device that answers `ok` to every step, or stops with `code` at `refused`. */
function examined(
  refused?: StepName,
  code: string = "EOPNOTSUPP",
  more: Partial<Examination> = {},
): Examination {
  const last = refused === undefined ? STEPS.length : STEPS.indexOf(refused);
  const steps: Partial<Record<StepName, string>> = Object.fromEntries(
    STEPS.slice(0, last).map((step) => [step, step === "dirtyTracking" ? "EOPNOTSUPP" : "ok"]),
  );
  if (refused !== undefined) steps[refused] = code;
  const isAsked = last > STEPS.indexOf("hwInfo");
  return {
    address: VF,
    steps,
    ...isAsked ? { hwInfoType: 2, identity: IDENTITY, maxPasidLog2: 0, capabilities: 8 } : {},
    ...last > STEPS.indexOf("iovaRanges")
      ? { ranges: [{ start: 0n, last: 0xfff_ffff_ffffn }], alignment: 4096 }
      : {},
    leftOver: [],
    ...more,
  };
}

/** The fixture's host with one VF for VFIO, and with changes. */
function facts(change: Partial<Facts> = {}): Facts {
  const functions = files.functions.filter(({ address }) => address !== "0000:01:10.1");
  return { ...files, functions, missingCalls: [], examinations: [], unseen: [], ...change };
}

function withKernel(change: Partial<KernelFacts>): Partial<Facts> {
  return { kernel: { ...files.kernel, ...change } };
}

function withOption(name: string, value: string): Partial<Facts> {
  return withKernel({ options: { ...files.kernel.options, [name]: value } });
}

/** The VF changed. */
function withFunction(change: Partial<PciFunction>): Partial<Facts> {
  return {
    functions: facts().functions.map((each) => each.address === VF ? { ...each, ...change } : each),
  };
}

/** Fails when a reason has no cure, or either has more than a line. */
function whys(reasons: readonly Reason[]): string[] {
  for (const { why, cure } of reasons) {
    for (const text of [why, cure]) assert(/^[^\n]{10,}[^.\n]$/.test(text), text);
  }
  return reasons.map(({ why }) => why);
}

Deno.test("a device that does all steps makes the answer yes, with what a guest would get", () => {
  const verdict = judge(facts({ examinations: [examined()] }));
  assertEquals([verdict.nested, verdict.reasons], ["yes", []]);
  const [{ address, nested, reasons, guest }] = verdict.devices;
  assertEquals([address, nested, reasons], [VF, "yes", []]);
  const { oas, ssidSize, asid16, rangeInvalidation } = guest!.features;
  assertEquals([oas, ssidSize, asid16, rangeInvalidation], [44, 0, true, true]);
});

Deno.test("what holds for the whole host is said once", async (t) => {
  const none = { functions: [] };
  const cases: { name: string; change: Partial<Facts>; nested: Answer; why: string[] }[] = [
    {
      name: "x86_64 with nothing",
      change: {
        ...none,
        iommus: [],
        ...withKernel({ architecture: "x86_64", iommufd: "absent", options: undefined }),
      },
      nested: "no",
      why: [
        "The CPU is x86_64, and an Arm SMMUv3 is in arm64 machines only",
        "/dev/iommu is not there",
      ],
    },
    {
      name: "another IOMMU",
      change: { ...none, iommus: [{ name: "dmar0", kind: "Intel VT-d" }] },
      nested: "no",
      why: ["The IOMMU is Intel VT-d, and a guest of ours needs an Arm SMMUv3"],
    },
    {
      name: "no IOMMU",
      change: { ...none, iommus: [] },
      nested: "no",
      why: ["The kernel drives no IOMMU: /sys/class/iommu is empty"],
    },
    {
      name: "no iommufd in the kernel",
      change: {
        kernel: {
          ...files.kernel,
          iommufd: "absent",
          options: { ...files.kernel.options, IOMMUFD: "n" },
        },
      },
      nested: "no",
      why: ["This kernel, 7.3.4, has no iommufd: CONFIG_IOMMUFD is not set"],
    },
    {
      name: "no rights to iommufd",
      change: withKernel({ iommufd: "forbidden" }),
      nested: "unknown",
      why: ["This user cannot open /dev/iommu"],
    },
    {
      name: "an older kernel",
      change: {
        ...withKernel({ release: "6.9.0" }),
        missingCalls: ["IOMMU_VIOMMU_ALLOC", "IOMMU_VDEVICE_ALLOC", "IOMMU_VEVENTQ_ALLOC"],
      },
      nested: "no",
      why: [
        "This kernel, 6.9.0, has no IOMMU_VIOMMU_ALLOC, IOMMU_VDEVICE_ALLOC, IOMMU_VEVENTQ_ALLOC",
      ],
    },
    {
      name: "a kernel without what nesting does not need",
      change: { missingCalls: ["IOMMU_IOAS_NOIOMMU_GET_PA", "IOMMU_HW_QUEUE_ALLOC"] },
      nested: "unknown",
      why: [],
    },
    {
      name: "a driver that does not nest",
      change: withOption("ARM_SMMU_V3_IOMMUFD", "n"),
      nested: "no",
      why: ["The kernel's SMMUv3 driver does not nest: CONFIG_ARM_SMMU_V3_IOMMUFD is not set"],
    },
    {
      name: "no character devices",
      change: withFunction({ cdev: undefined }),
      nested: "no",
      why: ["VFIO makes no character devices: CONFIG_VFIO_DEVICE_CDEV is not set"],
    },
    {
      name: "nothing bound to vfio-pci",
      change: none,
      nested: "unknown",
      why: ["No PCI function is bound to vfio-pci, so none can be asked"],
    },
  ];
  for (const { name, change, nested, why } of cases) {
    await t.step(name, () => {
      const verdict = judge(facts(change));
      assertEquals([verdict.nested, whys(verdict.reasons)], [nested, why]);
    });
  }
  await t.step("the cure knows what the kernel says of itself", () => {
    const cure = (change: Partial<Facts>): string => judge(facts(change)).reasons[0].cure;
    assert(cure({ ...none, ...withKernel({ hasVfioPci: false }) }).startsWith("modprobe vfio-pci"));
    assert(cure(none).startsWith("echo vfio-pci > "));
    assert(cure({ ...withKernel({ iommufd: "absent" }) }).startsWith("Make /dev/iommu visible"));
    const module = { ...withOption("IOMMUFD", "m") };
    assert(
      cure({ kernel: { ...module.kernel!, iommufd: "absent" } }).startsWith("modprobe iommufd"),
    );
    const none6 = { ...none, iommus: [], ...withOption("ARM_SMMU_V3", "n") };
    assertEquals(cure(none6), "Use a kernel with CONFIG_ARM_SMMU_V3");
  });
});

Deno.test("a device that cannot be asked says why", async (t) => {
  const cdev = { name: "vfio0", path: "/dev/vfio/devices/vfio0" };
  const group = files.groups.find(({ id }) => id === "1")!;
  const pf = files.functions[0];
  const cases: { name: string; change: Partial<Facts>; nested: Answer; why: string[] }[] = [
    { name: "it was not asked", change: {}, nested: "unknown", why: [] },
    {
      name: "no group",
      change: withFunction({ group: undefined, iommu: undefined }),
      nested: "no",
      why: ["It is in no IOMMU group: nothing translates its DMA"],
    },
    {
      name: "noiommu",
      change: withFunction({ cdev: { ...cdev, name: "noiommu-vfio0", state: "usable" } }),
      nested: "no",
      why: ["It is in no IOMMU group: nothing translates its DMA"],
    },
    {
      name: "an IOMMU of another kind beside the SMMU",
      change: {
        ...withFunction({ iommu: "smmu.0x1" }),
        iommus: [...files.iommus, { name: "smmu.0x1", kind: "Arm SMMU" }],
      },
      nested: "no",
      why: ["Its IOMMU, smmu.0x1, is Arm SMMU"],
    },
    {
      name: "no rights",
      change: withFunction({ cdev: { ...cdev, state: "forbidden" } }),
      nested: "unknown",
      why: ["This user cannot open /dev/vfio/devices/vfio0"],
    },
    {
      name: "no node",
      change: withFunction({ cdev: { ...cdev, state: "absent" } }),
      nested: "unknown",
      why: ["/dev/vfio/devices/vfio0 is not there"],
    },
    {
      name: "in use, by its cdev and by its group",
      change: { holders: { [cdev.path]: ["qemu (812)"], "/dev/vfio/1": ["dpdk (9)"] } },
      nested: "unknown",
      why: ["It is in use by qemu (812), dpdk (9), and was left alone"],
    },
    {
      name: "a group shared with a driver of the host",
      change: {
        groups: [{ ...group, members: [VF, pf.address, "0000:00:01.0"] }],
        functions: [
          ...facts().functions,
          { ...pf, address: "0000:00:01.0", driver: "pcieport" },
        ],
      },
      nested: "no",
      why: ["Its group, 1, has devices that the host uses: 0000:01:00.0 (igb)"],
    },
    {
      name: "addresses that firmware claims",
      change: {
        groups: [{
          ...group,
          reserved: [
            { start: "0x1000", last: "0x1fff", type: "direct-relaxable" },
            { start: "0x8000", last: "0x8fff", type: "direct" },
          ],
        }],
      },
      nested: "no",
      why: ["Firmware claims 0x8000 to 0x8fff for the device (a direct region)"],
    },
  ];
  for (const { name, change, nested, why } of cases) {
    await t.step(name, () => {
      const [device] = judge(facts(change)).devices;
      assertEquals([device.nested, whys(device.reasons)], [nested, why]);
    });
  }
});

Deno.test("every step that the kernel refuses is explained by what its errno means there", async (t) => {
  const identity = (idr: number[], iidr: number = 0): Partial<Examination> => ({
    identity: { flags: 0, idr, iidr, aidr: 0 },
  });
  const fwb = identity([0x0d44_101b, 0x0273_0010, 0, 0x1514, 0, 0x74]);
  const stage1 = identity([0x0d44_101a, 0x0273_0010, 0, 0x1414, 0, 0x74]);
  const mmu600 = identity(IDENTITY.idr, 0x4831_243b);
  const newerMmu600 = identity(IDENTITY.idr, 0x4832_043b);
  const newerMmu700 = identity(IDENTITY.idr, 0x4871_143b);
  const mmu700 = identity(IDENTITY.idr, 0x4870_043b);
  const canwbs = (memoryFlags: number): Partial<Facts> => ({
    rootComplexes: [{ segment: 0, memoryFlags, ats: false }, {
      segment: 1,
      memoryFlags: 7,
      ats: false,
    }],
  });
  type Case = [Examination, Partial<Facts>, why: string, nested?: Answer];
  const cases: Case[] = [
    [examined("open", "EACCES"), {}, "Cannot open the device: EACCES. The kernel gives no more"],
    [
      examined("bind", "EPERM"),
      {},
      "Cannot bind the device to iommufd: EPERM. Interrupts of devices are not isolated from " +
      "each other, for want of an ITS",
    ],
    [
      examined("bind", "EPERM"),
      withKernel({ allowUnsafeInterrupts: true }),
      "Cannot bind the device to iommufd: EPERM. Another program has a device of the group",
    ],
    [
      examined("bind", "EBUSY"),
      {},
      "Cannot bind the device to iommufd: EBUSY. The device is in use, or it is being reset",
      "unknown",
    ],
    [
      examined("bind", "EINVAL"),
      {},
      "Cannot bind the device to iommufd: EINVAL. The device's DMA does not keep caches coherent",
    ],
    [examined("hwInfo", "ENOTTY"), {}, "Cannot ask for the IOMMU's registers: ENOTTY. This kernel"],
    [examined("hwInfo", "ok", { hwInfoType: 0 }), {}, "The IOMMU's driver tells nothing of it"],
    [examined("hwInfo", "ok", { hwInfoType: 1 }), {}, "The IOMMU is Intel VT-d"],
    [examined("hwInfo", "ok", { hwInfoType: 9 }), {}, "The IOMMU is of type 9"],
    [examined("ioas", "ENOMEM"), {}, "Cannot make an address space: ENOMEM. The kernel had no"],
    [
      examined("nestParent", "EOPNOTSUPP", stage1),
      {},
      "Cannot make a stage 2 for nesting: EOPNOTSUPP. The SMMU lacks a stage: IDR0.S1P is 1 and " +
      "IDR0.S2P is 0, both must be 1",
    ],
    [
      examined("nestParent", "EOPNOTSUPP", mmu600),
      {},
      "Cannot make a stage 2 for nesting: EOPNOTSUPP. The kernel does not nest on an MMU-600 " +
      "before r2p0: errata",
    ],
    [
      examined("nestParent", "EOPNOTSUPP", mmu700),
      {},
      "Cannot make a stage 2 for nesting: EOPNOTSUPP. The kernel does not nest on an MMU-700",
    ],
    ...[newerMmu600, newerMmu700].map((each): Case => [
      examined("nestParent", "EOPNOTSUPP", each),
      {},
      "Cannot make a stage 2 for nesting: EOPNOTSUPP. The SMMU has both stages",
    ]),
    [
      examined("nestParent"),
      {},
      "Cannot make a stage 2 for nesting: EOPNOTSUPP. The SMMU has both stages, and the kernel's",
    ],
    [
      examined("attach", "EADDRINUSE"),
      {},
      "Cannot attach the device to a stage 2: EADDRINUSE. A reserved region of the device",
    ],
    [
      examined("viommu"),
      canwbs(3),
      "Cannot make a virtual SMMU: EOPNOTSUPP. A guest could make the device's accesses " +
      "incoherent: IDR3.FWB is 0, and the memory flags of the root complex in the IORT are 0x3, " +
      "without CANWBS (bit 2)",
    ],
    [
      examined("viommu"),
      withKernel({ firmware: "device tree" }),
      "Cannot make a virtual SMMU: EOPNOTSUPP. A guest could make the device's accesses " +
      "incoherent: IDR3.FWB is 0, and a device tree cannot say that the root complex is CANWBS",
    ],
    [
      examined("viommu"),
      { rootComplexes: undefined },
      "Cannot make a virtual SMMU: EOPNOTSUPP. A guest could make the device's accesses " +
      "incoherent: IDR3.FWB is 0, and the IORT does not say that the root complex is CANWBS",
    ],
    [
      examined("viommu", "EOPNOTSUPP", fwb),
      {},
      "Cannot make a virtual SMMU: EOPNOTSUPP. IDR3.FWB is 1, and the kernel's driver makes no",
    ],
    [
      examined("viommu", "ENOTTY"),
      {},
      "Cannot make a virtual SMMU: ENOTTY. This kernel, 7.3.4, does not have the call",
    ],
    [
      examined("vdevice"),
      {},
      "Cannot give the device a StreamID of the guest: EOPNOTSUPP. The device has more than one",
    ],
    [examined("veventq", "ENOTTY"), {}, "Cannot make a queue of events for the guest: ENOTTY. "],
    [examined("nested", "EIO"), {}, "Cannot make a nested translation: EIO. The kernel gives no"],
    [
      examined("attachNested", "EINVAL"),
      {},
      "Cannot attach the device to a nested translation: EINVAL. The kernel gives no more",
    ],
  ];
  for (const [examination, change, why, nested = "no"] of cases) {
    await t.step(why, () => {
      const [device] = judge(facts({ ...change, examinations: [examination] })).devices;
      const [said, ...others] = whys(device.reasons);
      assertEquals([said.slice(0, why.length), others, device.nested], [why, [], nested]);
    });
  }
});

Deno.test("a guest that wants more than the host has is refused, though the device does all steps", () => {
  const asked: Partial<Features> = { ssidSize: 10, oas: 48 };
  const verdict = judge(facts({ examinations: [examined()] }), asked);
  assertEquals([verdict.nested, verdict.devices[0].nested], ["no", "no"]);
  assertEquals(whys(verdict.devices[0].reasons), [
    "Feature ssidSize is 10, but the host's IDR1.SSIDSIZE is 0",
    "Feature oas is 48, but the host's stage 2 takes 44 bits",
  ]);
});

Deno.test("one device that works outweighs others, and one that is not known keeps a no back", async (t) => {
  const both = { functions: files.functions };
  const other = { ...examined("vdevice"), address: "0000:01:10.1" };
  const cases: { name: string; examinations: Examination[]; nested: Answer }[] = [
    { name: "yes and no", examinations: [examined(), other], nested: "yes" },
    { name: "no and not asked", examinations: [other], nested: "unknown" },
    { name: "no and no", examinations: [examined("viommu"), other], nested: "no" },
  ];
  for (const { name, examinations, nested } of cases) {
    await t.step(name, () => assertEquals(judge(facts({ ...both, examinations })).nested, nested));
  }
});
