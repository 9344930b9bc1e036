/**
 * The carriage of the SMMU: its registers are BAR0 of a PCI function on a bus that the guest never scans, and we do what
 * firmware would do for that bus. A second function there may have the same registers as memory, and cover the first or lie
 * aside. QEMU `hw/pci-bridge/pci_expander_bridge.c`, PCI-to-PCI bridge configuration header.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";

/** Where the function sits: behind an expander's root port, since an expander bus itself takes no endpoints. */
export const CARRIAGE = {
  /** Slot of the expander on bus 0. It has no interrupt and no BAR. */
  expanderSlot: 31,
  /** Bus number of the expander: one above the last bus that the guest's device tree names. */
  portBus: 0x80,
  /** Slot of the root port on its bus; decides which interrupt line the function gets. */
  portSlot: 3,
  /** Bus of the function itself, in slot 0. */
  bus: 0x81,
  /** The function beside it whose registers are memory, where there is one. */
  memory: 1,
  /** Interrupt pin of the function: 1 is INTA. */
  pin: 1,
  /** Size of each BAR0: the two 64 KiB register pages of an SMMUv3. IHI 0070 §6.1. */
  barSizeBytes: 0x2_0000,
} as const;

/** Bridges forward memory in units of 1 MiB. */
const BRIDGE_UNIT = 0x10_0000;

/** Guest physical addresses that the carriage needs. */
export interface CarriageAddresses {
  /** Configuration space of bus 0, slot 0. */
  readonly ecam: number;
  /** BAR0 of a function: what the guest knows as its SMMU. A multiple of 1 MiB. */
  readonly bar: number;
}

/** What programming needs of the machine: its physical addresses, while the guest stands still. */
export interface PhysicalAccess {
  /** Reads 32 bits at `gpa`. */
  readl(gpa: number): Promise<number>;
  /** Writes 32 bits at `gpa`. */
  writel(gpa: number, value: number): Promise<void>;
  /** Writes 16 bits at `gpa`. */
  writew(gpa: number, value: number): Promise<void>;
}

/**
 * The pin, 1 to 4, as which a bridge passes on interrupt pin `pin` of a function in `slot` behind it. PCI-to-PCI Bridge
 * Architecture Specification §9.1, "Interrupt Routing".
 */
export function swizzle(slot: number, pin: number): number {
  return (slot + pin - 1) % 4 + 1;
}

/** Whether INTA of a function in `slot` of bus 0 is the line that the SMMU has to itself. */
export function sharesInterrupt(slot: number): boolean {
  const port = swizzle(CARRIAGE.portSlot, swizzle(0, CARRIAGE.pin));
  return swizzle(slot, 1) === port;
}

/** The place for the BAR: the highest whole bridge unit inside the window of `sizeBytes` at `base`. */
export function barPlace(base: number, sizeBytes: number): number {
  const end = base + sizeBytes;
  return end - end % BRIDGE_UNIT - BRIDGE_UNIT;
}

const VENDOR_ID = 0x00;
const COMMAND = 0x04;
const BAR0 = 0x10;
const BAR1 = 0x14;
const BUS_NUMBERS = 0x18;
const MEMORY_WINDOW = 0x20;

/** Configuration space from one function of a device to the next. */
const FUNCTION_STEP = 0x1000;

/** Memory decoding and bus mastering: the function answers in its BAR and may send its messages. */
const MEMORY_AND_MASTER = 0x6;

/**
 * Gives the buses behind the expander their numbers and windows and the functions their addresses, then reads all of
 * it back, down to the first register of the SMMU, which traps from now on. The guest must stand still. To be
 * repeated after every reset of the machine, which clears it. Throws an `EnvironmentError` that says which part does
 * not answer.
 */
export async function programCarriage(
  machine: PhysicalAccess,
  addresses: CarriageAddresses,
): Promise<void> {
  const port = functionAddress(addresses.ecam, CARRIAGE.portBus, CARRIAGE.portSlot);
  const carrier = functionAddress(addresses.ecam, CARRIAGE.bus, 0);

  await expectFunction(machine, port, "the root port of the SMMU");
  await machine.writel(port + BUS_NUMBERS, busNumbers(CARRIAGE.portBus, CARRIAGE.bus));
  await machine.writel(port + MEMORY_WINDOW, memoryWindow(addresses.bar));
  await machine.writew(port + COMMAND, MEMORY_AND_MASTER);

  await expectFunction(machine, carrier, "the function that carries the SMMU");
  await place(machine, carrier, addresses.bar, "the SMMU");
  const memory = carrier + CARRIAGE.memory * FUNCTION_STEP;
  if (await isThere(machine, memory)) {
    await place(machine, memory, aside(addresses), "the SMMU's memory");
  }
  if (await machine.readl(addresses.bar) === 0xffff_ffff) {
    throw new EnvironmentError("Cannot reach the registers of the SMMU: IDR0 reads as all ones");
  }
}

/**
 * Has the guest meet registers that are memory in the place of its SMMU, or such that trap, while it runs. Only where
 * the function for that is there. QEMU shows the BAR that was moved last (`pci_update_mappings()`).
 */
export async function showRegisters(
  machine: PhysicalAccess,
  addresses: CarriageAddresses,
  areMemory: boolean,
): Promise<void> {
  const carrier = functionAddress(addresses.ecam, CARRIAGE.bus, 0);
  const at = carrier + CARRIAGE.memory * FUNCTION_STEP + BAR0;
  await machine.writel(at, areMemory ? addresses.bar : aside(addresses));
}

/** A place behind the root port of which the guest knows nothing. */
function aside({ bar }: CarriageAddresses): number {
  return bar + CARRIAGE.barSizeBytes;
}

async function place(
  machine: PhysicalAccess,
  carrier: number,
  at: number,
  what: string,
): Promise<void> {
  await machine.writel(carrier + BAR0, at);
  await machine.writel(carrier + BAR1, 0);
  await machine.writew(carrier + COMMAND, MEMORY_AND_MASTER);
  await expectWord(machine, carrier + BAR0, 0xffff_fff0, at, `BAR0 of ${what}`);
  await expectWord(machine, carrier + COMMAND, 0x7, MEMORY_AND_MASTER, "the command register");
}

/** The address of a function's configuration space. PCI Express Base §7.2.2, "Enhanced Configuration Access Mechanism". */
export function functionAddress(ecam: number, bus: number, slot: number): number {
  return ecam + bus * 0x10_0000 + slot * 0x8000;
}

function busNumbers(primary: number, secondary: number): number {
  return secondary << 16 | secondary << 8 | primary;
}

function memoryWindow(base: number): number {
  const unit = base >>> 16 & 0xfff0;
  return (unit << 16 | unit) >>> 0;
}

async function isThere(machine: PhysicalAccess, at: number): Promise<boolean> {
  const id = await machine.readl(at + VENDOR_ID) & 0xffff;
  return id !== 0xffff && id !== 0;
}

async function expectFunction(machine: PhysicalAccess, at: number, what: string): Promise<void> {
  if (await isThere(machine, at)) return;
  throw new EnvironmentError(`Cannot find ${what} on the PCI bus`);
}

async function expectWord(
  machine: PhysicalAccess,
  at: number,
  mask: number,
  expected: number,
  what: string,
): Promise<void> {
  const value = (await machine.readl(at) & mask) >>> 0;
  if (value !== expected) {
    throw new EnvironmentError(
      `Cannot program ${what}: wrote ${hex(expected)}, read ${hex(value)}`,
    );
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
