/**
 * `vsmmu passthrough`: a guest that gets a function of a server with a real iommufd, on the emulated Arm server.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { Check } from "../guest_checks.ts";
import { runHostVm } from "../hostvm/host_vm.ts";
import { iortOverride } from "../hostvm/iort_override.ts";
import { provisionHostVm } from "../hostvm/provision.ts";
import {
  columnsOf,
  type ColumnsVerdict,
  judgeColumns,
  stagesOf,
  TRACED,
  untilGuestEnds,
} from "../passthrough/columns.ts";
import { checkLspci, type LspciTexts } from "../passthrough/lspci_check.ts";
import { checkLines } from "../report.ts";
import { WORK_FLAGS, workOf } from "./assigned.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";
import { HOST_FLAGS, hostPartsOf, REPOSITORY, sink } from "./hostvm.ts";

const LONGEST_S = 86_400;
const MEMORY_MIB = 6144;
const NVME_MIB = 512;
/** How long the server takes until its guest can start, and after its end. */
const SERVER_START_S = 60;
/** The first virtual function of the server's network card, by which its SMMU knows it. */
const VF_STREAM = 0x180;

/** The command. */
export const passthrough: Command = {
  name: "passthrough",
  summary:
    "gives a virtual function of an emulated Arm server to a KVM guest of it, by nested translation, and compares " +
    "what the guest, Linux and the server's SMMU were asked to invalidate",
  flags: {
    ...WORK_FLAGS,
    out: { value: "DIR", help: "Where the recording and QEMU's trace go" },
    json: { help: "Print the result as one JSON object" },
    timeout: { value: "SECONDS", help: "Ends a run that takes longer; 1800 by default" },
    ...HOST_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const timeoutSeconds = values.integer("timeout", 1800, 1, LONGEST_S);
  // Who ends the guest can say more of it than who ends the server, and is to be first.
  const guestSeconds = Math.max(1, timeoutSeconds - SERVER_START_S);
  const words = [`--timeout=${guestSeconds}`, ...insideWords(values)];
  const options = { ...hostPartsOf(values, io), withGuest: true };
  const parts = await provisionHostVm(options);
  const initrdPath = await iortOverride(parts, options);
  const kept = values.text("out");
  const outPath = kept ?? await Deno.makeTempDir({ prefix: "vsmmu-passthrough-" });
  try {
    io.note(`Starting the Host VM: QEMU ${parts.qemu.version}`);
    const unread = new AbortController();
    const show = sink(Deno.stderr, unread);
    const code = await runHostVm(parts, {
      script: `exec sh vmm/passthrough/inside.sh ${words.join(" ")}\n`,
      repository: REPOSITORY,
      initrdPath,
      outPath,
      cpuCount: 2,
      memoryMiB: MEMORY_MIB,
      nvmeMiB: NVME_MIB,
      append: "",
      traced: TRACED,
      timeoutSeconds,
      hasInput: false,
      output: show,
      errors: show,
      console: values.on("console") ? show : undefined,
      signal: AbortSignal.any([io.signal, unread.signal]),
    });
    io.note("Comparing the recording with what the server's SMMU did");
    return await judge(outPath, code, values, io);
  } finally {
    if (kept === undefined) await Deno.remove(outPath, { recursive: true });
  }
}

/** What the flags say, for the command inside. */
function insideWords(values: Values): string[] {
  const {
    kinds,
    mib,
    mtu,
    cpuCount,
    disk,
    compare,
    flr,
    reboot,
    fault,
    takeBack,
    deaf,
    rootPorts,
    pasid,
    registers,
  } = workOf(
    values,
  );
  return [
    `--devices=${kinds.join(",")}`,
    `--mib=${mib}`,
    `--mtu=${mtu}`,
    `--smp=${cpuCount}`,
    `--pasid=${pasid}`,
    `--registers=${registers}`,
    ...(disk ? ["--virtio-blk"] : []),
    ...(compare ? ["--compare"] : []),
    ...(flr ? ["--flr"] : []),
    ...(reboot ? ["--reboot"] : []),
    ...(fault ? ["--fault"] : []),
    ...(takeBack ? ["--take-back"] : []),
    ...(deaf ? ["--deaf"] : []),
    ...(rootPorts ? ["--root-ports"] : []),
  ];
}

/** Tells what was seen from outside, and whether everything held. */
async function judge(outPath: string, code: number, values: Values, io: Io): Promise<number> {
  const { kinds, pasid, compare } = workOf(values);
  const result = await readResult(`${outPath}/result.json`);
  const whole = await Deno.readTextFile(`${outPath}/qemu-trace`);
  // What follows is the other guest's; without one, Linux may do the same for a function that goes before.
  const qemuTrace = compare ? untilGuestEnds(whole) : whole;
  const verdict = judgeColumns(await columnsOf(`${outPath}/trace.jsonl.gz`, qemuTrace));
  const checks: Check[] = [
    checkColumns(verdict),
    // The server's own driver has used the NVMe disk, through one stage.
    ...(kinds.includes("vf") ? [checkStages(stagesOf(qemuTrace, VF_STREAM))] : []),
    ...checkLspci(await lspciTexts(outPath, result), pasid === "force"),
  ];
  const ok = code === EXIT.ok && checks.every(({ ok }) => ok);
  if (values.on("json")) {
    const columns = verdict.rows;
    io.out(JSON.stringify({ ...result, ok, columns, outside: checks }, undefined, 2));
  } else {
    io.out("");
    for (const line of columnLines(verdict)) io.out(line);
    io.out("");
    for (const line of checkLines(checks)) io.out(line);
    io.out(ok ? "All held" : "NOT all held");
  }
  return ok ? EXIT.ok : EXIT.failed;
}

/** What the command inside wrote, as far as it matters here. */
interface InsideResult {
  readonly notes?: readonly string[];
}

async function readResult(path: string): Promise<InsideResult> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new EnvironmentError("The guest did not start: what the Host VM said is above");
  }
}

function checkColumns({ rows, difference }: ColumnsVerdict): Check {
  const total = rows.reduce((sum, { guest }) => sum + guest, 0);
  return {
    name: "Guest, Linux and the server's SMMU invalidated the same, one for one",
    ok: difference === undefined && total > 0,
    seen: difference ?? `${total} commands`,
  };
}

/** A function that was the server's own before used stage 1 alone then: it made no DMA yet. */
function checkStages(stages: ReadonlyMap<number, number>): Check {
  const both = stages.get(3) ?? 0;
  const others = [...stages].reduce((sum, [, count]) => sum + count, 0) - both;
  return {
    name: "The server's SMMU translated the function by both stages, always",
    ok: both > 0 && others === 0,
    seen: `${both} by both stages, ${others} otherwise`,
  };
}

/** The server's SMMU has no SubstreamIDs, so that a guest sees a PASID capability only when it is forced. */
async function lspciTexts(outPath: string, { notes = [] }: InsideResult): Promise<LspciTexts> {
  const [guest, host, bytes] = await Promise.all(
    ["lspci-in-guest", "lspci-host", "lspci-bytes"].map((name) =>
      Deno.readTextFile(`${outPath}/${name}`).catch(() => "")
    ),
  );
  return { guest, host, bytes, notes };
}

function columnLines({ rows }: ColumnsVerdict): string[] {
  const cells = [
    ["", "guest", "passed on", "executed"],
    ...rows.map(({ command, guest, passed, executed }) => [
      command,
      ...[guest, passed, executed].map((count) => count.toLocaleString("en")),
    ]),
  ];
  const widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  return cells.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
  );
}
