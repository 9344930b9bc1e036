import { assertEquals } from "@std/assert";
import { hostVmArguments } from "../../vmm/hostvm/arguments.ts";

const PARTS = {
  firmwarePath: "/f",
  kernelPath: "/k",
  rootPath: "/r,1",
  repositoryPath: "/t",
  nvmePath: "/n",
  cpuCount: 3,
  memoryMiB: 2048,
  append: "",
  traced: [],
};
const OUTPUTS = {
  consolePath: "/o/console",
  outputPath: "/o/output",
  errorsPath: "/o/errors",
  controlPath: "/o/control",
  filesPath: "/o/files",
  tracePath: "/run/trace",
};
const NEW = { canExitWithParent: true };

/** The values of an option, in order. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.filter((_, index) => args[index - 1] === option);
}

Deno.test("the Host VM has a nested SMMUv3, ITS, UEFI and what was asked for", () => {
  const args = hostVmArguments({ ...PARTS, initrdPath: "/i", append: "quiet" }, OUTPUTS, NEW);
  const cases: Record<string, string[]> = {
    "-M": ["virt,gic-version=3,its=on,virtualization=on,iommu=smmuv3"],
    "-global": ["arm-smmuv3.stage=nested"],
    "-smp": ["3"],
    "-m": ["2048M"],
    "-bios": ["/f"],
    "-kernel": ["/k"],
    "-initrd": ["/i"],
    "-append": ["console=ttyAMA0 root=/dev/vda ro rootfstype=ext4 init=/init panic=-1 quiet"],
    "-serial": ["chardev:console"],
    "-run-with": ["exit-with-parent=on"],
  };
  for (const [option, values] of Object.entries(cases)) {
    assertEquals(valuesOf(args, option), values, option);
  }
});

Deno.test("the network card and the NVMe disk are each behind a root port of their own", () => {
  const devices = valuesOf(hostVmArguments(PARTS, OUTPUTS, NEW), "-device");
  assertEquals(devices.filter((device) => /rp\d|^igb|^nvme/.test(device)), [
    "pcie-root-port,id=rp1,chassis=1,slot=1",
    "igb,bus=rp1,netdev=network",
    "pcie-root-port,id=rp2,chassis=2,slot=2",
    "nvme,bus=rp2,drive=nvme,serial=vsmmu",
  ]);
});

Deno.test("our SMMU takes the place of QEMU's board, and of what is behind QEMU's", () => {
  const ourBoard = ["-machine", "virt", "-dtb", "/d"];
  const args = hostVmArguments({ ...PARTS, ourBoard }, OUTPUTS, NEW);
  assertEquals([valuesOf(args, "-machine"), valuesOf(args, "-dtb")], [["virt"], ["/d"]]);
  for (const option of ["-M", "-global", "-bios", "-netdev"]) {
    assertEquals(valuesOf(args, option), [], option);
  }
  assertEquals(valuesOf(args, "-kernel"), ["/k"]);
});

Deno.test("the server's own functions have slots that leave our SMMU its interrupt", () => {
  const devices = valuesOf(hostVmArguments({ ...PARTS, partsPath: "/p" }, OUTPUTS, NEW), "-device");
  const slots = devices.flatMap((device) => /addr=(\w+)/.exec(device)?.[1] ?? []);
  assertEquals(slots, ["10", "11", "12", "14"], "not 13, whose INTA is that of slot 3");
});

Deno.test("images that runs share stay as they are, and a comma in a path is doubled", () => {
  const drives = valuesOf(hostVmArguments(PARTS, OUTPUTS, NEW), "-blockdev");
  assertEquals(drives, [
    "driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=/r,,1",
    "driver=raw,node-name=repository,read-only=on,file.driver=file,file.filename=/t",
    "driver=raw,node-name=nvme,file.driver=file,file.filename=/n",
  ]);
});

Deno.test("each output of the task is a file, behind a port with a name", () => {
  const args = hostVmArguments(PARTS, OUTPUTS, NEW);
  assertEquals(valuesOf(args, "-chardev").sort(), [
    "file,id=console,path=/o/console",
    "file,id=control,path=/o/control",
    "file,id=errors,path=/o/errors",
    "file,id=files,path=/o/files",
    "file,id=output,path=/o/output",
    "stdio,id=input,signal=off",
  ]);
  const ports = valuesOf(args, "-device").filter((device) => device.startsWith("virtserialport"));
  assertEquals(ports.map((port) => /chardev=(\w+),name=vsmmu\.\1$/.exec(port)?.[1]), [
    "input",
    "output",
    "errors",
    "control",
    "files",
  ]);
});

Deno.test("a QEMU that cannot end with its parent is not asked to, and no IORT is no initrd", () => {
  const args = hostVmArguments(PARTS, OUTPUTS, { canExitWithParent: false });
  assertEquals([valuesOf(args, "-run-with"), valuesOf(args, "-initrd")], [[], []]);
});
