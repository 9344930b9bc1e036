/** `vsmmu probe` as people and programs see it. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { main } from "../../vmm/cli.ts";
import { judge } from "../../vmm/probe/verdict.ts";
import { type Facts, fileFacts } from "../../vmm/probe/facts.ts";
import { STEPS } from "../../vmm/probe/examination.ts";
import { probeLines } from "../../vmm/probe/text.ts";
import { Tree } from "../../vmm/probe/tree.ts";
import { ARM_HOST, type Content, HostTree } from "../support/host_tree.ts";

async function probe(...args: string[]): Promise<{ code: number; out: string[]; notes: string[] }> {
  const out: string[] = [];
  const notes: string[] = [];
  const code = await main(["probe", ...args], {
    out: (line) => out.push(line),
    note: (line) => notes.push(line),
    signal: new AbortController().signal,
  });
  return { code, out, notes };
}

Deno.test("an arm64 host by its files alone: nothing is opened, and the answer is not known", async () => {
  using host = new HostTree(ARM_HOST);
  const { code, out, notes } = await probe("--sysroot", host.root);
  assertEquals([code, notes], [0, []]);
  const text = out.join("\n");
  for (
    const line of [
      "Kernel        7.3.4 on aarch64, by ACPI",
      "/dev/iommu    usable",
      "IOMMUs        1 Arm SMMUv3",
      "Groups        3: 3 DMA",
      "PCI           3 functions, 2 of them virtual, 2 with VFIO",
      "IORT          segment 0: memory flags 0x7, ATS yes",
      "0000:01:00.0  8086:10c9, igb, group 0, 2 of 8 VFs, ATS on, PASID 20 bits on",
      "0000:01:10.0  8086:10ca, vfio-pci, group 1, VF of 0000:01:00.0, ATS off",
      "  Reserved  0x0000000008000000 to 0x00000000080fffff, msi",
      "No device was opened: --sysroot is a copy",
      "Nested translation on this host: not known",
      "  deno task microvm  a Linux guest behind our SMMUv3, on the model of iommufd in this process",
    ]
  ) assertStringIncludes(`\n${text}\n`, `\n${line}\n`);
});

Deno.test("a machine with nothing says so, and what works all the same", async () => {
  using host = new HostTree({
    "/proc/sys/kernel/osrelease": "6.1.0\n",
    "/proc/sys/kernel/arch": "x86_64\n",
  });
  const { code, out } = await probe("--sysroot", host.root);
  assertEquals(code, 0);
  assertEquals(out, [
    "Kernel      6.1.0 on x86_64, described by neither ACPI nor device tree",
    "/dev/kvm    absent",
    "/dev/iommu  absent",
    "IOMMUs      none",
    "Groups      none",
    "PCI         0 functions, 0 of them virtual, 0 with VFIO",
    "",
    "No device was opened: --sysroot is a copy",
    "",
    "Nested translation on this host: no",
    "  The CPU is x86_64, and an Arm SMMUv3 is in arm64 machines only",
    "    -> Use an arm64 machine with an SMMUv3; deno task hostvm emulates one",
    "  /dev/iommu is not there",
    "    -> modprobe iommufd; without such a module, use a kernel of 6.15 or newer with CONFIG_IOMMUFD",
    "",
    "What works here all the same:",
    "  deno task microvm  a Linux guest behind our SMMUv3, on the model of iommufd in this process",
    "  deno task replay   recorded guests, against the device and the model",
    "  deno task hostvm   an emulated arm64 host with a nested SMMUv3 and the real iommufd",
  ]);
});

Deno.test("a device that was asked is told with its registers and the guest's", async () => {
  using host = new HostTree(ARM_HOST);
  const files = await fileFacts(new Tree(host.root));
  const identity = {
    flags: 1,
    idr: [0x0d44_101b, 0x0273_0010, 0, 0x1414, 0, 0x74],
    iidr: 0,
    aidr: 2,
  };
  const facts: Facts = {
    ...files,
    missingCalls: [],
    unseen: [],
    examinations: [{
      address: "0000:01:10.0",
      steps: {
        ...Object.fromEntries(STEPS.map((step) => [step, "ok"])),
        dirtyTracking: "EOPNOTSUPP",
      },
      hwInfoType: 2,
      identity,
      maxPasidLog2: 0,
      capabilities: 8,
      ranges: [
        { start: 0n, last: 0x7ff_ffffn },
        { start: 0x810_0000n, last: 0xfff_ffff_ffffn },
      ],
      alignment: 4096,
      leftOver: [],
    }],
  };
  const text = probeLines(facts, judge(facts)).join("\n");
  for (
    const line of [
      "/dev/iommu    usable, all calls of 7.3",
      "  Steps      open ok, bind ok, hwInfo ok, ioas ok, dirtyTracking EOPNOTSUPP, nestParent ok, " +
      "attach ok, iovaRanges ok, viommu ok, vdevice ok, veventq ok, nested ok, attachNested ok",
      "  IDR0       0x0d44101b  S2P=1 S1P=1 TTF=2 COHACC=1 ASID16=1 VMID16=1 TTENDIAN=2 " +
      "STALL_MODEL=1 TERM_MODEL=1 ST_LEVEL=1",
      "  IDR1       0x02730010  SIDSIZE=16 EVENTQS=19 CMDQS=19",
      "  IDR3       0x00001414  HAD=1 XNX=1 RIL=1 BBML=2",
      "  IDR5       0x00000074  OAS=4 GRAN4K=1 GRAN16K=1 GRAN64K=1",
      "  IIDR       0x00000000, AIDR 0x00000002; TLBI and CFGI must be sent twice",
      "  Pages      4 KiB 2 MiB 1 GiB, 16 KiB 32 MiB, 64 KiB 512 MiB",
      "  PASIDs     none",
      "  ATS        cannot be used",
      "  Dirty      no",
      "  Stage 2    0x0 to 0x7ffffff",
      "  Stage 2    0x8100000 to 0xfffffffffff",
      "  Alignment  4096 bytes",
      "  Guest      IDR0 0x0940301a, IDR1 0x014a0010, IDR3 0x00001704, IDR5 0x00000014; 44 bits of " +
      "address, 0 of SubstreamID",
      "  Note       A guest's IDR0.TERM_MODEL is 0, but the host's is 1",
      "  Note       A guest's IDR3.STT is 1, but the host's is 0",
      "  Nested  yes",
      "Nested translation on this host: yes",
    ]
  ) assertStringIncludes(`\n${text}\n`, `\n${line}\n`);
});

Deno.test("--json is one object with the verdict, the facts, and no 64-bit numbers", async () => {
  using host = new HostTree(ARM_HOST);
  const { code, out } = await probe("--sysroot", host.root, "--json");
  assertEquals(code, 0);
  const { nested, reasons, devices, works, facts } = JSON.parse(out.join("\n"));
  assertEquals([nested, reasons], ["unknown", []]);
  assertEquals(devices[1], { address: "0000:01:10.1", nested: "unknown", reasons: [] });
  assertEquals(Object.keys(works), ["deno task microvm", "deno task replay", "deno task hostvm"]);
  assertEquals([facts.kernel.release, facts.functions.length], ["7.3.4", 3]);
});

Deno.test("this machine can be looked at without opening anything", async () => {
  const { code, out } = await probe("--files-only");
  assertEquals(code, 0);
  assertStringIncludes(out.join("\n"), "No device was opened: --files-only");
});

Deno.test("what cannot be read is told, and counts as absent", async () => {
  const files: Record<string, Content> = { ...ARM_HOST };
  using host = new HostTree(files);
  const address = "/sys/bus/pci/devices/0000:01:00.0";
  host.set(`${address}/config`, new Uint8Array(64));
  host.remove("/proc/sys/kernel/arch");
  host.set("/proc/sys/kernel/arch/x", "");
  const { out } = await probe("--sysroot", host.root);
  const text = out.join("\n");
  assertStringIncludes(text, "Cannot read configuration space beyond 64 bytes: root can");
  assertStringIncludes(text, "/proc/sys/kernel/arch: EISDIR");
});
