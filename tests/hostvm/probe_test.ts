/**
 * `vsmmu probe` on a real kernel with a nested SMMUv3. With the firmware's own IORT (`hostvm --stock-iort`) the same
 * tests expect the refusal that follows from it.
 */
import { assert, assertEquals } from "@std/assert";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { ask } from "../../vmm/probe/ask.ts";
import { STEPS } from "../../vmm/probe/examination.ts";
import { examine } from "../../vmm/probe/examine.ts";
import { type Facts, fileFacts } from "../../vmm/probe/facts.ts";
import { kernelDoors } from "../../vmm/probe/kernel_doors.ts";
import { Tree } from "../../vmm/probe/tree.ts";
import { judge, type Verdict } from "../../vmm/probe/verdict.ts";
import { openDescriptors } from "../support/own_process.ts";

const VF = "0000:01:10.0";
const LIBC = "/lib/aarch64-linux-gnu/libc.so.6";
const COMMANDS = new URL("../../vmm/commands", import.meta.url).href;

/** All steps; dirty tracking is of no use to a nested guest, and QEMU's SMMUv3 has no HTTU. */
const ALL_STEPS = {
  ...Object.fromEntries(STEPS.map((step) => [step, "ok"])),
  dirtyTracking: "EOPNOTSUPP",
};
/** Up to the vIOMMU, which Linux refuses when nothing keeps the guest coherent. */
const STEPS_WITHOUT_CANWBS = {
  ...Object.fromEntries(STEPS.slice(0, STEPS.indexOf("viommu")).map((step) => [step, "ok"])),
  dirtyTracking: "EOPNOTSUPP",
  viommu: "EOPNOTSUPP",
};

async function probed(): Promise<{ facts: Facts; verdict: Verdict }> {
  const facts = ask(await fileFacts(new Tree()), kernelDoors());
  return { facts, verdict: judge(facts) };
}

/** Writes to a file of sysfs. */
function write(path: string, text: string): void {
  Deno.writeTextFileSync(path, text);
}

const first = await probed();
const isCanwbs = first.facts.rootComplexes!.every(({ memoryFlags }) => memoryFlags === 7);

Deno.test("the host is seen as it is", async (t) => {
  const { facts } = first;
  await t.step("kernel", () => {
    const { release, architecture, options, kvm, iommufd, firmware, allowUnsafeInterrupts } =
      facts.kernel;
    assert(/^7\.3\./.test(release), release);
    assertEquals([architecture, firmware], ["aarch64", "ACPI"]);
    assertEquals([kvm, iommufd, allowUnsafeInterrupts], ["usable", "usable", false]);
    const { IOMMUFD, ARM_SMMU_V3_IOMMUFD, VFIO_DEVICE_CDEV } = options!;
    assertEquals([IOMMUFD, ARM_SMMU_V3_IOMMUFD, VFIO_DEVICE_CDEV], ["y", "y", "y"]);
    assertEquals(facts.missingCalls, []);
  });
  await t.step("one SMMUv3, and groups with its window for messages", () => {
    assertEquals(facts.iommus.filter(({ kind }) => kind === "Arm SMMUv3").length, 1);
    const { group } = facts.functions.find(({ address }) => address === VF)!;
    assertEquals(facts.groups.find(({ id }) => id === group), {
      id: group!,
      type: "DMA",
      members: [VF],
      reserved: [{ start: "0x0000000008000000", last: "0x00000000080fffff", type: "msi" }],
    });
  });
  await t.step("two VFs and a disk, with VFIO", () => {
    const given = facts.functions.filter(({ isVfio }) => isVfio);
    assertEquals(given.map(({ id, driver, cdev }) => [id, driver, cdev?.path, cdev?.state]), [
      ["8086:10ca", "vfio-pci", "/dev/vfio/devices/vfio0", "usable"],
      ["8086:10ca", "vfio-pci", "/dev/vfio/devices/vfio1", "usable"],
      ["1b36:0010", "vfio-pci", "/dev/vfio/devices/vfio2", "usable"],
    ]);
    assertEquals(given[0].physicalFunction, "0000:01:00.0");
  });
});

Deno.test("each device is asked, answers with QEMU's registers, and everything is given back", () => {
  const { facts } = first;
  assertEquals(facts.examinations.length, 3);
  for (const examination of facts.examinations) {
    const { steps, hwInfoType, identity, maxPasidLog2, capabilities, ranges, alignment, leftOver } =
      examination;
    assertEquals(steps, isCanwbs ? ALL_STEPS : STEPS_WITHOUT_CANWBS);
    assertEquals([hwInfoType, maxPasidLog2, capabilities], [2, 0, 8]);
    assertEquals(identity?.idr, [0x0d44_101b, 0x0273_0010, 0, 0x1414, 0, 0x74]);
    assertEquals(ranges, [
      { start: 0n, last: 0x7ff_ffffn },
      { start: 0x810_0000n, last: 0xfff_ffff_ffffn },
    ]);
    assertEquals([alignment, leftOver], [4096, []]);
  }
});

Deno.test("the verdict follows from the IORT", () => {
  const { verdict } = first;
  assertEquals([verdict.nested, verdict.reasons], [isCanwbs ? "yes" : "no", []]);
  for (const { nested, reasons, guest } of verdict.devices) {
    assertEquals(nested, isCanwbs ? "yes" : "no");
    assertEquals(
      reasons.map(({ why }) => why),
      isCanwbs ? [] : [
        "Cannot make a virtual SMMU: EOPNOTSUPP. A guest could make the device's accesses " +
        "incoherent: IDR3.FWB is 0, and the memory flags of the root complex in the IORT are " +
        "0x3, without CANWBS (bit 2)",
      ],
    );
    const { ssidSize, oas, asid16, rangeInvalidation } = guest!.features;
    assertEquals([ssidSize, oas, asid16, rangeInvalidation], [0, 44, true, true]);
  }
});

Deno.test("asking leaves no descriptor, and can be done again", async () => {
  const before = openDescriptors();
  const { facts } = await probed();
  assertEquals(facts.examinations, first.facts.examinations);
  assertEquals(openDescriptors(), before);
});

Deno.test("a device in use is left alone, and its user named; opened all the same it is EINVAL", async () => {
  using iommufd = KernelIommufd.open();
  using device = iommufd.bindVfio("/dev/vfio/devices/vfio0");
  assert(device.devId > 0);
  const { facts, verdict } = await probed();
  const [mine, ...others] = verdict.devices;
  assertEquals(mine.nested, "unknown");
  assertEquals(mine.reasons.map(({ why }) => why), [
    `It is in use by deno (${Deno.pid}), and was left alone`,
  ]);
  assertEquals(
    others.map(({ nested }) => nested),
    first.verdict.devices.slice(1).map((each) => each.nested),
  );
  assertEquals(facts.examinations.map(({ address }) => address).includes(VF), false);
  const { steps } = examine(kernelDoors(), VF, "/dev/vfio/devices/vfio0");
  assertEquals(steps, { open: "ok", bind: "EINVAL" });
});

Deno.test("a device that vfio-pci does not have is not asked", async () => {
  write(`/sys/bus/pci/devices/${VF}/driver/unbind`, VF);
  try {
    const { facts, verdict } = await probed();
    const device = facts.functions.find(({ address }) => address === VF)!;
    assertEquals([device.isVfio, device.driver, device.cdev], [false, undefined, undefined]);
    assertEquals(verdict.devices.map(({ address }) => address).includes(VF), false);
    assertEquals(facts.examinations.length, 2);
  } finally {
    write("/sys/bus/pci/drivers_probe", VF);
  }
  assertEquals((await probed()).facts.examinations.length, 3);
});

Deno.test("a host without a device for VFIO is not known, and told how to bind one", async () => {
  const { facts } = first;
  const given = facts.functions.filter(({ isVfio }) => isVfio).map(({ address }) => address);
  for (const address of given) write(`/sys/bus/pci/devices/${address}/driver/unbind`, address);
  try {
    const { verdict } = await probed();
    assertEquals(verdict.nested, "unknown");
    const [{ why, cure }] = verdict.reasons;
    assertEquals(why, "No PCI function is bound to vfio-pci, so none can be asked");
    assert(cure.startsWith("echo vfio-pci > /sys/bus/pci/devices/ADDRESS/driver_override"));
  } finally {
    for (const address of given) write("/sys/bus/pci/drivers_probe", address);
  }
});

Deno.test("the command needs the C library and nothing else", async () => {
  // Not all of the command line: it takes long to load on an emulated processor.
  const program = Deno.makeTempFileSync({ suffix: ".ts" });
  Deno.writeTextFileSync(
    program,
    `import { Values } from "${COMMANDS}/command.ts";
     import { probe } from "${COMMANDS}/probe.ts";
     const io = { out: console.log, note: console.error, signal: new AbortController().signal };
     Deno.exit(await probe.run(new Values(new Map([["json", ""]])), io));`,
  );
  const args = ["run", "--no-prompt", `--allow-ffi=${LIBC}`, program];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  Deno.removeSync(program);
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  const { nested, devices, works, facts } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(nested, isCanwbs ? "yes" : "no");
  assertEquals([devices.length, Object.keys(works).length], [3, 3]);
  assertEquals(facts.examinations[0].ranges[1], { start: "0x8100000", last: "0xfffffffffff" });
});
