/**
 * What the header of a trace says of the guest: nothing of the host that it ran on, as a trace goes from hand to hand.
 * @module
 */

/** What is known of the parts of a machine. */
export interface KnownParts {
  readonly kernel: { readonly release: string | undefined };
  readonly qemu: { readonly version: string };
}

/** What is chosen for the guest. */
export interface GuestChoice {
  readonly commandLine: string;
  readonly cpuCount: number;
  readonly memoryMiB: number;
}

/** The words. A kernel that somebody brought has a path and no release; the path is nobody's business. */
export function guestWords(
  { kernel, qemu }: KnownParts,
  { commandLine, cpuCount, memoryMiB }: GuestChoice,
): Record<string, string> {
  return {
    kernel: kernel.release ?? "the user's own",
    commandLine,
    cpuCount: String(cpuCount),
    memoryMiB: String(memoryMiB),
    qemu: qemu.version,
  };
}
