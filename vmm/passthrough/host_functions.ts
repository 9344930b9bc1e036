/**
 * Functions that a host gives away, by what they are.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { Tree } from "../probe/tree.ts";

/** Kinds of functions, by their PCI class. */
export const FUNCTION_CLASS = { vf: 0x02_0000, nvme: 0x01_0802, dma: 0x00_ff00 } as const;

/** A kind. */
export type FunctionKind = keyof typeof FUNCTION_CLASS;

/** Character devices of one function for each of `kinds`, none twice. Throws an `EnvironmentError` when there are too few. */
export function findFunctions(kinds: readonly FunctionKind[], tree: Tree = new Tree()): string[] {
  const free = tree.names("/sys/class/vfio-dev")
    .sort((a, b) => Number(a.slice("vfio".length)) - Number(b.slice("vfio".length)));
  return kinds.map((kind) => {
    const at = free.findIndex((name) =>
      tree.number(`/sys/class/vfio-dev/${name}/device/class`) === FUNCTION_CLASS[kind]
    );
    if (at < 0) {
      throw new EnvironmentError(`This host gives away no more function of kind ${kind}`);
    }
    return `/dev/vfio/devices/${free.splice(at, 1)[0]}`;
  });
}
