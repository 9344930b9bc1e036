/**
 * A Linux guest under QEMU whose disk goes through our SMMUv3, and what the device counted.
 *
 *     deno task example:qemu
 * @module
 */
import { runMicrovm } from "../mod.ts";

const result = await runMicrovm({
  parts: {},
  cpuCount: 2,
  memoryMiB: 1024,
  append: "",
  actions: ["disk"],
  benchMiB: 128,
  interrupts: "msix",
  iommufd: "model",
  interactive: false,
  timeoutSeconds: 300,
  console: print,
  progress: print,
  signal: AbortSignal.timeout(600_000),
});
print(JSON.stringify(result.summary, undefined, 2));
Deno.exit(result.ok ? 0 : 1);

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
