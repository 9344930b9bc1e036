/**
 * Records the corpus of traces again, from real guests, and programs without one: `deno task traces:record [NAME…]`.
 *
 * A trace is kept when its run held all its checks and the trace replays to the last event; otherwise the one that is
 * there stays. The guest of {@linkcode TWICE} is recorded twice, and must behave in the same way both times.
 * @module
 */
import { mapsKernel } from "../../bench/maps_kernel.ts";
import { EnvironmentError } from "../../environment_error.ts";
import { provision } from "../../provision/provision.ts";
import type { IommufdKind } from "../../device_configuration.ts";
import { type MicrovmOptions, runMicrovm } from "../../microvm.ts";
import { type BareOptions, recordBare } from "./bare_machine.ts";
import { type Behaviour, behaviourOf, compareBehaviours, DivergedError } from "./behaviour.ts";
import { ENDPOINTS_PROGRAM } from "./endpoints_program.ts";
import { recordPasids } from "./pasids_guest.ts";
import { recordStalls } from "./stalls_program.ts";
import { TABLES_PROGRAM } from "./tables_program.ts";
import { openTrace } from "../trace_file.ts";

/** A trace of a guest. */
export interface GuestEntry {
  /** Its file is `NAME.jsonl.gz`. */
  readonly name: string;
  /** A version of Debian's kernels, or `hostvm` for that of the Host VM, which has iommufd and VFIO. */
  readonly kernel: string;
  readonly cpuCount: number;
  /** Added to the guest kernel's command line. */
  readonly append: string;
  readonly actions: readonly string[];
  /** What is behind the SMMU. */
  readonly iommufd: IommufdKind;
  /** Whether the DMA test device translates for itself, and asks for pages. */
  readonly ats?: boolean;
}

/** A trace of a program without a guest, or of a guest elsewhere. */
export interface ProgramEntry {
  readonly name: string;
  /** Runs it, and puts its trace at a path. Throws an `EnvironmentError` when something is not as it has to be. */
  readonly record: (options: BareOptions) => Promise<void>;
}

/** A trace of the corpus. */
export type CorpusEntry = GuestEntry | ProgramEntry;

const STRICT = {
  kernel: "7.3",
  cpuCount: 2,
  append: "",
  actions: ["disk"],
  iommufd: "none",
} as const;
const NESTED = { ...STRICT, iommufd: "model" } as const;

/** The corpus. */
export const CORPUS: readonly CorpusEntry[] = [
  { ...STRICT, name: "linux-7.3-strict" },
  { ...STRICT, name: "linux-7.3-lazy", append: "iommu.strict=0" },
  { ...STRICT, name: "linux-7.3-passthrough", append: "iommu.passthrough=1" },
  { ...STRICT, name: "linux-7.3-4cpus", cpuCount: 4 },
  { ...STRICT, name: "linux-7.3-fault", actions: ["fault", "disk"] },
  { ...STRICT, name: "linux-7.3-domains", actions: ["domains", "disk"] },
  { ...STRICT, name: "linux-7.3-reboot", actions: ["disk", "reboot", "disk"] },
  { ...STRICT, name: "linux-7.3-16k", kernel: "7.3-16k" },
  { ...STRICT, name: "linux-6.12-strict", kernel: "6.12" },
  { ...NESTED, name: "linux-7.3-nested" },
  { ...NESTED, name: "linux-7.3-nested-fault", actions: ["fault", "disk"] },
  { ...NESTED, name: "linux-7.3-nested-domains", actions: ["domains", "disk"] },
  { ...NESTED, name: "linux-7.3-nested-reboot", actions: ["disk", "reboot", "disk"] },
  { ...NESTED, name: "linux-7.3-nested-lazy", append: "iommu.strict=0" },
  { ...STRICT, name: "linux-7.3-ats", kernel: "hostvm", actions: ["ats"], ats: true },
  { name: "linux-7.3-pasids", record: recordPasids },
  { name: "program-tables", record: (options) => recordBare(TABLES_PROGRAM, options) },
  { name: "program-endpoints", record: (options) => recordBare(ENDPOINTS_PROGRAM, options) },
  { name: "program-stalls", record: ({ path }) => recordStalls(path) },
];

/** The corpus' files may have so many bytes together. */
export const MOST_BYTES = 10_000_000;

const TWICE = "linux-7.3-strict";
const FOLDER = new URL("../../../tests/traces/", import.meta.url).pathname;
const TIMEOUT_S = 600;

/** Takes lines about what is being done. */
type Say = (line: string) => void;

/** Records entries into `folder`; returns whether all of them were kept and the corpus is small enough. */
export async function recordCorpus(
  entries: readonly CorpusEntry[],
  folder: string,
  say: Say,
  signal: AbortSignal,
): Promise<boolean> {
  let failed = 0;
  for (const [index, entry] of entries.entries()) {
    say(`${index + 1} of ${entries.length}: ${entry.name}`);
    const path = `${folder}/${entry.name}.jsonl.gz`;
    const behaviour = await record(entry, path, say, signal);
    if (behaviour === undefined) failed++;
    else if (entry.name === TWICE && !await isRepeated(entry, behaviour, folder, say, signal)) {
      failed++;
    }
  }
  const sizeBytes = sizeOf(folder);
  say(`${failed === 0 ? "All kept" : `${failed} NOT kept`}; the corpus has ${sizeBytes} bytes`);
  if (sizeBytes > MOST_BYTES) say(`That is more than ${MOST_BYTES}`);
  return failed === 0 && sizeBytes <= MOST_BYTES;
}

/** Runs a guest, and puts its trace at `path` when everything held; returns how it behaved then. */
async function record(
  entry: CorpusEntry,
  path: string,
  say: Say,
  signal: AbortSignal,
): Promise<Behaviour | undefined> {
  const unfinished = `${path}.unfinished`;
  const notes: string[] = [];
  try {
    const told = "record" in entry
      ? await recordProgram(entry, {
        path: unfinished,
        progress: (line) => notes.push(line),
        signal,
      })
      : await recordGuest(entry, unfinished, notes, say, signal);
    if (told === undefined) return undefined;
    const { header, operations } = await openTrace(unfinished);
    const behaviour = await behaviourOf(header, operations);
    await Deno.chmod(unfinished, 0o644);
    await Deno.rename(unfinished, path);
    say(`  ${told}, identical when replayed: ${Deno.statSync(path).size} bytes`);
    return behaviour;
  } catch (error) {
    if (!(error instanceof EnvironmentError || error instanceof DivergedError)) throw error;
    say(`  Not kept: ${error.message}`);
    return undefined;
  } finally {
    removeFile(unfinished);
  }
}

async function recordProgram(entry: ProgramEntry, options: BareOptions): Promise<string> {
  await entry.record(options);
  return "Everything was as it has to be";
}

/** Returns words about the run; undefined when something did not hold, which was said. */
async function recordGuest(
  entry: GuestEntry,
  path: string,
  notes: string[],
  say: Say,
  signal: AbortSignal,
): Promise<string | undefined> {
  const progress = (line: string): void => say(`  ${line}`);
  const kernel = entry.kernel === "hostvm"
    ? await mapsKernel(Deno.env.get("VSMMU_HOST_KERNEL"), { progress, signal })
    : entry.kernel;
  await provision({ kernel, progress, signal });
  const { checks, kernel: release, seconds } = await runMicrovm({
    ...optionsOf(entry),
    parts: { kernel },
    record: { path },
    progress: (line) => notes.push(line),
    signal,
  });
  const failures = checks.filter(({ ok }) => !ok);
  if (failures.length === 0) {
    return `Linux ${release}, ${checks.length} checks held, ${seconds.guest.toFixed(1)} s`;
  }
  for (const note of notes) say(`  ${note}`);
  for (const { name, seen } of failures) say(`  Not kept: ${name}: ${seen}`);
  return undefined;
}

/** Records once more, and says what the two runs do not share. */
async function isRepeated(
  entry: CorpusEntry,
  first: Behaviour,
  folder: string,
  say: Say,
  signal: AbortSignal,
): Promise<boolean> {
  say(`${entry.name} once more`);
  const path = `${folder}/${entry.name}.again`;
  try {
    const second = await record(entry, path, say, signal);
    if (second === undefined) return false;
    const { differences, liberties } = compareBehaviours(first, second);
    for (const line of differences) say(`  Behaved differently: ${line}`);
    if (differences.length === 0) {
      say("  The guest saw and did the same; addresses, times and these counts aside:");
    }
    for (const line of liberties) say(`    ${line}`);
    return differences.length === 0;
  } finally {
    removeFile(path);
  }
}

function optionsOf(
  { cpuCount, append, actions, iommufd, ats = false }: GuestEntry,
): Omit<MicrovmOptions, "parts" | "record" | "progress" | "signal"> {
  return {
    ats,
    cpuCount,
    memoryMiB: 1024,
    append,
    actions,
    benchMiB: 0,
    interrupts: "msix",
    iommufd,
    interactive: false,
    timeoutSeconds: TIMEOUT_S,
    console: () => {},
  };
}

function sizeOf(folder: string): number {
  return [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".jsonl.gz"))
    .reduce((sum, { name }) => sum + Deno.statSync(`${folder}/${name}`).size, 0);
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Records what the names say, or all. */
async function main(names: readonly string[], say: Say, signal: AbortSignal): Promise<number> {
  const unknown = names.find((name) => !CORPUS.some((entry) => entry.name === name));
  if (unknown !== undefined) {
    say(`Cannot record ${unknown}: the traces are ${CORPUS.map(({ name }) => name).join(", ")}`);
    return 2;
  }
  const entries = CORPUS.filter(({ name }) => names.length === 0 || names.includes(name));
  try {
    Deno.mkdirSync(FOLDER, { recursive: true });
    return await recordCorpus(entries, FOLDER, say, signal) ? 0 : 1;
  } catch (error) {
    if (!signal.aborted) throw error;
    say("Interrupted; what was not finished is gone");
    return 130;
  }
}

if (import.meta.main) {
  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => abort.abort());
  }
  const encoder = new TextEncoder();
  const say = (line: string): void => void Deno.stdout.writeSync(encoder.encode(`${line}\n`));
  Deno.exit(await main(Deno.args, say, abort.signal));
}
