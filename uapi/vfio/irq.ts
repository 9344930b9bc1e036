/**
 * Interrupts of a VFIO device. linux/vfio.h of Linux 7.3.
 * @module
 */
import { struct, StructBuffer, u32, u8 } from "../struct.ts";

/** Flags of `vfio_irq_info`. */
export const VFIO_IRQ_INFO = { EVENTFD: 1, MASKABLE: 2, AUTOMASKED: 4, NORESIZE: 8 } as const;

/** Argument of VFIO_DEVICE_GET_IRQ_INFO. */
export const vfio_irq_info = struct(16, {
  argsz: u32(0),
  flags: u32(4),
  index: u32(8),
  count: u32(12),
});

/** Flags of `vfio_irq_set`: one DATA and one ACTION. */
export const VFIO_IRQ_SET = {
  DATA_NONE: 1,
  DATA_BOOL: 2,
  DATA_EVENTFD: 4,
  ACTION_MASK: 8,
  ACTION_UNMASK: 0x10,
  ACTION_TRIGGER: 0x20,
  DATA_TYPE_MASK: 7,
  ACTION_TYPE_MASK: 0x38,
} as const;

/** Argument of VFIO_DEVICE_SET_IRQS. */
export const vfio_irq_set = struct(20, {
  argsz: u32(0),
  flags: u32(4),
  index: u32(8),
  start: u32(12),
  count: u32(16),
  data: u8(20, 0),
});

/** Interrupts of one kind. */
export interface IrqInfo {
  /** Of VFIO_IRQ_INFO. */
  readonly flags: number;
  /** How many there are. */
  readonly count: number;
}

/** What interrupts are to do. */
export interface IrqSet {
  /** Their index, such as those of VFIO_PCI. */
  readonly index: number;
  /** The first one. */
  readonly start?: number;
  /** Of VFIO_IRQ_SET: one ACTION. */
  readonly action: number;
  /** One for each interrupt: the eventfd to signal, or to be signalled by; -1 for none. */
  readonly eventfds?: readonly number[];
  /** One for each interrupt: whether to do it. */
  readonly bools?: readonly boolean[];
  /** How many, when all of them are simply to do it; 0 with TRIGGER switches the interrupts off. */
  readonly count?: number;
}

/** Reads the answer of VFIO_DEVICE_GET_IRQ_INFO. */
export function readIrqInfo(answer: StructBuffer<typeof vfio_irq_info.fields>): IrqInfo {
  return { flags: answer.get("flags"), count: answer.get("count") };
}

/** The argument of VFIO_DEVICE_SET_IRQS. */
export function irqSetBytes(set: IrqSet): Uint8Array<ArrayBuffer> {
  const { index, start = 0, action, eventfds, bools } = set;
  const { DATA_EVENTFD, DATA_BOOL, DATA_NONE } = VFIO_IRQ_SET;
  const type = eventfds ? DATA_EVENTFD : bools ? DATA_BOOL : DATA_NONE;
  const tail = eventfds ? eventfds.length * 4 : bools?.length ?? 0;
  const argument = new StructBuffer(vfio_irq_set, tail);
  argument.fill({
    argsz: argument.bytes.length,
    flags: type | action,
    index,
    start,
    count: eventfds?.length ?? bools?.length ?? set.count ?? 0,
  });
  eventfds?.forEach((fd, i) => argument.view.setInt32(vfio_irq_set.size + i * 4, fd, true));
  bools?.forEach((bool, i) => argument.set("data", bool ? 1 : 0, i));
  return argument.bytes;
}
