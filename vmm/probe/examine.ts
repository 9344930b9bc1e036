/**
 * Asks a device for each step of nested translation, and gives everything back.
 *
 * The device is opened, which resets it; nothing of its registers is touched, no memory is mapped for it, and it is
 * left in a state in which it reaches nothing.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import { type HostIdentity, hostIdentity } from "../host_iommu/host_identity.ts";
import type { BoundDevice, HwInfo, Iommufd, IovaRange } from "../iommufd/iommufd.ts";
import type { Examination, StepName } from "./examination.ts";

/** How devices are opened. */
export interface Doors {
  /** Opens `/dev/iommu`. Throws `SystemError`. */
  iommufd(): Iommufd;
  /** Opens the cdev at `path` and binds it. Throws `SystemError`. */
  bind(iommufd: Iommufd, path: string): BoundDevice;
}

const NEST_PARENT = 1;
const DIRTY_TRACKING = 2;
const NONE = 0;
const ARM_SMMUV3 = 2;
const VIOMMU_ARM_SMMUV3 = 1;
const VEVENTQ_ARM_SMMUV3 = 1;

/** A stream table entry with V=1 and Config=4: bypass. */
const BYPASS = Uint8Array.of(0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** Asks the device at `address`, whose cdev is at `path`. Does not throw what the kernel refuses. */
export function examine(doors: Doors, address: string, path: string): Examination {
  const steps: Partial<Record<StepName, string>> = {};
  const answers: Answers = {};
  const leftOver: string[] = [];
  try {
    // Closing it takes back whatever could not be given back.
    using iommufd = step(steps, "open", () => doors.iommufd());
    using device = step(steps, "bind", () => doors.bind(iommufd, path));
    new Visit(iommufd, device, steps, answers, leftOver).run();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
  }
  return { address, steps, ...answers, leftOver };
}

interface Answers {
  hwInfoType?: number;
  identity?: HostIdentity;
  maxPasidLog2?: number;
  capabilities?: number;
  ranges?: readonly IovaRange[];
  alignment?: number;
}

/** Does one step and notes what came of it; what the kernel refuses ends the visit. */
function step<T>(steps: Partial<Record<StepName, string>>, name: StepName, act: () => T): T {
  try {
    const result = act();
    steps[name] = "ok";
    return result;
  } catch (error) {
    if (error instanceof SystemError) steps[name] = error.code;
    throw error;
  }
}

/** One device, bound. */
class Visit {
  readonly #iommufd: Iommufd;
  readonly #device: BoundDevice;
  readonly #steps: Partial<Record<StepName, string>>;
  readonly #answers: Answers;
  readonly #leftOver: string[];

  constructor(
    iommufd: Iommufd,
    device: BoundDevice,
    steps: Partial<Record<StepName, string>>,
    answers: Answers,
    leftOver: string[],
  ) {
    this.#iommufd = iommufd;
    this.#device = device;
    this.#steps = steps;
    this.#answers = answers;
    this.#leftOver = leftOver;
  }

  run(): void {
    const info = this.#step("hwInfo", () => this.#iommufd.getHwInfo(this.#device.devId));
    this.#note(info);
    if (info.dataType !== ARM_SMMUV3) return;
    using stack = new DisposableStack();
    const ioas = this.#object(stack, "ioas", () => this.#iommufd.ioasAlloc());
    this.#tryDirtyTracking(ioas);
    const parent = this.#object(stack, "nestParent", () => this.#hwpt(NEST_PARENT, ioas));
    this.#step("attach", () => this.#device.attach(parent));
    stack.defer(() => this.#giveBack("the attachment", () => this.#device.detach()));
    const found = this.#step("iovaRanges", () => this.#iommufd.ioasIovaRanges(ioas));
    this.#answers.ranges = found.ranges;
    this.#answers.alignment = Number(found.alignment);
    this.#nest(stack, parent);
  }

  #nest(stack: DisposableStack, parent: number): void {
    const { devId } = this.#device;
    const viommuId = this.#object(
      stack,
      "viommu",
      () => this.#iommufd.viommuAlloc({ flags: 0, type: VIOMMU_ARM_SMMUV3, devId, hwptId: parent }),
    );
    this.#object(
      stack,
      "vdevice",
      () => this.#iommufd.vdeviceAlloc({ viommuId, devId, virtId: 0n }),
    );
    const queue = this.#step(
      "veventq",
      () => this.#iommufd.veventqAlloc({ flags: 0, viommuId, type: VEVENTQ_ARM_SMMUV3, depth: 1 }),
    );
    stack.defer(() => this.#giveBack("veventq", () => this.#iommufd.destroy(queue.id)));
    stack.use(queue);
    const nested = this.#object(stack, "nested", () =>
      this.#iommufd.hwptAlloc({
        flags: 0,
        devId,
        ptId: viommuId,
        dataType: ARM_SMMUV3,
        data: BYPASS,
      }));
    this.#step("attachNested", () => this.#device.attach(nested));
    stack.defer(() => this.#giveBack("the attachment", () => this.#device.attach(parent)));
  }

  #note({ dataType, data, maxPasidLog2, capabilities }: HwInfo): void {
    const answers = this.#answers;
    answers.hwInfoType = dataType;
    answers.maxPasidLog2 = maxPasidLog2;
    answers.capabilities = Number(capabilities);
    if (dataType === ARM_SMMUV3) answers.identity = hostIdentity(data);
  }

  /** A nested guest does without: a refusal is an answer. */
  #tryDirtyTracking(ioas: number): void {
    try {
      using stack = new DisposableStack();
      this.#object(stack, "dirtyTracking", () => this.#hwpt(DIRTY_TRACKING, ioas));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }

  #hwpt(flags: number, ptId: number): number {
    return this.#iommufd.hwptAlloc({ flags, devId: this.#device.devId, ptId, dataType: NONE });
  }

  /** Makes an object that is destroyed with `stack`. */
  #object(stack: DisposableStack, name: StepName, make: () => number): number {
    const id = this.#step(name, make);
    stack.defer(() => this.#giveBack(name, () => this.#iommufd.destroy(id)));
    return id;
  }

  #step<T>(name: StepName, act: () => T): T {
    return step(this.#steps, name, act);
  }

  #giveBack(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#leftOver.push(`${what}: ${error.message}`);
    }
  }
}
