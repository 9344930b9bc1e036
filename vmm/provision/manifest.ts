/**
 * The list of what an artefact consists of, with which a cached one is checked before it is used again.
 *
 * @module
 */

/** A regular file of an artefact. */
export interface ManifestFile {
  /** Path inside the artefact. */
  readonly path: string;
  /** Size in bytes. */
  readonly sizeBytes: number;
  /** Time of last modification in milliseconds since 1970. */
  readonly modifiedMs: number;
  /** SHA-256 in lower-case hexadecimal. */
  readonly sha256: string;
}

/** What an artefact was made from and what is in it. */
export interface Manifest {
  /** The recipe and its inputs; another text means another artefact. */
  readonly inputs: string;
  /** What the recipe found out, such as a kernel's release. */
  readonly facts: Readonly<Record<string, string>>;
  /** Every regular file except the manifest itself. */
  readonly files: readonly ManifestFile[];
  /** Every symbolic link: path and target. */
  readonly links: readonly (readonly [path: string, target: string])[];
}

/** Name of the manifest inside an artefact. */
export const MANIFEST_NAME = "manifest.json";

/** SHA-256 of bytes in lower-case hexadecimal. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** SHA-256 of a file in lower-case hexadecimal. The file is read whole. */
export async function sha256File(path: string): Promise<string> {
  return await sha256(await Deno.readFile(path));
}

/** Looks at every file below `root` and writes the manifest there. */
export async function writeManifest(
  root: string,
  inputs: string,
  facts: Readonly<Record<string, string>>,
): Promise<Manifest> {
  const files: ManifestFile[] = [];
  const links: [string, string][] = [];
  for (const path of walk(root, "")) {
    const full = `${root}/${path}`;
    const info = Deno.lstatSync(full);
    if (info.isSymlink) links.push([path, Deno.readLinkSync(full)]);
    else if (info.isFile) files.push({ path, ...stamp(info), sha256: await sha256File(full) });
  }
  const manifest: Manifest = { inputs, facts, files, links };
  await Deno.writeTextFile(`${root}/${MANIFEST_NAME}`, JSON.stringify(manifest));
  return manifest;
}

/** Reads the manifest of an artefact; `undefined` when there is none or it was cut short. */
export function readManifest(root: string): Manifest | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(`${root}/${MANIFEST_NAME}`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * Compares an artefact with its manifest and returns the first difference in words, or `undefined` when there is none.
 * Sizes, times and link targets are compared always, contents only when `contents` is set.
 */
export async function findDamage(
  root: string,
  manifest: Manifest,
  contents: boolean,
): Promise<string | undefined> {
  for (const [path, target] of manifest.links) {
    if (readLink(`${root}/${path}`) !== target) return `${path} no longer points to ${target}`;
  }
  for (const file of manifest.files) {
    const damage = findFileDamage(root, file) ??
      (contents && await sha256File(`${root}/${file.path}`) !== file.sha256
        ? `${file.path} has another SHA-256 than recorded`
        : undefined);
    if (damage !== undefined) return damage;
  }
}

function findFileDamage(root: string, file: ManifestFile): string | undefined {
  try {
    const found = stamp(Deno.lstatSync(`${root}/${file.path}`));
    if (found.sizeBytes !== file.sizeBytes) {
      return `${file.path} has ${found.sizeBytes} bytes instead of ${file.sizeBytes}`;
    }
    if (found.modifiedMs !== file.modifiedMs) return `${file.path} was changed since it was made`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${file.path} is missing`;
    throw error;
  }
}

function stamp(info: Deno.FileInfo): { sizeBytes: number; modifiedMs: number } {
  return { sizeBytes: info.size, modifiedMs: info.mtime?.getTime() ?? 0 };
}

function readLink(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return undefined;
  }
}

function* walk(root: string, below: string): Generator<string> {
  for (const entry of Deno.readDirSync(`${root}/${below}`)) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory) yield* walk(root, path);
    else yield path;
  }
}
