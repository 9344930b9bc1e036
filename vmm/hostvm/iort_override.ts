/**
 * An initramfs with nothing but the IORT that Linux is to use: read once from the machine itself, then kept.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { Cache } from "../provision/cache.ts";
import { sha256 } from "../provision/manifest.ts";
import { lastLines } from "../tool.ts";
import { newc } from "./cpio.ts";
import { runHostVm } from "./host_vm.ts";
import { IORT_PATH, withCanwbs } from "./iort.ts";
import type { HostVmOptions, HostVmProvisions } from "./provision.ts";

const NAME = "iort.cpio";
const SCRIPT = 'cat /sys/firmware/acpi/tables/IORT > "$VSMMU_OUT/IORT"\n';
const TIMEOUT_S = 300;

/** Path of the initramfs for these parts; boots the machine without a task when it has to be made. */
export async function iortOverride(
  parts: HostVmProvisions,
  { progress, signal, verify, refresh }: HostVmOptions,
): Promise<string> {
  using cache = await Cache.open(parts.cacheDir, { progress, signal, verify, refresh });
  const shape = await Deno.readFile(new URL("arguments.ts", import.meta.url));
  const { path } = await cache.artefact({
    name: "hostvm-iort",
    title: "the Host VM's IORT",
    inputs: `1 ${parts.qemu.version} ${await sha256(shape)}`,
    make: async (path) => {
      let said = "";
      const decoder = new TextDecoder();
      const code = await runHostVm(parts, {
        script: SCRIPT,
        repository: path,
        outPath: path,
        cpuCount: 2,
        memoryMiB: 1024,
        append: "",
        timeoutSeconds: TIMEOUT_S,
        hasInput: false,
        errors: (bytes) => said += decoder.decode(bytes, { stream: true }),
        signal,
      });
      if (code !== 0) {
        throw new EnvironmentError(
          `Cannot read the IORT of the Host VM: exit status ${code} in there`,
          lastLines(said, 4),
        );
      }
      const table = await Deno.readFile(`${path}/IORT`);
      await Deno.writeFile(`${path}/${NAME}`, newc([[IORT_PATH, withCanwbs(table)]]));
      await Deno.remove(`${path}/IORT`);
      return {};
    },
  });
  return `${path}/${NAME}`;
}
