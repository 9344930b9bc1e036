/**
 * One run of the Host VM: a task of the repository inside, its output, its files, its exit code.
 * @module
 */
import { delay } from "@std/async/delay";
import { EnvironmentError } from "../environment_error.ts";
import { OwnFolder } from "../own_folder.ts";
import { endOf, lastLines, machineTool, run } from "../tool.ts";
import { hostVmArguments, type HostVmParts } from "./arguments.ts";
import type { OurSmmu } from "./our_smmu.ts";
import type { HostVmProvisions } from "./provision.ts";
import { Tail } from "./tail.ts";
import { exitCodeOf, hasStarted, lastMessages, reasonOf } from "./task_end.ts";

/** Takes what comes, piece by piece. */
export type Sink = (bytes: Uint8Array<ArrayBuffer>) => void;

/** What to run, and how. */
export interface HostVmRun {
  /** A script for the shell inside, in the folder of the repository. */
  readonly script: string;
  /** The folder that is taken along, without what version control ignores. */
  readonly repository: string;
  /** An initramfs with the IORT. */
  readonly initrdPath?: string;
  /** Where files go that the task left in `$VSMMU_OUT`. */
  readonly outPath?: string | undefined;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  readonly append: string;
  /** Our device as the server's SMMU; QEMU's own when absent. */
  readonly smmu?: OurSmmu | undefined;
  /** Trace events of QEMU, by name or pattern, that go to `qemu-trace` among the task's files. */
  readonly traced?: readonly string[];
  readonly timeoutSeconds: number;
  /** Ends a machine whose task has not begun by then. */
  readonly bootSeconds?: number;
  /** Size of an ext4 file system on the NVMe disk, in MiB; the disk is empty when absent. */
  readonly nvmeMiB?: number | undefined;
  /** Whether the task reads our standard input; it finds nothing to read otherwise. */
  readonly hasInput: boolean;
  /** Takes what the task writes to standard output; absent when nobody wants it. */
  readonly output?: Sink | undefined;
  /** Takes what the task writes to standard error. */
  readonly errors: Sink;
  /** Takes the kernel's messages; absent when nobody wants them. */
  readonly console?: Sink | undefined;
  readonly signal: AbortSignal;
}

const NVME_MIB = 64;
const KILL_MS = 5000;
const LAST_WORDS_MS = 1000;
/** Some ten seconds on an idle machine, all of them under emulation. */
const BOOT_S = 240;

/** Runs it; returns the task's exit code. Throws an `EnvironmentError` when the machine ends before the task does. */
export async function runHostVm(parts: HostVmProvisions, options: HostVmRun): Promise<number> {
  const { signal } = options;
  signal.throwIfAborted();
  using folder = await runFolder(parts.cacheDir);
  const file = (name: string): string => `${folder.path}/${name}`;
  await Deno.mkdir(file(".hostvm"));
  const input = options.hasInput ? "" : "exec < /dev/null\n";
  await Deno.writeTextFile(file(".hostvm/task"), `${input}${options.script}`);
  await pack(options.repository, folder.path, file("repository.tar"), signal);
  await makeNvme(parts, file("nvme.img"), options);
  const outputs = {
    consolePath: file("console"),
    outputPath: file("output"),
    errorsPath: file("errors"),
    controlPath: file("control"),
    filesPath: file("files.tar"),
    tracePath: file("qemu-trace"),
  };
  const machine: HostVmParts = {
    firmwarePath: parts.firmwarePath,
    kernelPath: parts.kernelPath,
    ...(options.initrdPath === undefined ? {} : { initrdPath: options.initrdPath }),
    rootPath: parts.rootPath,
    repositoryPath: file("repository.tar"),
    ...(parts.partsPath === undefined ? {} : { partsPath: parts.partsPath }),
    nvmePath: file("nvme.img"),
    cpuCount: options.cpuCount,
    memoryMiB: options.memoryMiB,
    append: [options.smmu?.words ?? "", options.append].filter((word) => word !== "").join(" "),
    traced: options.traced ?? [],
    ...(options.smmu === undefined ? {} : { ourBoard: options.smmu.boardArguments }),
  };
  const args = hostVmArguments(machine, outputs, parts.features);
  const end = await (async (): Promise<string> => {
    // All of them have delivered everything when this ends, however it ends.
    await using _output = options.output && Tail.follow(outputs.outputPath, options.output);
    await using _errors = Tail.follow(outputs.errorsPath, options.errors);
    await using _console = options.console && Tail.follow(outputs.consolePath, options.console);
    return await runQemu(parts, args, options, outputs.controlPath);
  })();
  const code = exitCodeOf(await textOf(outputs.controlPath));
  if (code === undefined) {
    const messages = await textOf(outputs.consolePath);
    throw new EnvironmentError(
      `The Host VM ended before its task did: ${reasonOf(messages, end)}`,
      options.console === undefined ? lastMessages(messages) : [],
    );
  }
  if (options.outPath !== undefined) {
    await unpack(outputs.filesPath, options.outPath, signal);
    if (machine.traced.length > 0) {
      await Deno.rename(outputs.tracePath, `${options.outPath}/qemu-trace`);
    }
  }
  return code;
}

/** Runs QEMU to its end, and tells it. */
async function runQemu(
  { qemu }: HostVmProvisions,
  args: readonly string[],
  { signal, hasInput, timeoutSeconds, bootSeconds = BOOT_S, smmu }: HostVmRun,
  controlPath: string,
): Promise<string> {
  const child = new Deno.Command(qemu.tool.command, {
    args: [...qemu.tool.args, ...args],
    env: { ...qemu.tool.env },
    stdin: hasInput ? "piped" : "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const input = hasInput ? feed(child) : undefined;
  let reason = "";
  let killTimer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => {
    kill(child, "SIGTERM");
    killTimer ??= setTimeout(() => kill(child, "SIGKILL"), KILL_MS);
  };
  const giveUp = (why: string): void => {
    reason ||= why;
    stop();
  };
  const timeout = setTimeout(
    () => giveUp(`its ${timeoutSeconds} seconds were over (--timeout)`),
    timeoutSeconds * 1000,
  );
  const bootTimeout = setTimeout(async () => {
    if (hasStarted(await textOf(controlPath))) return;
    giveUp(`it did not start its task within ${bootSeconds} seconds`);
  }, bootSeconds * 1000);
  const gone = new AbortController();
  smmu?.release(gone.signal).catch(async ({ message }: Error) => {
    // A QEMU that refuses its arguments closes its sockets first and says why a moment later.
    await delay(LAST_WORDS_MS, { signal: gone.signal }).catch(() => {});
    if (!gone.signal.aborted) giveUp(message);
  });
  smmu?.ended.then((failure) => failure !== undefined && giveUp(failure));
  signal.addEventListener("abort", stop);
  try {
    const [status, words] = await Promise.all([child.status, new Response(child.stderr).text()]);
    signal.throwIfAborted();
    const said = lastLines(words, 4).filter((line) => !line.includes(" warning: "));
    return reason || [`QEMU ended with ${endOf(status)}`, ...said].join("; ");
  } finally {
    gone.abort();
    clearTimeout(timeout);
    clearTimeout(bootTimeout);
    clearTimeout(killTimer);
    input?.abort();
    signal.removeEventListener("abort", stop);
  }
}

/** Passes on what a person types. */
function feed(child: Deno.ChildProcess): AbortController {
  const end = new AbortController();
  Deno.stdin.readable
    .pipeTo(child.stdin, { signal: end.signal, preventClose: true, preventAbort: true })
    .catch(() => {});
  return end;
}

function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It ended by itself.
  }
}

async function runFolder(cacheDir: string): Promise<Disposable & { readonly path: string }> {
  const runs = `${cacheDir}/hostvm-runs`;
  await Deno.mkdir(runs, { recursive: true, mode: 0o700 });
  const path = `${runs}/${Deno.pid}-${crypto.randomUUID()}`;
  await Deno.mkdir(path, { mode: 0o700 });
  const folder = OwnFolder.take(path);
  folder.removeAbandoned("");
  return { path, [Symbol.dispose]: () => folder.remove() };
}

async function pack(
  repository: string,
  folder: string,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const tree = ["--exclude-vcs", "--exclude-vcs-ignores", "-C", repository, "."];
  await run(machineTool("tar"), ["-cf", path, ...tree, "-C", folder, ".hostvm"], {
    doing: `pack ${repository}`,
    signal,
  });
}

async function makeNvme(
  { tools }: HostVmProvisions,
  path: string,
  { nvmeMiB, signal }: HostVmRun,
): Promise<void> {
  await Deno.writeFile(path, new Uint8Array());
  await Deno.truncate(path, (nvmeMiB ?? NVME_MIB) << 20);
  if (nvmeMiB === undefined) return;
  const doing = "make a file system on the NVMe disk";
  await run(tools.mke2fs, ["-q", "-t", "ext4", path], { doing, signal });
}

async function unpack(archive: string, path: string, signal: AbortSignal): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await run(machineTool("tar"), ["-xf", archive, "--no-same-owner", "-C", path], {
    doing: `unpack what the task left into ${path}`,
    signal,
  });
}

async function textOf(path: string): Promise<string> {
  try {
    return new TextDecoder().decode(await Deno.readFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
