/**
 * `vsmmu hostvm`: a task of this repository on an emulated Arm server with a real Linux, iommufd and nested SMMUv3.
 * @module
 */
import { runHostVm, type Sink } from "../hostvm/host_vm.ts";
import { iortOverride } from "../hostvm/iort_override.ts";
import { OurSmmu } from "../hostvm/our_smmu.ts";
import { type HostVmOptions, provisionHostVm } from "../hostvm/provision.ts";
import { isVariable, shellScript, type SmmuKind, taskScript } from "../hostvm/task_script.ts";
import { summaryLines } from "../report.ts";
import { type Command, EXIT, type Flag, type Io, UsageError, type Values } from "./command.ts";

const LONGEST_S = 86_400;
const KERNEL_VARIABLE = "VSMMU_HOST_KERNEL";

/** Where the Host VM's parts come from. */
export const HOST_FLAGS: Readonly<Record<string, Flag>> = {
  kernel: {
    value: "PATH",
    help: `A ready arm64 Image, also in xz; $${KERNEL_VARIABLE}, or one that is built, by default`,
  },
  qemu: { value: "PATH", help: "Your own qemu-system-aarch64 instead of Debian's" },
  console: { help: "Show the kernel's messages on standard error" },
  cache: { value: "DIR", help: "Where parts are kept; $XDG_CACHE_HOME/vsmmu by default" },
  mirror: { value: "URI", help: "A Debian mirror instead of the machine's own" },
  verify: { help: "Read every byte of the cached parts, not only sizes and times" },
  refresh: { help: "Make all parts anew, from the newest packages" },
};

/** What the flags say about the Host VM's parts. */
export function hostPartsOf(values: Values, io: Io): HostVmOptions {
  return {
    qemu: values.text("qemu"),
    kernel: values.text("kernel") ?? (Deno.env.get(KERNEL_VARIABLE) || undefined),
    cacheDir: values.text("cache"),
    archive: values.text("mirror"),
    verify: values.on("verify"),
    refresh: values.on("refresh"),
    progress: io.note,
    signal: io.signal,
  };
}

/** The folder of the repository that is taken along. */
export const REPOSITORY: string = decodeURIComponent(new URL("../..", import.meta.url).pathname);

/** The command. */
export const hostvm: Command = {
  name: "hostvm",
  summary:
    "runs a task (test: tests/hostvm/, or tests/hostvm_ours/ with --smmu ours) on an emulated Arm server with iommufd, VFIO devices and a nested SMMUv3",
  operand: "TASK …",
  flags: {
    smmu: {
      value: "KIND",
      help: "Whose SMMUv3 the server has: qemu (default), or ours, with DMA test devices behind it",
    },
    smp: { value: "N", help: "Processors, 1 to 8; 2 by default" },
    memory: { value: "MIB", help: "Memory, 1024 to 65536; 4096 by default" },
    append: { value: "WORDS", help: "Added to the kernel's command line" },
    env: { value: "NAME=VALUE,…", help: "Environment of the task" },
    trace: {
      value: "EVENTS",
      help: "Events of QEMU's trace, such as smmuv3_cmdq*; DIR/qemu-trace of --out has them",
    },
    out: { value: "DIR", help: "Where files go that the task leaves in $VSMMU_OUT" },
    guest: {
      help: "Take along what `task microvm` needs inside, its kernel as $VSMMU_GUEST_KERNEL",
    },
    sh: { help: "What follows is a command line for the shell inside, not a task of deno.json" },
    "stock-iort": { help: "Leave the firmware's IORT as it is: Linux then gives no vIOMMU away" },
    timeout: { value: "SECONDS", help: "Ends a task that takes longer; 1800 by default" },
    ...HOST_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const kind = values.choice("smmu", "qemu", ["qemu", "ours"]);
  const isOurs = kind === "ours";
  if (isOurs && values.on("stock-iort")) {
    throw new UsageError("Cannot use --stock-iort with --smmu ours: there is no IORT");
  }
  const run = {
    script: scriptOf(values, kind),
    cpuCount: values.integer("smp", 2, 1, 8),
    memoryMiB: values.integer("memory", 4096, 1024, 65536),
    append: values.text("append") ?? "",
    traced: (values.text("trace") ?? "").split(",").filter((event) => event !== ""),
    timeoutSeconds: values.integer("timeout", 1800, 1, LONGEST_S),
  };
  const options: HostVmOptions = { ...hostPartsOf(values, io), withGuest: values.on("guest") };
  const parts = await provisionHostVm(options);
  const initrd = isOurs || values.on("stock-iort")
    ? {}
    : { initrdPath: await iortOverride(parts, options) };
  await using smmu = isOurs
    ? await OurSmmu.start(parts, { ...run, log: io.note, signal: io.signal })
    : undefined;
  io.note(`Starting the Host VM: QEMU ${parts.qemu.version}, ${run.cpuCount} processors`);
  const unread = new AbortController();
  try {
    const code = await runHostVm(parts, {
      ...run,
      ...initrd,
      smmu,
      repository: REPOSITORY,
      outPath: values.text("out"),
      // Only what a person types: this command is used in loops over what comes through a pipe.
      hasInput: Deno.stdin.isTerminal(),
      output: sink(Deno.stdout, unread),
      errors: sink(Deno.stderr, unread),
      console: values.on("console") ? sink(Deno.stderr, unread) : undefined,
      signal: AbortSignal.any([io.signal, unread.signal]),
    });
    if (smmu !== undefined) {
      for (const line of ["", ...summaryLines(smmu.summary())]) io.note(line);
    }
    return code;
  } catch (error) {
    if (unread.signal.aborted) return EXIT.interrupted;
    throw error;
  }
}

/** Writes to one of our streams; a failure means that nobody is there to read. */
export function sink(
  stream: { writeSync(bytes: Uint8Array): number },
  unread: AbortController,
): Sink {
  return (bytes) => {
    try {
      for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
    } catch {
      unread.abort();
    }
  };
}

/** What the shell inside is to run. */
function scriptOf(values: Values, smmu: SmmuKind): string {
  const variables = (values.text("env") ?? "").split(",").filter((word) => word !== "");
  const wrong = variables.find((variable) => !isVariable(variable));
  if (wrong !== undefined) throw new UsageError(`Cannot use --env ${wrong}: it is NAME=VALUE`);
  return values.on("sh")
    ? shellScript(values.operands, variables)
    : taskScript(values.operands, variables, smmu);
}
