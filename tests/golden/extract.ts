/**
 * Reads the numbers of Linux's SMMUv3 driver header, to compare them with `layouts.json`.
 *
 * Only one-line definitions with a literal value count; macros with arguments and expressions do not.
 *
 *     deno run --allow-read --allow-env tests/golden/extract.ts [path/to/arm-smmu-v3.h]
 *
 * @module
 */

/** The highest and the lowest bit of a field. */
export type Bits = [high: number, low: number];

/** What a name stands for: a field, or an offset, opcode or other number. */
export type Definition = Bits | number;

/** Where a kernel's source tree keeps the header. */
export const HEADER = "drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h";

const NAMED = "VSMMU_LINUX_HEADER";

const DEFINE = /^\s*#define\s+(\w+)\s+(\S.*?)\s*$/;
const ENUMERATOR = /^\s*(\w+)\s*=\s*(\S+?),?\s*$/;
const MASK = /^GENMASK(?:_ULL)?\(\s*(\d+)\s*,\s*(\d+)\s*\)$/;
const BIT = /^(?:BIT(?:_ULL)?\(\s*(\d+)\s*\)|\(\s*1U?L*\s*<<\s*(\d+)\s*\))$/;
const NUMBER = /^(0x[0-9a-f]+|\d+)U?L*$/i;

/** The value of one definition's right-hand side, or undefined if it is not a literal. */
export function parseValue(text: string): Definition | undefined {
  const mask = MASK.exec(text);
  if (mask) return [Number(mask[1]), Number(mask[2])];
  const bit = BIT.exec(text);
  if (bit) return [Number(bit[1] ?? bit[2]), Number(bit[1] ?? bit[2])];
  const number = NUMBER.exec(text);
  return number ? Number(number[1]) : undefined;
}

/** Every literal that a header defines, by its name. */
export function parseHeader(header: string): Record<string, Definition> {
  const definitions: Record<string, Definition> = {};
  for (const line of header.replaceAll(/\/\*.*?\*\//gs, "").split("\n")) {
    const [, name, text] = DEFINE.exec(line) ?? ENUMERATOR.exec(line) ?? [];
    if (!name || !text) continue;
    const value = parseValue(text);
    if (value !== undefined) definitions[name] = value;
  }
  return definitions;
}

/** The header that VSMMU_LINUX_HEADER names, else one of an unpacked /usr/src/linux-source-*, where we may look. */
export function findHeader(): string | undefined {
  const named = isGranted({ name: "env", variable: NAMED }) ? Deno.env.get(NAMED) : undefined;
  if (!isGranted({ name: "read", path: named ?? "/usr/src" })) return undefined;
  return named ?? sourceTrees().map((tree) => `${tree}/${HEADER}`).find(isFile);
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

function sourceTrees(): string[] {
  if (!isDirectory("/usr/src")) return [];
  const names = Array.from(Deno.readDirSync("/usr/src"), (entry) => entry.name);
  return names.filter((name) => name.startsWith("linux-source-")).map((name) => `/usr/src/${name}`);
}

function isDirectory(path: string): boolean {
  return stat(path)?.isDirectory ?? false;
}

function isFile(path: string): boolean {
  return stat(path)?.isFile ?? false;
}

function stat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return;
    throw error;
  }
}

if (import.meta.main) {
  const path = Deno.args[0] ?? findHeader();
  if (!path) throw new Error("Cannot find arm-smmu-v3.h: name it or set VSMMU_LINUX_HEADER");
  const json = JSON.stringify(parseHeader(Deno.readTextFileSync(path)), null, 2);
  Deno.stdout.writeSync(new TextEncoder().encode(`${json}\n`));
}
