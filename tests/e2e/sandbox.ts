/**
 * A place for one run: directories of its own, the command line in it, and a look at what is left afterwards.
 * @module
 */
import { assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { defaultCachePath } from "../../vmm/provision/cache.ts";
import { provisioned } from "../support/provisioned.ts";
import { Program } from "./program.ts";
import { shell } from "./shell.ts";

/** Whether tests must be ignored, because nothing is provisioned. */
export const ignore: boolean = provisioned() === undefined;
/** Part of the names of tests, for those that are ignored. */
export const NEEDS = "[needs a provisioned QEMU]";

/** How long programs may take to go after their parent was killed. */
const GOING_MS = 5000;
const POLL_MS = 20;
const ROOT = new URL("../..", import.meta.url);

/** What serve --json prints. */
interface Serving {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** Directories below a temporary one. Programs started here, and theirs, are known by their environment. */
export class Sandbox implements AsyncDisposable {
  /** All of it. */
  readonly path = Deno.makeTempDirSync({ prefix: "e2e-" });
  /** A cache whose artefacts are those of the machine, with runs and a lock of its own. */
  readonly cache = `${this.path}/cache`;
  /** Where runtime directories are made. */
  readonly runtime = `${this.path}/run`;
  readonly #programs: Program[] = [];

  /** An empty one. */
  constructor() {
    for (const folder of ["cache", "run", "tmp"]) {
      Deno.mkdirSync(`${this.path}/${folder}`, { mode: 0o700 });
    }
    const whole = defaultCachePath();
    for (const { name, isDirectory } of Deno.readDirSync(whole)) {
      if (!isDirectory || name === "runs" || /\.(unfinished|replaced)$/.test(name)) continue;
      Deno.symlinkSync(`${whole}/${name}`, `${this.cache}/${name}`);
    }
  }

  /** A command of ours, with the permissions of its task. */
  commandLine(name: string, ...args: readonly string[]): string[] {
    return [Deno.execPath(), ...taskArguments(), name, "--cache", this.cache, ...args];
  }

  /** Starts a command of ours. */
  vsmmu(name: string, ...args: readonly string[]): Program {
    const [command, ...more] = this.commandLine(name, ...args);
    return this.start(command, more);
  }

  /** Starts a program in this environment. */
  start(
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Program {
    const ours = { XDG_RUNTIME_DIR: this.runtime, TMPDIR: `${this.path}/tmp`, NO_COLOR: "1" };
    const program = new Program(command, args, { ...ours, ...env });
    this.#programs.push(program);
    return program;
  }

  /** Starts `serve`; the function that it comes with starts the QEMU that it asks for. */
  async serve(...args: readonly string[]): Promise<{ serve: Program; qemu: () => Program }> {
    const serve = this.vsmmu("serve", "--json", ...args);
    await serve.out.line(/^}$/);
    const { command, environment }: Serving = JSON.parse(serve.out.lines.join("\n"));
    return { serve, qemu: () => this.start(command[0], command.slice(1), environment) };
  }

  /** Paths below the runtime directories and the folders of runs. */
  leftovers(): string[] {
    return ["run", "tmp", "cache/runs"].flatMap((folder) => {
      const path = `${this.path}/${folder}`;
      return names(path).flatMap((name) => [
        `${folder}/${name}`,
        ...names(`${path}/${name}`).map((inner) => `${folder}/${name}/${inner}`),
      ]);
    });
  }

  /** The one file or socket called `name` below the runtime directories and runs. */
  find(name: string): string {
    const found = this.leftovers().filter((path) => path.endsWith(`/${name}`));
    assertEquals(found.length, 1, `${name} among ${this.leftovers().join(", ")}`);
    return `${this.path}/${found[0]}`;
  }

  /** The one QEMU that runs here. */
  qemu(): number {
    const pids = this.#processes().filter((line) => line.includes("-qtest-log")).map(parseInt);
    assertEquals(pids.length, 1, this.#processes().join("\n"));
    return pids[0];
  }

  /** Throws unless every process is gone, and with it every file but these; those that match `either` may stay or go. */
  async expectNothingLeft(files: readonly string[] = [], either: RegExp = /^$/): Promise<void> {
    const end = performance.now() + GOING_MS;
    while (this.#processes().length > 0 && performance.now() < end) await delay(POLL_MS);
    assertEquals(this.#processes(), []);
    const certain = (path: string): boolean => !either.test(path);
    assertEquals(this.leftovers().filter(certain), files.filter(certain));
  }

  /** Ends what still runs and removes the directories. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs) await program[Symbol.asyncDispose]();
    await Deno.remove(this.path, { recursive: true });
  }

  /** Process identifier and command line of each process that was started here and has not ended. */
  #processes(): string[] {
    return shell(
      `for file in $(grep -alsF -- "$0" /proc/[0-9]*/environ); do
         pid=\${file#/proc/}; pid=\${pid%/environ}
         line=$(tr '\\0' ' ' 2>/dev/null < /proc/$pid/cmdline) && [ "$line" ] && echo "$pid $line"
       done; true`,
      `XDG_RUNTIME_DIR=${this.runtime}`,
    );
  }
}

/** What the task of the command line has between `deno` and the name of a command. */
function taskArguments(): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
  return tasks.vsmmu.command.split(" ").slice(1);
}

function names(path: string): string[] {
  try {
    return Array.from(Deno.readDirSync(path), ({ name }) => name).sort();
  } catch {
    return [];
  }
}
