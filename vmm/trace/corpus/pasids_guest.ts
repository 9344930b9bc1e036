/**
 * A real guest that uses PASIDs: in the Host VM, whose hardware is our SMMU, with the kernel's iommufd and another SMMU of
 * ours between both.
 * @module
 */
import { EnvironmentError } from "../../environment_error.ts";
import type { BareOptions } from "./bare_machine.ts";

const CLI = decodeURIComponent(new URL("../../cli.ts", import.meta.url).pathname);
const TRACE = "trace.jsonl.gz";
/** The task `assigned:pasids`, recorded. */
const TASK = "deno run --no-check --allow-all vmm/cli.ts assigned --devices dma " +
  `--kernel $VSMMU_GUEST_KERNEL --record $VSMMU_OUT/${TRACE}`;
const TIMEOUT_S = 1200;

/** Runs it, and puts its trace at `path`. Throws an `EnvironmentError` when something did not hold. */
export async function recordPasids({ path, progress, signal }: BareOptions): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const words = ["hostvm", "--smmu", "ours", "--guest", "--timeout", `${TIMEOUT_S}`];
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "--allow-all", CLI, ...words, "--out", folder, "--sh", TASK],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
      signal,
    });
    const { code, stdout } = await process.output();
    signal.throwIfAborted();
    if (code !== 0) {
      for (const line of new TextDecoder().decode(stdout).split("\n").slice(-30)) progress(line);
      throw new EnvironmentError(`The guest of the Host VM ended with exit code ${code}`);
    }
    await Deno.copyFile(`${folder}/${TRACE}`, path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
