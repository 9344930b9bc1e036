/**
 * QEMU's command line for the Host VM: an Arm server with a nested SMMUv3, a network card with virtual functions and an
 * NVMe disk, each behind a root port of its own; or with our SMMUv3 and what we serve behind it.
 * @module
 */
import type { QemuFeatures } from "../qemu/qemu_features.ts";

/** What the machine is made of. */
export interface HostVmParts {
  /** UEFI firmware: Linux takes another IORT only with ACPI. */
  readonly firmwarePath: string;
  readonly kernelPath: string;
  /** With the IORT to use; absent for a machine that only tells its own. */
  readonly initrdPath?: string;
  /** Image of the root file system; it is not written to. */
  readonly rootPath: string;
  /** Tar archive of the repository. */
  readonly repositoryPath: string;
  /** Image of what a guest of this machine consists of; it is not written to. */
  readonly partsPath?: string;
  /** Image of the NVMe disk. */
  readonly nvmePath: string;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  /** Added to the kernel's command line. */
  readonly append: string;
  /** Trace events of QEMU, by name or pattern, that go to the trace. */
  readonly traced: readonly string[];
  /** The board with our own SMMU, instead of QEMU's with its functions. */
  readonly ourBoard?: readonly string[];
}

/** Where what comes out of the machine goes; all are files. */
export interface HostVmOutputs {
  /** The kernel's messages. */
  readonly consolePath: string;
  /** What the task wrote to standard output: a file never makes it wait, nor loses the rest when QEMU ends. */
  readonly outputPath: string;
  /** What the task wrote to standard error. */
  readonly errorsPath: string;
  /** How the task ended. */
  readonly controlPath: string;
  /** Tar archive of the task's files. */
  readonly filesPath: string;
  /** QEMU's trace, a line each. */
  readonly tracePath: string;
}

/**
 * Slots of the functions that the server has for itself. QEMU would give them those that are meant for what we serve;
 * and none shares the interrupt of our SMMU, which Linux would then take for a level.
 */
const SLOT = { root: 16, repository: 17, parts: 18, serial: 20 } as const;

/** The arguments after the program; the task has QEMU's standard input. */
export function hostVmArguments(
  parts: HostVmParts,
  outputs: HostVmOutputs,
  { canExitWithParent }: Pick<QemuFeatures, "canExitWithParent">,
): string[] {
  const drive = (id: string, path: string, access = "read-only=on,"): string =>
    `driver=raw,node-name=${id},${access}file.driver=file,file.filename=${escape(path)}`;
  const own = (slot: number, device: string): string =>
    `${device},bus=pcie.0,addr=${slot.toString(16)}`;
  const port = (id: string, name: string): string[] => [
    "-device",
    `virtserialport,chardev=${id},name=${name}`,
  ];
  const file = (id: string, path: string): string[] => [
    "-chardev",
    `file,id=${id},path=${escape(path)}`,
  ];
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...(canExitWithParent ? ["-run-with", "exit-with-parent=on"] : []),
    ...(parts.ourBoard ?? qemuBoard(parts)),
    ...["-kernel", parts.kernelPath],
    ...(parts.initrdPath === undefined ? [] : ["-initrd", parts.initrdPath]),
    ...["-append", kernelWords(parts.append)],
    ...(parts.traced.length === 0 ? [] : ["-D", outputs.tracePath]),
    ...parts.traced.flatMap((event) => ["-trace", event]),
    ...file("console", outputs.consolePath),
    ...["-serial", "chardev:console"],
    ...["-blockdev", drive("root", parts.rootPath)],
    ...["-device", own(SLOT.root, "virtio-blk-pci,drive=root")],
    ...["-blockdev", drive("repository", parts.repositoryPath)],
    ...["-device", own(SLOT.repository, "virtio-blk-pci,drive=repository")],
    ...(parts.partsPath === undefined ? [] : [
      ...["-blockdev", drive("parts", parts.partsPath)],
      ...["-device", own(SLOT.parts, "virtio-blk-pci,drive=parts")],
    ]),
    ...["-chardev", "stdio,id=input,signal=off"],
    ...file("output", outputs.outputPath),
    ...file("errors", outputs.errorsPath),
    ...file("control", outputs.controlPath),
    ...file("files", outputs.filesPath),
    ...["-device", own(SLOT.serial, "virtio-serial-pci")],
    ...port("input", "vsmmu.input"),
    ...port("output", "vsmmu.output"),
    ...port("errors", "vsmmu.errors"),
    ...port("control", "vsmmu.control"),
    ...port("files", "vsmmu.files"),
    ...(parts.ourBoard === undefined ? qemuFunctions(drive("nvme", parts.nvmePath, "")) : []),
  ];
}

function qemuBoard(parts: HostVmParts): string[] {
  return [
    ...["-M", "virt,gic-version=3,its=on,virtualization=on,iommu=smmuv3"],
    ...["-global", "arm-smmuv3.stage=nested"],
    ...["-cpu", "max", "-smp", String(parts.cpuCount), "-m", `${parts.memoryMiB}M`],
    ...["-accel", "tcg,thread=multi"],
    ...["-bios", parts.firmwarePath],
  ];
}

/** What can be given away behind QEMU's SMMU. */
function qemuFunctions(nvmeDrive: string): string[] {
  return [
    ...["-netdev", "user,id=network,restrict=on"],
    ...["-device", "pcie-root-port,id=rp1,chassis=1,slot=1"],
    ...["-device", "igb,bus=rp1,netdev=network"],
    ...["-blockdev", nvmeDrive],
    ...["-device", "pcie-root-port,id=rp2,chassis=2,slot=2"],
    ...["-device", "nvme,bus=rp2,drive=nvme,serial=vsmmu"],
  ];
}

function kernelWords(append: string): string {
  const words = [
    "console=ttyAMA0",
    "root=/dev/vda",
    "ro",
    "rootfstype=ext4",
    "init=/init",
    "panic=-1",
  ];
  return [...words, ...(append === "" ? [] : [append])].join(" ");
}

/** QEMU's option lists double the commas of values. */
function escape(value: string): string {
  return value.replaceAll(",", ",,");
}
