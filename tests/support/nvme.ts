/**
 * The least of a driver for NVMe that makes a disk read and write memory. NVM Express Base Specification §3.1, §4, §5.
 * @module
 */
import type { Mapping } from "../../uapi/mapping.ts";
import type { VfioDevice } from "../../uapi/vfio/vfio_device.ts";

const [CONFIG_REGION, PCI_COMMAND] = [7, 4];
const MEMORY_AND_BUS_MASTER = 6;
/** Registers, by word. */
const [CC, CSTS, AQA, ASQ, ACQ, DOORBELL] = [0x14 / 4, 0x1c / 4, 9, 10, 12, 0x1000 / 4];
const [RDY, CFS] = [1, 2];
const ENTRIES = 4;
const IDENTIFY = 6;

/** The admin queues of a disk. */
export class Nvme implements Disposable {
  readonly #mapping: Mapping;
  readonly #registers: Uint32Array;
  #tail = 0;

  /** Lets the device master the bus, and maps its registers. */
  constructor(device: VfioDevice) {
    const command = new Uint8Array(new ArrayBuffer(2));
    device.read(CONFIG_REGION, PCI_COMMAND, command);
    command[0] |= MEMORY_AND_BUS_MASTER;
    device.write(CONFIG_REGION, PCI_COMMAND, command);
    this.#mapping = device.map(0, 0, device.region(0).sizeBytes);
    this.#registers = new Uint32Array(this.#mapping.buffer);
  }

  /** Whether the controller has met what it cannot go on from. */
  get isFatal(): boolean {
    return (this.#registers[CSTS] & CFS) !== 0;
  }

  /** Starts the controller anew, with its queues of four entries at IOVAs below 4 GiB. */
  async enable(submissions: number, completions: number): Promise<void> {
    const registers = this.#registers;
    registers[CC] = 0;
    await until(() => (registers[CSTS] & RDY) === 0, "disabled");
    registers[AQA] = ((ENTRIES - 1) << 16) | (ENTRIES - 1);
    [registers[ASQ], registers[ASQ + 1]] = [submissions, 0];
    [registers[ACQ], registers[ACQ + 1]] = [completions, 0];
    // Entries of 16 and 64 bytes, pages of 4 KiB.
    registers[CC] = (4 << 20) | (6 << 16) | 1;
    await until(() => (registers[CSTS] & RDY) !== 0, "enabled");
    this.#tail = 0;
  }

  /** Writes an Identify Controller into the queue at `submissions`, its answer to go to the IOVA `into`. */
  writeIdentify(submissions: Uint32Array, into: number): void {
    const at = this.#tail * 16;
    submissions.fill(0, at, at + 16);
    submissions[at] = IDENTIFY | (this.#tail << 16);
    submissions[at + 6] = into;
    submissions[at + 10] = 1;
  }

  /** Tells the controller that there is one more command. */
  ring(): void {
    this.#tail = (this.#tail + 1) % ENTRIES;
    this.#registers[DOORBELL] = this.#tail;
  }

  /** Stops the controller. */
  [Symbol.dispose](): void {
    this.#registers[CC] = 0;
    this.#mapping[Symbol.dispose]();
  }
}

/** Waits until `done`, at most ten seconds. */
export async function until(done: () => boolean, what: string): Promise<void> {
  for (let waits = 0; waits < 1000; waits++) {
    if (done()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Not ${what} after ten seconds`);
}
