/**
 * How often guests leave KVM for the registers of an SMMU, as the kernel counts it: the tracepoint `kvm_mmio`.
 * Linux Documentation/trace/ftrace.rst "Instances", include/trace/events/kvm.h.
 * @module
 */
import { barPlace, CARRIAGE } from "../qemu/carriage.ts";

/** `kvm_mmio` says of a read that it begins, 0, and that it is done, 1; of a write 2. */
const READ_DONE = 1;

/** Where a guest of QEMU's board `virt` may have an SMMU, and nothing else that it uses. QEMU hw/arm/virt.c `base_memmap`. */
const PLACES: readonly { readonly gpa: number; readonly sizeBytes: number }[] = [
  { gpa: 0x0905_0000, sizeBytes: 0x2_0000 },
  // The platform bus, to which `-device arm-smmuv3` goes.
  { gpa: 0x0c00_0000, sizeBytes: 0x200_0000 },
  // Ours, at the top of the window of PCI.
  { gpa: barPlace(0x1000_0000, 0x2eff_0000), sizeBytes: CARRIAGE.barSizeBytes },
];

/** Counts until it is disposed. */
export class SmmuExits implements Disposable {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Begins; `undefined` where the kernel does not trace KVM, or not for us. */
  static start(tracing: string = "/sys/kernel/tracing"): SmmuExits | undefined {
    const path = `${tracing}/instances/vsmmu-${Deno.pid}`;
    try {
      Deno.mkdirSync(path);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    const exits = new SmmuExits(path);
    try {
      const event = `${path}/events/kvm/kvm_mmio`;
      Deno.writeTextFileSync(`${event}/filter`, filter());
      Deno.writeTextFileSync(`${event}/enable`, "1");
      return exits;
    } catch (error) {
      exits[Symbol.dispose]();
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** How many there were, of all guests. */
  get count(): number {
    const folder = `${this.#path}/per_cpu`;
    return [...Deno.readDirSync(folder)].reduce(
      (sum, { name }) => sum + tracedIn(Deno.readTextFileSync(`${folder}/${name}/stats`)),
      0,
    );
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.#path);
  }
}

/** Whether something is not there, or not for us. */
function isMissing(error: unknown): boolean {
  const { NotFound, PermissionDenied, NotCapable } = Deno.errors;
  return error instanceof NotFound || error instanceof PermissionDenied ||
    error instanceof NotCapable;
}

/** How many events a processor's buffer has had, by its `stats`: those that it holds, and those that it lost to newer ones. */
export function tracedIn(stats: string): number {
  return [...stats.matchAll(/^(?:entries|overrun): (\d+)$/gm)]
    .reduce((sum, [, count]) => sum + Number(count), 0);
}

/** What of `kvm_mmio` counts. */
export function filter(): string {
  const places = PLACES.map(({ gpa, sizeBytes }) =>
    `(gpa >= 0x${gpa.toString(16)} && gpa < 0x${(gpa + sizeBytes).toString(16)})`
  );
  return `type != ${READ_DONE} && (${places.join(" || ")})`;
}
