/**
 * The guest kernel's command line, with which our initramfs is told what to do; see `provision/guest_init.sh`.
 * @module
 */

/** Where `fault` has the DMA test device write. */
export const FAULT_IOVA = 0x1234_5678_0000n;

/** What a guest is to do. */
export interface GuestWork {
  readonly actions: readonly string[];
  /** MiB that `bench` reads each time. */
  readonly benchMiB: number;
  /** Added at the end. */
  readonly append: string;
}

/** The command line. */
export function commandLineOf({ actions, benchMiB, append }: GuestWork): string {
  const words = ["console=ttyAMA0", `vsmmu.run=${actions.join(",")}`];
  if (actions.includes("fault")) words.push(`vsmmu.iova=0x${FAULT_IOVA.toString(16)}`);
  // It looks at a bus that Linux does not know, past Linux.
  if (actions.includes("renumber")) words.push("iomem=relaxed");
  if (actions.includes("bench")) words.push(`vsmmu.mib=${benchMiB}`);
  if (append !== "") words.push(append);
  return words.join(" ");
}
