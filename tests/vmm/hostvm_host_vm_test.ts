/** Runs of the Host VM with a shell script in QEMU's place. */
import { assertEquals, assertRejects } from "@std/assert";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { rootHostTools } from "../../vmm/provision/qemu.ts";
import { type HostVmRun, runHostVm } from "../../vmm/hostvm/host_vm.ts";
import type { HostVmProvisions } from "../../vmm/hostvm/provision.ts";

/** Finds the files of QEMU's command line by the names of their character devices. */
const PRELUDE = `
for argument; do
  case "$argument" in
    file,id=*) argument=\${argument#file,id=}; eval "\${argument%%,*}=\${argument#*,path=}" ;;
    *filename=*/repository.tar) repository=\${argument#*filename=} ;;
  esac
done
`;

interface Outcome {
  readonly code: number | EnvironmentError;
  readonly output: string;
  readonly errors: string;
  readonly left: string[];
}

/** Runs `script` as QEMU, with `folder` for everything. */
async function runAs(
  script: string,
  folder: string,
  options: Partial<HostVmRun> = {},
): Promise<Outcome> {
  const parts: HostVmProvisions = {
    cacheDir: folder,
    tools: rootHostTools(folder, "amd64"),
    qemu: {
      tool: { name: "qemu", command: "sh", args: ["-c", PRELUDE + script, "qemu"], env: {} },
      version: "0",
    },
    features: { canExitWithParent: true, hasSandbox: false },
    firmwarePath: "",
    kernelPath: "",
    rootPath: "",
  };
  await Deno.mkdir(`${folder}/work tree`, { recursive: true });
  await Deno.writeTextFile(`${folder}/work tree/file`, "taken along\n");
  const decoder = { output: new TextDecoder(), errors: new TextDecoder() };
  let [output, errors] = ["", ""];
  const code = await runHostVm(parts, {
    script: "exec true\n",
    repository: `${folder}/work tree`,
    cpuCount: 1,
    memoryMiB: 1024,
    append: "",
    timeoutSeconds: 60,
    hasInput: false,
    output: (bytes) => output += decoder.output.decode(bytes),
    errors: (bytes) => errors += decoder.errors.decode(bytes),
    signal: new AbortController().signal,
    ...options,
  }).catch((error) => {
    if (error instanceof EnvironmentError) return error;
    throw error;
  });
  const left = [...Deno.readDirSync(`${folder}/hostvm-runs`)].map(({ name }) => name);
  return { code, output, errors, left };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a run passes on what the task wrote, its files and its exit code", async () => {
  await inFolder(async (folder) => {
    const script = `
      tar xOf "$repository" ./file .hostvm/task > "$output"
      echo oops > "$errors"
      mkdir "$files.d"; echo 1 > "$files.d/result"; tar cf "$files" -C "$files.d" .
      echo start > "$control"; echo "exit 7" >> "$control"
    `;
    const outcome = await runAs(script, folder, { outPath: `${folder}/new/out` });
    assertEquals(outcome, {
      code: 7,
      output: "taken along\nexec < /dev/null\nexec true\n",
      errors: "oops\n",
      left: [],
    });
    assertEquals(await Deno.readTextFile(`${folder}/new/out/result`), "1\n");
  });
});

Deno.test("a run that ends before its task is one sentence, and leaves nothing", async (t) => {
  const cases: { name: string; script: string; options?: Partial<HostVmRun>; message: string }[] = [
    {
      name: "QEMU refuses",
      script: 'echo "qemu: warning: old" >&2; echo "qemu: no such machine" >&2; exit 1',
      message: "QEMU ended with exit status 1; qemu: no such machine",
    },
    {
      name: "QEMU is killed",
      script: "kill -KILL $$",
      message: "QEMU ended with signal SIGKILL",
    },
    {
      name: "the kernel panics",
      script: 'echo "Kernel panic - not syncing: no root" > "$console"',
      message: "its kernel panicked: no root",
    },
    {
      name: "it takes too long",
      script: "exec sleep 50",
      options: { timeoutSeconds: 0.2 },
      message: "its 0.2 seconds were over (--timeout)",
    },
    {
      name: "it hangs before its task",
      script: "exec sleep 50",
      options: { bootSeconds: 0.2 },
      message: "it did not start its task within 0.2 seconds",
    },
    {
      name: "it dies in its task",
      script: 'echo start > "$control"; sleep 0.6',
      options: { bootSeconds: 0.2 },
      message: "QEMU ended with exit status 0",
    },
  ];
  for (const { name, script, options, message } of cases) {
    await t.step(name, () =>
      inFolder(async (folder) => {
        const { code, left } = await runAs(script, folder, options);
        assertEquals(
          [(code as EnvironmentError).message, left],
          [`The Host VM ended before its task did: ${message}`, []],
        );
      }));
  }
});

Deno.test("an interrupted run ends with the signal's reason, and leaves nothing", async () => {
  await inFolder(async (folder) => {
    const abort = new AbortController();
    const isStarted = (): void => abort.abort(new Error("stop"));
    await assertRejects(
      () =>
        runAs('echo > "$output"; exec sleep 50', folder, {
          output: isStarted,
          signal: abort.signal,
        }),
      Error,
      "stop",
    );
    assertEquals([...Deno.readDirSync(`${folder}/hostvm-runs`)], []);
  });
});
