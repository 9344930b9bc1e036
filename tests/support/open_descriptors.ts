/**
 * What this process holds open, to find leaks: Deno's own sanitizer does not see descriptors made through FFI.
 * Needs `--allow-read=/proc`, and test files that do not run in parallel, because they share one process.
 * @module
 */

/** Targets of all open descriptors, sorted. */
export function openDescriptors(): string[] {
  const targets: string[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      targets.push(Deno.readLinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The descriptor of the directory itself is gone by now.
    }
  }
  return targets.sort();
}
