/**
 * Asks the devices of a host that are free, and says of the others why they were not asked.
 * @module
 */
import type { Examination } from "./examination.ts";
import { type Doors, examine } from "./examine.ts";
import type { Facts, FileFacts } from "./facts.ts";
import { functionReasons } from "./function_reasons.ts";

/** The doors of this kernel. */
export interface KernelDoors extends Doors {
  /** The calls of iommufd that the kernel does not have. Throws `SystemError`. */
  missingCalls(): string[];
}

/** Adds what devices answer to what files tell. A device that is in use, or cannot be given away, is not opened. */
export function ask(files: FileFacts, doors: KernelDoors): Facts {
  if (files.kernel.iommufd !== "usable") {
    return notAsked(files, `/dev/iommu is ${files.kernel.iommufd}`);
  }
  const examinations: Examination[] = [];
  const unseen: string[] = [];
  const quiet = notAsked(files, "");
  for (const { address, isVfio, cdev } of files.functions) {
    if (!isVfio) continue;
    const [reason] = functionReasons(quiet, address);
    if (reason !== undefined) unseen.push(`${address} was not opened: ${reason.why}`);
    else if (cdev !== undefined) examinations.push(examine(doors, address, cdev.path));
  }
  return { ...files, missingCalls: doors.missingCalls(), examinations, unseen };
}

/** Facts of a host whose devices are left alone. */
export function notAsked(files: FileFacts, why: string): Facts {
  return { ...files, examinations: [], unseen: [`No device was opened: ${why}`] };
}
