/**
 * On what was measured.
 * @module
 */
import { Tree } from "../probe/tree.ts";

/** A machine, and how busy it was. */
export interface MachineDescription {
  /** As the kernel names it. */
  readonly processor: string;
  readonly processors: number;
  readonly memoryMiB: number;
  readonly kernel: string;
  readonly architecture: string;
  /** Processes that wanted a processor in the last minute, on average, ours among them. */
  readonly load: number;
}

/** This machine, from its `/proc`. */
export function describeMachine(tree: Tree = new Tree()): MachineDescription {
  const cpu = tree.text("/proc/cpuinfo") ?? "";
  const memory = tree.text("/proc/meminfo") ?? "";
  return {
    processor: /^model name\s*:\s*(.*)$/m.exec(cpu)?.[1] ?? "unknown",
    processors: navigator.hardwareConcurrency,
    memoryMiB: Math.round(Number(/^MemTotal:\s*(\d+)/m.exec(memory)?.[1] ?? 0) / 1024),
    kernel: tree.text("/proc/sys/kernel/osrelease") ?? "unknown",
    architecture: Deno.build.arch,
    load: Number((tree.text("/proc/loadavg") ?? "0").split(" ")[0]),
  };
}

/** As a line for people. */
export function machineLine(machine: MachineDescription): string {
  const { processor, processors, memoryMiB, kernel, architecture, load } = machine;
  return `${processors} processors, ${processor} (${architecture}), ${memoryMiB} MiB; Linux ${kernel}; load ${
    load.toFixed(2)
  }`;
}
