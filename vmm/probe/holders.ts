/**
 * Which programs have VFIO's files open: such devices are left alone.
 * @module
 */
import type { Tree } from "./tree.ts";

const NODES = "/dev/vfio/";

/** Programs, such as `qemu (1234)`, by the path of the node below `/dev/vfio` that they hold. */
export type Holders = Readonly<Record<string, readonly string[]>>;

/** Looks at the descriptors of all processes; `hidden` counts those that this user may not look at. */
export function holders(tree: Tree): { readonly byPath: Holders; readonly hidden: number } {
  const byPath: Record<string, string[]> = {};
  let hidden = 0;
  for (const pid of tree.names("/proc").filter((name) => /^\d+$/.test(name))) {
    const quiet = tree.apart();
    const folder = `/proc/${pid}/fd`;
    const paths = new Set(quiet.names(folder).map((number) => quiet.link(`${folder}/${number}`)));
    if (quiet.unread.length > 0) hidden++;
    for (const path of paths) {
      if (!path?.startsWith(NODES)) continue;
      const name = quiet.text(`/proc/${pid}/comm`) ?? "a program";
      (byPath[path] ??= []).push(`${name} (${pid})`);
    }
  }
  return { byPath, hidden };
}
