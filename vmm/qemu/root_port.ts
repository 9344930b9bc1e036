/**
 * Root ports of the machine that have a function behind them. PCI-to-PCI Bridge Architecture Specification §3.2.5.
 * @module
 */
import { UNPLACED } from "../endpoint_places.ts";
import { EnvironmentError } from "../environment_error.ts";
import { functionAddress, type PhysicalAccess } from "./carriage.ts";

/** Capabilities Pointer, in this word. */
const CAPABILITIES = 0x34;
const EXPRESS = 0x10;
/** Slot Control, in the PCI Express capability. PCI Express Base §7.5.3.10. */
const SLOT_CONTROL = 0x18;
/** Power Indicator Control and Power Controller Control, with which both say off. */
const POWER = 0x0700;
/** More capabilities than there is room for. */
const MOST_CAPABILITIES = 48;

/** Secondary Bus Number, in the second byte of this word. */
const BUS_NUMBERS = 0x18;

/**
 * The StreamID of the function behind the root port in `slot` of bus 0, by the number that the guest has given its bus;
 * `UNPLACED` while it has given none.
 */
export async function streamIdBehind(
  machine: { readl(gpa: number): Promise<number> },
  ecam: number,
  slot: number,
): Promise<number> {
  const numbers = await machine.readl(functionAddress(ecam, 0, slot) + BUS_NUMBERS);
  const bus = numbers >>> 8 & 0xff;
  return bus === 0 ? UNPLACED : bus << 8;
}

/**
 * Switches the slot of the root port in `slot` of bus 0 off, as a driver does that has let go of what is in it: QEMU unplugs
 * that then, whether the guest agrees or not, and tells the guest's port. QEMU `hw/pci/pcie.c`. Throws an `EnvironmentError`
 * when there is no root port.
 */
export async function powerOffSlot(
  machine: Pick<PhysicalAccess, "readl" | "writew">,
  ecam: number,
  slot: number,
): Promise<void> {
  const port = functionAddress(ecam, 0, slot);
  let at = await machine.readl(port + CAPABILITIES) & 0xfc;
  for (let left = MOST_CAPABILITIES; left > 0 && at !== 0; left--) {
    const header = await machine.readl(port + at);
    if ((header & 0xff) === EXPRESS) {
      const control = await machine.readl(port + at + SLOT_CONTROL) & 0xffff;
      return await machine.writew(port + at + SLOT_CONTROL, control | POWER);
    }
    at = header >>> 8 & 0xfc;
  }
  throw new EnvironmentError(`Cannot unplug what is in slot ${slot}: there is no root port`);
}
