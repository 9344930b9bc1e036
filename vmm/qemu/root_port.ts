/**
 * Root ports of the machine that have a function behind them. PCI-to-PCI Bridge Architecture Specification §3.2.5.
 * @module
 */
import { UNPLACED } from "../endpoint_places.ts";
import { functionAddress } from "./carriage.ts";

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
