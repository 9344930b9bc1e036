/**
 * `lspci` of Debian's package pciutils, taken through the project's private apt into its cache and installed nowhere.
 * @module
 */
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { Cache, defaultCachePath } from "../../vmm/provision/cache.ts";
import { Packages } from "../../vmm/provision/packages.ts";
import { hostArchitecture, rootTool } from "../../vmm/provision/root_tool.ts";
import { run, type Tool } from "../../vmm/tool.ts";

const FETCH_LIMIT_MS = 180_000;

/** The program, or why it cannot be had here. */
export async function findLspci(): Promise<Tool | string> {
  try {
    const architecture = hostArchitecture();
    const signal = AbortSignal.timeout(FETCH_LIMIT_MS);
    using cache = await Cache.open(defaultCachePath(), { progress: () => {}, signal });
    const { path } = await cache.artefact({
      name: `pciutils-${architecture}`,
      title: "lspci",
      inputs: `1 ${architecture}`,
      make: async (path) => {
        const packages = new Packages(cache);
        await packages.unpack(architecture, ["pciutils"], "lspci", `${path}/root`);
        return {};
      },
    });
    return rootTool(`${path}/root`, architecture, "usr/bin/lspci");
  } catch (error) {
    if (error instanceof EnvironmentError) return error.message;
    if (error instanceof DOMException) return "it could not be fetched in time";
    throw error;
  }
}

/** A capability as `lspci -vvv` prints it. */
export interface PrintedCapability {
  /** Where it is. */
  readonly offset: number;
  /** Version, of an extended one; `undefined` for one of the first 256 bytes. */
  readonly version: number | undefined;
  /** What lspci calls it, in its own words. */
  readonly title: string;
  /** The lines about it, without the blanks before them. */
  readonly details: readonly string[];
}

/** Lets lspci read spaces as a dump of one machine; the capabilities of each are in the same order. */
export async function printedCapabilities(
  lspci: Tool,
  spaces: readonly Uint8Array[],
): Promise<PrintedCapability[][]> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, spaces.map(dump).join("\n"));
    const text = await run(lspci, ["-F", path, "-n", "-vvv"], { doing: "print a dump" });
    const byAddress = new Map<string, PrintedCapability[]>();
    for (const section of text.split("\n\n")) byAddress.set(section.slice(0, 7), parse(section));
    return spaces.map((_, i) => byAddress.get(addressOf(i)) ?? []);
  } finally {
    await Deno.remove(path);
  }
}

function addressOf(index: number): string {
  const hex = (value: number): string => value.toString(16).padStart(2, "0");
  return `${hex(index >>> 5)}:${hex(index & 31)}.0`;
}

function dump(space: Uint8Array, index: number): string {
  const lines = [`${addressOf(index)} space ${index}`];
  for (let offset = 0; offset < space.length; offset += 16) {
    const bytes = [...space.subarray(offset, offset + 16)];
    const row = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    lines.push(`${offset.toString(16).padStart(2, "0")}: ${row}`);
  }
  return `${lines.join("\n")}\n`;
}

function parse(section: string): PrintedCapability[] {
  const found: { offset: number; version: number | undefined; title: string; details: string[] }[] =
    [];
  for (const line of section.split("\n")) {
    const match = /^\tCapabilities: \[([0-9a-f]+)(?: v(\d+))?\] (.*)$/.exec(line);
    if (match !== null) {
      const [, offset, version, title] = match;
      found.push({
        offset: parseInt(offset, 16),
        version: version === undefined ? undefined : Number(version),
        title,
        details: [],
      });
    } else if (line.startsWith("\t\t")) found.at(-1)?.details.push(line.trim());
  }
  return found;
}
