/**
 * The folder outside the repository in which artefacts are kept between runs.
 *
 * An artefact is a folder with a manifest. It is made under another name and renamed when it is whole, so that a killed
 * run leaves nothing that counts.
 *
 * @module
 */

import { FileLock } from "../file_lock.ts";
import { findDamage, readManifest, writeManifest } from "./manifest.ts";
import { EnvironmentError } from "../environment_error.ts";

/** Told one line about what is going on. */
export type Progress = (line: string) => void;

/** An artefact in the cache that was found whole or has just been made. */
export interface Artefact {
  /** Its folder. */
  readonly path: string;
  /** What its recipe found out. */
  readonly facts: Readonly<Record<string, string>>;
}

/** How an artefact comes into being. */
export interface Recipe {
  /** Name of its folder in the cache. */
  readonly name: string;
  /** What a person calls it; completes `Making …`. */
  readonly title: string;
  /** Everything that decides what is in it; another text makes it anew. */
  readonly inputs: string;
  /** Fills the empty folder `path` and returns what it found out. */
  readonly make: (path: string) => Promise<Record<string, string>>;
}

/** How a cache is used. */
export interface CacheOptions {
  /** Told what is going on. */
  readonly progress: Progress;
  /** Ends the work; nothing unfinished counts. */
  readonly signal?: AbortSignal | undefined;
  /** Read every byte of what is reused, not only sizes and times. */
  readonly verify?: boolean | undefined;
  /** Make everything anew. */
  readonly refresh?: boolean | undefined;
}

/** `$XDG_CACHE_HOME/vsmmu`, or `$HOME/.cache/vsmmu`. Throws an {@link EnvironmentError} when neither variable is set. */
export function defaultCachePath(
  environment: (name: string) => string | undefined = Deno.env.get,
): string {
  const xdg = environment("XDG_CACHE_HOME");
  // The XDG specification has relative paths ignored.
  if (xdg?.startsWith("/")) return `${xdg}/vsmmu`;
  const home = environment("HOME");
  if (!home) {
    throw new EnvironmentError(
      "Cannot choose a cache folder: neither XDG_CACHE_HOME nor HOME is set",
    );
  }
  return `${home}/.cache/vsmmu`;
}

/** The cache, locked for this process until it is closed. */
export class Cache implements Disposable {
  /** Its folder; only this user can enter it. */
  readonly path: string;
  readonly #lock: FileLock;
  readonly #options: CacheOptions;

  private constructor(path: string, lock: FileLock, options: CacheOptions) {
    this.path = path;
    this.#lock = lock;
    this.#options = options;
  }

  /** Makes the folder when missing and waits until no other process works in it. */
  static async open(folder: string, options: CacheOptions): Promise<Cache> {
    // apt and the programs of a root are told absolute paths.
    const path = folder.startsWith("/") ? folder : `${Deno.cwd()}/${folder}`;
    try {
      await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new EnvironmentError(
        `Cannot make the cache folder ${path}: ${(error as Error).message}`,
      );
    }
    const lock = await FileLock.take(`${path}/lock`, {
      signal: options.signal,
      onWait: (owner) => options.progress(`Waiting for process ${owner}, which fills the cache`),
    });
    return new Cache(path, lock, options);
  }

  /** Told what is going on. */
  get progress(): Progress {
    return this.#options.progress;
  }

  /** Whether everything is made anew. */
  get refresh(): boolean {
    return this.#options.refresh ?? false;
  }

  /** Ends the work. */
  get signal(): AbortSignal | undefined {
    return this.#options.signal;
  }

  /** Returns the artefact when it is whole and was made from the same inputs; makes it otherwise. */
  async artefact(recipe: Recipe): Promise<Artefact> {
    const path = `${this.path}/${recipe.name}`;
    const manifest = this.#options.refresh ? undefined : readManifest(path);
    if (manifest?.inputs === recipe.inputs) {
      const damage = await findDamage(path, manifest, this.#options.verify ?? false);
      if (damage === undefined) return { path, facts: manifest.facts };
      this.progress(`Cannot reuse ${recipe.title}: ${damage}; making it again`);
    }
    return { path, facts: await this.#make(path, recipe) };
  }

  /** Frees the cache for other processes. */
  [Symbol.dispose](): void {
    this.#lock.release();
  }

  async #make(path: string, recipe: Recipe): Promise<Record<string, string>> {
    this.signal?.throwIfAborted();
    this.progress(`Making ${recipe.title}`);
    const unfinished = `${path}.unfinished`;
    await removeTree(unfinished);
    await Deno.mkdir(unfinished, { mode: 0o700 });
    try {
      const facts = await recipe.make(unfinished);
      await writeManifest(unfinished, recipe.inputs, facts);
      this.signal?.throwIfAborted();
      await replaceTree(path, unfinished);
      return facts;
    } catch (error) {
      await removeTree(unfinished);
      throw error;
    }
  }
}

/** Puts the folder `by` where `path` is or will be. Deno removes no folder that holds a program it may run, but renames it. */
async function replaceTree(path: string, by: string): Promise<void> {
  const replaced = `${path}.replaced`;
  await removeTree(replaced);
  try {
    await Deno.rename(path, replaced);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.rename(by, path);
  await removeTree(replaced);
}

/** Removes a folder and all below it; a missing one is fine. */
export async function removeTree(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
