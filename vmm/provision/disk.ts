/**
 * The guest's disk: an ext4 image with a file whose contents we know, private copies of it, and a look into it from
 * outside.
 *
 * @module
 */

import { OwnFolder } from "../own_folder.ts";
import { type Artefact, type Cache, removeTree } from "./cache.ts";
import { sha256, sha256File } from "./manifest.ts";
import { EnvironmentError } from "../environment_error.ts";
import type { HostTools } from "./qemu.ts";
import { run } from "../tool.ts";

/** Name of the image inside its artefact. */
export const DISK_NAME = "disk.img";

/** Path, inside the image, of the file that we placed there. */
export const INPUT_PATH = "/data/input.bin";

const DISK_MIB = 256;
const INPUT_BYTES = 64 << 20;
const SEED = 0x5eed_1e55;

/** `sizeBytes` (a multiple of 4) pseudo-random bytes, the same for the same seed other than zero (xorshift32). */
export function pseudoRandomBytes(sizeBytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(sizeBytes / 4);
  let state = seed;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer);
}

/** The artefact with the pristine image; its fact `input` is the SHA-256 of the file at {@link INPUT_PATH}. */
export function pristineDisk(cache: Cache, tools: HostTools): Promise<Artefact> {
  return cache.artefact({
    name: "disk",
    title: "the guest's disk",
    inputs: `1 ${DISK_MIB} ${INPUT_BYTES} ${SEED}`,
    make: async (path) => {
      const input = pseudoRandomBytes(INPUT_BYTES, SEED);
      await Deno.mkdir(`${path}/tree/data`, { recursive: true });
      await Deno.writeFile(`${path}/tree${INPUT_PATH}`, input);
      await run(tools.mke2fs, mke2fsArguments(`${path}/tree`, `${path}/${DISK_NAME}`), {
        doing: "make the guest's disk",
        signal: cache.signal,
      });
      await removeTree(`${path}/tree`);
      return { input: await sha256(input) };
    },
  });
}

/** Looks at the user's own disk image; throws an {@link EnvironmentError} when the guest could not use it. */
export async function checkOwnDisk(path: string): Promise<void> {
  try {
    using file = await Deno.open(path, { read: true, write: true });
    const { size } = await file.stat();
    if (size > 0 && size % 512 === 0) return;
    throw new EnvironmentError(
      `Cannot use the disk ${path}: it has ${size} bytes; a raw image is a positive multiple of 512`,
    );
  } catch (error) {
    if (error instanceof EnvironmentError) throw error;
    throw new EnvironmentError(`Cannot open the disk ${path}: ${(error as Error).message}`);
  }
}

/** A private copy of a disk image for one run; it goes at the end of a `using` block. */
export class WorkingDisk implements Disposable {
  /** The copy. */
  readonly path: string;
  readonly #folder: OwnFolder;

  private constructor(folder: OwnFolder) {
    this.path = `${folder.path}/${DISK_NAME}`;
    this.#folder = folder;
  }

  /** Copies `pristine` into a new folder below `runs` and removes the copies of runs that were killed. */
  static async copy(pristine: string, runs: string): Promise<WorkingDisk> {
    await Deno.mkdir(runs, { recursive: true, mode: 0o700 });
    const path = `${runs}/${Deno.pid}-${crypto.randomUUID()}`;
    await Deno.mkdir(path, { mode: 0o700 });
    const folder = OwnFolder.take(path);
    folder.removeAbandoned("");
    const disk = new WorkingDisk(folder);
    try {
      await Deno.copyFile(pristine, disk.path);
      return disk;
    } catch (error) {
      disk[Symbol.dispose]();
      throw error;
    }
  }

  /** Removes the copy. */
  [Symbol.dispose](): void {
    this.#folder.remove();
  }
}

/** Checks an unmounted image without changing it; throws an {@link EnvironmentError} with e2fsck's words when it is not clean. */
export async function checkFileSystem(
  tools: HostTools,
  image: string,
  signal?: AbortSignal,
): Promise<void> {
  await run(tools.e2fsck, ["-fn", image], { doing: `find ${image} clean`, signal });
}

/** SHA-256 and size of a file inside an unmounted image; throws an {@link EnvironmentError} when it is not there. */
export async function readBack(
  tools: HostTools,
  image: string,
  path: string,
  signal?: AbortSignal,
): Promise<{ sha256: string; sizeBytes: number }> {
  const copy = `${image}.readback`;
  try {
    const doing = `read ${path} in ${image}`;
    await run(tools.debugfs, ["-R", `dump "${path}" "${copy}"`, image], { doing, signal });
    return { sha256: await sha256File(copy), sizeBytes: (await Deno.stat(copy)).size };
  } catch (error) {
    // debugfs ends well even when it found no such file.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new EnvironmentError(`Cannot find ${path} in ${image}`);
  } finally {
    await removeTree(copy);
  }
}

function mke2fsArguments(tree: string, image: string): string[] {
  const extended = [
    "hash_seed=3e6a9f0e-5b0d-4c59-9d39-9a1f3c0d7e11",
    "lazy_itable_init=0",
    "lazy_journal_init=0",
    "root_owner=0:0",
  ];
  return [
    ...["-q", "-t", "ext4", "-L", "vsmmu", "-m", "0"],
    ...["-U", "8f1d3c52-7f0b-4f5e-8a6e-2d9b1c4e6a70"],
    ...["-E", extended.join(",")],
    ...["-d", tree, image, `${DISK_MIB}M`],
  ];
}
