/**
 * An apt of our own, beside the machine's: any architecture, dependencies resolved, signatures checked, nothing installed
 * and no root needed (apt.conf(5), sources.list(5)).
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { type Progress, removeTree } from "./cache.ts";
import { sha256File } from "./manifest.ts";
import { EnvironmentError } from "../environment_error.ts";
import { machineTool, run } from "../tool.ts";
import type { HostArchitecture } from "./root_tool.ts";

/** What a private apt is made from. */
export interface PrivateAptOptions {
  /** Its folder; made when missing. */
  readonly path: string;
  /** The architecture whose packages it takes. */
  readonly architecture: HostArchitecture;
  /** URIs of Debian mirrors, the one to try first at the front. */
  readonly archives: readonly string[];
  /** File with the archive's public keys. */
  readonly keyring: string;
  /** Fetch the lists anew even when they are young. */
  readonly refresh?: boolean | undefined;
  /** Told what is going on. */
  readonly progress: Progress;
  /** Ends the work. */
  readonly signal?: AbortSignal | undefined;
}

/** A package file to fetch, as `--print-uris` tells it. */
export interface PackageFile {
  /** Name of the file among apt's archives. */
  readonly name: string;
  /** Size in bytes. */
  readonly sizeBytes: number;
  /** SHA-256 in lower-case hexadecimal, from the signed lists. */
  readonly sha256: string;
}

/** Suites from which packages come; the last one is preferred. */
export const SUITES = ["trixie", "trixie-backports"] as const;

const KEYRINGS = [
  "/usr/share/keyrings/debian-archive-keyring.pgp",
  "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/**
 * Packages that only the scripts of an installation would use. apt is told that it has them, so that neither they nor what
 * they need is fetched for a root in which nothing is ever installed. One that is asked for by name is fetched all the same.
 */
const PRETENDED = [
  "adduser",
  "base-passwd",
  "debconf",
  "initramfs-tools",
  "init-system-helpers",
  "linux-base",
  "openssl-provider-legacy",
  "passwd",
  "perl-base",
  "seabios",
];

const LISTS_LIFE_MS = 7 * 24 * 3600 * 1000;
const PROGRESS_INTERVAL_MS = 1000;
const LOCK_ATTEMPTS = 120;
const LOCK_INTERVAL_MS = 500;

/** The machine's file of Debian archive keys; throws an {@link EnvironmentError} that says how to get it. */
export function findKeyring(candidates: readonly string[] = KEYRINGS): string {
  for (const path of candidates) {
    try {
      if (Deno.statSync(path).isFile) return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new EnvironmentError(
    `Cannot check Debian's signatures: ${
      candidates.at(-1)
    } is missing; install the package debian-archive-keyring`,
  );
}

/** Reads the lines of `apt-get --print-uris` with `Acquire::ForceHash=SHA256`; other lines are skipped. */
export function parsePackageFiles(printedUris: string): PackageFile[] {
  const line = /^'[^']*' (\S+) (\d+) SHA256:([0-9a-f]{64})$/gm;
  return Array.from(printedUris.matchAll(line), ([, name, size, sha256]) => {
    return { name, sizeBytes: Number(size), sha256 };
  });
}

/** The percentage in a line of apt's status stream (`dlstatus:…`), or `undefined` for any other line. */
export function parseDownloadPercent(line: string): number | undefined {
  const match = /^dlstatus:\d+:([\d.]+):/.exec(line);
  return match === null ? undefined : Math.floor(Number(match[1]));
}

/** An apt with its own lists, sources, archives and idea of what is installed. */
export class PrivateApt {
  readonly #options: PrivateAptOptions;
  readonly #config: string;
  #updated = false;

  private constructor(options: PrivateAptOptions) {
    this.#options = options;
    this.#config = `${options.path}/apt.conf`;
  }

  /** Makes the folder and writes the configuration; fetches nothing. */
  static async open(options: PrivateAptOptions): Promise<PrivateApt> {
    const { path, architecture } = options;
    for (const folder of ["lists/partial", "none/partial"]) {
      await Deno.mkdir(`${path}/${folder}`, { recursive: true, mode: 0o700 });
    }
    await Deno.writeTextFile(`${path}/apt.conf`, configuration(path, architecture));
    await Deno.writeTextFile(`${path}/status`, pretendedStatus(architecture, []));
    return new PrivateApt(options);
  }

  /** Names of all packages that begin with `prefix`. */
  async packageNames(prefix: string): Promise<string[]> {
    await this.#updateWhenOld();
    const names = await run(machineTool("apt-cache"), ["-c", this.#config, "pkgnames", prefix], {
      doing: `list packages named ${prefix}*`,
      signal: this.#options.signal,
    });
    return names.split("\n").filter((name) => name !== "");
  }

  /**
   * Fetches packages with all they depend on and returns the paths of the archive files, each compared with the SHA-256 in
   * the signed lists. A file that was fetched before an interruption is not fetched again. `title` is what the progress
   * lines call the whole.
   */
  async download(names: readonly string[], title: string): Promise<string[]> {
    await this.#updateWhenOld();
    try {
      return await this.#download(names, title);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (this.#updated) throw error;
      this.#options.progress("Package lists may be out of date: fetching them again");
      await this.#update();
      return await this.#download(names, title);
    }
  }

  /** Removes all archive files, finished or not. */
  async clean(): Promise<void> {
    await removeTree(`${this.#options.path}/cache`);
  }

  async #download(names: readonly string[], title: string): Promise<string[]> {
    const { architecture, path } = this.#options;
    await Deno.writeTextFile(`${path}/status`, pretendedStatus(architecture, names));
    const install = ["-y", "--no-install-recommends", "install", ...names];
    const printed = await this.#aptGet(
      `resolve the packages of ${title}`,
      // apt leaves out what is among its archives already, so it is shown an empty folder.
      [`-oDir::Cache::archives=${path}/none`, "--print-uris", ...install],
    );
    const files = parsePackageFiles(printed);
    const mebibytes = Math.ceil(files.reduce((sum, file) => sum + file.sizeBytes, 0) / 2 ** 20);
    const what = `Downloading ${title} (${files.length} packages, ${mebibytes} MiB)`;
    this.#options.progress(what);
    const partial = `${path}/cache/archives/partial`;
    await Deno.mkdir(partial, { recursive: true, mode: 0o700 });
    await this.#aptGet(
      `download ${title}`,
      ["--download-only", ...install],
      reportPercent(what, this.#options.progress),
    );
    const paths: string[] = [];
    for (const file of files) paths.push(await this.#checked(file));
    return paths;
  }

  async #checked(file: PackageFile): Promise<string> {
    const path = `${this.#options.path}/cache/archives/${file.name}`;
    if (await sha256File(path) !== file.sha256) {
      await Deno.remove(path);
      throw new EnvironmentError(
        `Cannot use ${file.name}: its SHA-256 is not the one in Debian's signed lists; it was removed, so try again`,
      );
    }
    return path;
  }

  async #updateWhenOld(): Promise<void> {
    if (this.#updated) return;
    if (this.#options.refresh) return await this.#update();
    try {
      const updated = Deno.statSync(this.#stampPath).mtime?.getTime() ?? 0;
      if (Date.now() - updated < LISTS_LIFE_MS) return;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    await this.#update();
  }

  async #update(): Promise<void> {
    const { archives, architecture, keyring, path, progress } = this.#options;
    const failures: unknown[] = [];
    for (const archive of archives) {
      await Deno.writeTextFile(`${path}/sources.list`, sources(archive, architecture, keyring));
      const what = `Fetching Debian's package lists for ${architecture}`;
      progress(what);
      try {
        await this.#aptGet(
          "fetch Debian's package lists",
          ["update"],
          reportPercent(what, progress),
        );
        await Deno.writeTextFile(this.#stampPath, "");
        this.#updated = true;
        return;
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        failures.push(explainSignature(error, keyring));
      }
    }
    throw failures[0];
  }

  get #stampPath(): string {
    return `${this.#options.path}/updated`;
  }

  async #aptGet(
    doing: string,
    args: readonly string[],
    onLine?: (line: string) => void,
  ): Promise<string> {
    const { progress, signal } = this.#options;
    for (let attempt = 1;; attempt++) {
      try {
        return await run(machineTool("apt-get"), ["-c", this.#config, "-qq", ...args], {
          doing,
          signal,
          ...onLine === undefined ? {} : { onLine },
        });
      } catch (error) {
        // The apt-get of a run that was killed goes on for a while.
        if (!says(error, /Could not get lock/) || attempt === LOCK_ATTEMPTS) throw error;
        if (attempt === 1) progress("Waiting for the apt-get of an earlier run to end");
        await delay(LOCK_INTERVAL_MS, signal === undefined ? {} : { signal });
      }
    }
  }
}

/** Whether a program failed with such words. */
function says(error: unknown, words: RegExp): error is EnvironmentError {
  return error instanceof EnvironmentError && error.toolLines.some((line) => words.test(line));
}

function explainSignature(error: unknown, keyring: string): unknown {
  if (!says(error, /NO_PUBKEY|Missing key|EXPKEYSIG|is not signed/)) return error;
  return new EnvironmentError(
    `Cannot check Debian's signatures with ${keyring}: update the package debian-archive-keyring`,
    error.toolLines,
  );
}

function reportPercent(what: string, progress: Progress): (line: string) => void {
  let reportedMs = Date.now();
  return (line) => {
    const percent = parseDownloadPercent(line);
    const nowMs = Date.now();
    if (!percent || nowMs - reportedMs < PROGRESS_INTERVAL_MS) return;
    reportedMs = nowMs;
    progress(`${what}: ${percent} %`);
  };
}

function sources(archive: string, architecture: string, keyring: string): string {
  const options = `[arch=${architecture} target=Packages signed-by=${keyring}]`;
  // apt uses packages of a `file:` mirror where they lie; those of a `copy:` mirror come to its archives like any other.
  const uri = archive.replace(/^file:/, "copy:");
  return SUITES.map((suite) => `deb ${options} ${uri} ${suite} main\n`).join("");
}

function pretendedStatus(architecture: string, wanted: readonly string[]): string {
  return PRETENDED.filter((name) => !wanted.includes(name)).map((name) =>
    `Package: ${name}\nStatus: install ok installed\nArchitecture: ${architecture}\nVersion: 9999\n\n`
  ).join("");
}

/**
 * Read after the machine's own configuration, whose proxies and credentials stay in force. Its hooks do not: they would
 * clean or refresh the machine's own files. As root apt would fetch as another user, who cannot enter a private folder.
 */
function configuration(path: string, architecture: string): string {
  return `#clear APT::Update;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
APT::Architecture "${architecture}";
APT::Architectures { "${architecture}"; };
APT::Default-Release "${SUITES.at(-1)}";
APT::Sandbox::User "root";
APT::Status-Fd "1";
APT::Update::Error-Mode "any";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Cache "${path}/cache";
Dir::Cache::archives "archives";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "${path}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "${path}";
Dir::State::lists "${path}/lists";
Dir::State::status "${path}/status";
`;
}
