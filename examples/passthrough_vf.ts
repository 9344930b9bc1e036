/**
 * A function of an Arm host given to a Linux guest: its DMA is translated by the guest's own tables, in hardware.
 *
 *     deno run -A examples/passthrough_vf.ts 0000:01:10.0
 * @module
 */
import { runMicrovm } from "../mod.ts";

const result = await runMicrovm({
  parts: {},
  assign: Deno.args,
  cpuCount: 2,
  memoryMiB: 1024,
  append: "",
  actions: ["shell"],
  benchMiB: 8,
  interrupts: "msix",
  iommufd: "kernel",
  interactive: true,
  timeoutSeconds: 86_400,
  console: print,
  progress: print,
  signal: new AbortController().signal,
});
print(JSON.stringify(result.summary.iommufd, undefined, 2));
Deno.exit(result.ok ? 0 : 1);

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
