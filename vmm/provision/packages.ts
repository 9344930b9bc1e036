/**
 * Debian packages, unpacked into a folder and installed nowhere.
 *
 * @module
 */

import type { Cache } from "./cache.ts";
import { machineArchives } from "./archive.ts";
import { findKeyring, PrivateApt } from "./private_apt.ts";
import { machineTool, run } from "../tool.ts";
import type { HostArchitecture } from "./root_tool.ts";

const PROGRESS_INTERVAL_MS = 2000;

/** Where packages come from: the machine's mirrors, through one private apt for each architecture. */
export class Packages {
  readonly #cache: Cache;
  readonly #archive: string | undefined;
  readonly #apts = new Map<HostArchitecture, PrivateApt>();

  /** Uses `archive`, the URI of a Debian mirror, instead of the machine's own when given. */
  constructor(cache: Cache, archive?: string) {
    this.#cache = cache;
    this.#archive = archive;
  }

  /** The apt for an architecture; made on first use. */
  async apt(architecture: HostArchitecture): Promise<PrivateApt> {
    const known = this.#apts.get(architecture);
    if (known !== undefined) return known;
    const { progress, refresh, signal } = this.#cache;
    const apt = await PrivateApt.open({
      path: `${this.#cache.path}/apt-${architecture}`,
      architecture,
      archives: this.#archive ? [this.#archive] : await machineArchives(signal),
      keyring: findKeyring(),
      refresh,
      progress,
      signal,
    });
    this.#apts.set(architecture, apt);
    return apt;
  }

  /** Fetches packages with what they depend on and unpacks them all below `root`. */
  async unpack(
    architecture: HostArchitecture,
    names: readonly string[],
    title: string,
    root: string,
  ): Promise<void> {
    const apt = await this.apt(architecture);
    const files = await apt.download(names, title);
    this.#cache.progress(`Unpacking ${title}`);
    let reportedMs = Date.now();
    for (const [index, file] of files.entries()) {
      if (Date.now() - reportedMs > PROGRESS_INTERVAL_MS) {
        reportedMs = Date.now();
        this.#cache.progress(`Unpacking ${title}: ${index} of ${files.length} packages`);
      }
      await run(machineTool("dpkg-deb"), ["-x", file, root], {
        doing: `unpack ${file.slice(file.lastIndexOf("/") + 1)}`,
        signal: this.#cache.signal,
      });
    }
    await apt.clean();
  }
}
