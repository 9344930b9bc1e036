/**
 * A host that takes a function back from the guest that has it, as its administrator would: away from vfio-pci, and to it
 * again. Linux Documentation/ABI/testing/sysfs-bus-pci, `unbind` and `bind`.
 * @module
 */
import { KernelIommufd } from "../iommufd/kernel.ts";

const DRIVER = "/sys/bus/pci/drivers/vfio-pci";

/** What came of it. */
export interface TakenBack {
  /** How long the write to `unbind` took, which returns when nobody has the function open any more. */
  readonly seconds: number;
  /** Why it is not there for the next guest, if it is not. */
  readonly failure: string | undefined;
}

/** Takes the function at a PCI address back, and sees whether somebody else could have it then. Never rejects. */
export async function takeBack(address: string): Promise<TakenBack> {
  const began = performance.now();
  let failure: string | undefined;
  try {
    await Deno.writeTextFile(`${DRIVER}/unbind`, address);
  } catch (error) {
    failure = (error as Error).message;
  }
  const seconds = (performance.now() - began) / 1000;
  try {
    await Deno.writeTextFile(`${DRIVER}/bind`, address);
    const [{ name }] = Deno.readDirSync(`/sys/bus/pci/devices/${address}/vfio-dev`);
    using iommufd = KernelIommufd.open();
    using _device = iommufd.bindVfio(`/dev/vfio/devices/${name}`);
  } catch (error) {
    failure ??= (error as Error).message;
  }
  return { seconds, failure };
}
