/**
 * A function of the host given to a guest: its registers pass through, its interrupts are messages of ours, which the
 * guest's SMMU translates, and its DMA is the hardware's own affair.
 * @module
 */
import type { DmaPort, MmioDevice, Requester } from "../../hw/device.ts";
import type { Bar, PciFunction } from "../../hw/pci/function.ts";
import { MSIX_ENTRY_BYTES, MsixVectors } from "../../hw/pci/msix_vectors.ts";
import { BAR0, CapabilityId, HEADER, MSIX, MSIX_CONTROL } from "../../hw/pci/registers.ts";
import { SystemError } from "../../uapi/errno.ts";
import type { Poller } from "../../uapi/poll.ts";
import { VFIO_PCI, VFIO_REGION_INFO_FLAG } from "../../uapi/vfio/region.ts";
import type { RegionArea } from "../../uapi/vfio/region_info.ts";
import type { MappedRegion } from "../vfio_user/mapped_region.ts";
import { AssignedConfig } from "./assigned_config.ts";
import { type ConfigPlan, planConfig } from "./config_policy.ts";
import type { HostFunction } from "./host_function.ts";
import { HostIntx, type ResampledLine } from "./host_intx.ts";
import { listenForNotices } from "./host_notices.ts";
import { HostVectors } from "./host_vectors.ts";
import type { PasidDecision } from "./pasid_choice.ts";
import { Recall, type RecallOwner } from "./recall.ts";
import { RemovableDevice } from "./removable_device.ts";
import { type Overlay, RegionBar } from "./region_bar.ts";

/** What it is made of. */
export interface AssignedFunctionOptions {
  /** For messages. */
  readonly name: string;
  /** Bound to an iommufd; its owner closes it. */
  readonly host: HostFunction;
  /** As whom its messages are sent. */
  readonly requester: Requester;
  /** The way of its messages. */
  readonly dma: DmaPort;
  /** Its wired interrupt. */
  readonly irq: ResampledLine;
  /** Whether it is shown a PASID capability. */
  readonly pasid: PasidDecision;
  /** What becomes of it when the host wants it back. */
  readonly recall: RecallOwner;
  /** Whether the VMM may map its registers, which keeps the function until the VMM unmaps them. */
  readonly isMappable: boolean;
  /** Waits for its interrupts. */
  readonly poller: Poller;
  /** Takes one line for people. */
  readonly log: (line: string) => void;
}

const CONFIG = VFIO_PCI.CONFIG_REGION_INDEX;
const BARS = 6;
const PAGE = 0x1000;
/** A BAR of I/O ports. §7.5.1.2.1. */
const BAR_IO = 1;

/** The function. */
export class AssignedFunction implements PciFunction, Disposable {
  readonly name: string;
  readonly config: MmioDevice;
  readonly bars: readonly Bar[];
  /** What of its BARs the VMM can map: all that is not ours, by index. */
  readonly mapped: ReadonlyMap<number, MappedRegion>;
  readonly #host: HostFunction;
  readonly #config: AssignedConfig;
  readonly #recall: Recall;
  readonly #log: (line: string) => void;
  readonly #plan: ConfigPlan;
  readonly #vectors: MsixVectors | undefined;
  readonly #hostVectors: HostVectors;
  readonly #hostIntx: HostIntx | undefined;
  readonly #stack = new DisposableStack();
  #isThere = true;

  /** Reads what the function is. Throws `SystemError`. */
  constructor(options: AssignedFunctionOptions) {
    const { name, host, requester, dma, irq, pasid, recall, isMappable, poller, log } = options;
    using stack = new DisposableStack();
    this.name = name;
    this.#host = host;
    this.#log = log;
    const space = new Uint8Array(host.region(CONFIG).sizeBytes);
    host.read(CONFIG, 0, space);
    const hasIntx = host.irq(VFIO_PCI.INTX_IRQ_INDEX).count > 0;
    this.#plan = planConfig(space, { hasIntx, pasid });
    for (const note of this.#plan.notes) log(note);
    const config = this.#config = new AssignedConfig(host, this.#plan, log);
    this.config = new RemovableDevice(config, this);
    const { msix } = this.#plan;
    this.#vectors = msix && new MsixVectors({ count: msix.count, requester, dma });
    const raise = (vector: number): void => this.#vectors?.raise(vector);
    this.#hostVectors = stack.use(new HostVectors(host, poller, raise));
    this.#hostIntx = hasIntx ? stack.use(new HostIntx(host, poller, irq)) : undefined;
    const release = (): void => {
      this.#withdraw();
      recall.release();
    };
    this.#recall = new Recall({ ask: (isLast) => recall.ask(isLast), release }, log);
    stack.use(listenForNotices(host, poller, {
      failed: () =>
        log(
          "The host reports an uncorrectable error of the function: what it did last may be wrong",
        ),
      wanted: () => this.#recall.requested(),
    }));
    this.bars = this.#makeBars(space);
    this.mapped = new Map(isMappable ? this.bars.flatMap(({ index }) => this.#makeMap(index)) : []);
    if (msix !== undefined) {
      const { offset, sizeBytes } = MSIX.MessageControl;
      config.watch(msix.offset + offset, sizeBytes, () => this.#configure());
      config.watch(HEADER.Command.offset, HEADER.Command.sizeBytes, () => this.#configure());
    }
    this.coldReset();
    this.#stack = stack.move();
  }

  /** Whether it is there for the guest: not any more when the host has it back. */
  get isThere(): boolean {
    return this.#isThere;
  }

  /** Function reset, of the hardware too; MSI-X is shown as what it is. */
  reset(): void {
    if (!this.isThere) return;
    this.#reset();
    this.#show(CapabilityId.MsiX);
    this.#attempt(() => this.#hostIntx?.enable());
  }

  /** As `reset()`, for another VMM: it would keep an MSI-X that it sees to itself, and send messages past the SMMU. */
  coldReset(): void {
    if (!this.isThere || this.#recall.left()) return;
    this.#reset();
    this.#show(CapabilityId.VendorSpecific);
  }

  /** Ends the watches; the hardware is quiet once its owner has closed it. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  /** Quiet: neither interrupts nor DMA; closing it resets it. */
  #withdraw(): void {
    this.#quieten();
    this.#isThere = false;
    this.#stack[Symbol.dispose]();
  }

  #reset(): void {
    this.#quieten();
    this.#vectors?.clear();
    this.#config.reset();
  }

  #quieten(): void {
    this.#attempt(() => this.#hostIntx?.disable());
    this.#attempt(() => this.#hostVectors.disable());
    // Who takes a function back has locked it against resets.
    if (!this.#recall.isWanted) this.#attempt(() => this.#host.reset());
    // Linux puts back what was there before; a reset of the function would leave it off the bus.
    this.#attempt(() => this.#host.write(CONFIG, HEADER.Command.offset, new Uint8Array(2)));
  }

  #show(id: number): void {
    if (this.#plan.msix !== undefined) this.#config.redefine(this.#plan.msix.offset, id);
  }

  /** Follows MSI-X Enable, Function Mask and Bus Master Enable. */
  #configure(): void {
    const { msix } = this.#plan;
    if (msix === undefined || this.#vectors === undefined) return;
    const control = this.#config.get(msix.offset + MSIX.MessageControl.offset, 2);
    const enabled = (control >>> MSIX_CONTROL.Enable.shift & 1) !== 0;
    this.#attempt(() => {
      // A function of the host has one kind of interrupt at a time.
      if (enabled) {
        this.#hostIntx?.disable();
        this.#hostVectors.enable(msix.count);
      } else {
        this.#hostVectors.disable();
        this.#hostIntx?.enable();
      }
    });
    this.#vectors.configure({
      enabled,
      masked: (control >>> MSIX_CONTROL.FunctionMask.shift & 1) !== 0,
      busMaster: (this.#config.get(HEADER.Command.offset, 2) >>> 2 & 1) !== 0,
    });
  }

  #makeBars(space: Uint8Array): Bar[] {
    const bars: Bar[] = [];
    for (let index = 0; index < BARS; index++) {
      const { sizeBytes } = this.#host.region(VFIO_PCI.BAR0_REGION_INDEX + index);
      if (sizeBytes === 0 || (space[BAR0 + 4 * index] & BAR_IO) !== 0) continue;
      const device = new RegionBar(this.#host, index, this.#overlays(index), this.#log);
      bars.push({ index, sizeBytes, device: new RemovableDevice(device, this) });
    }
    return bars;
  }

  #overlays(bar: number): Overlay[] {
    const { msix } = this.#plan;
    if (msix === undefined || this.#vectors === undefined) return [];
    const { count, table, pending } = msix;
    const overlays: Overlay[] = [];
    if (table.bar === bar) {
      const sizeBytes = count * MSIX_ENTRY_BYTES;
      overlays.push({ offset: table.offset, sizeBytes, device: this.#vectors.table });
    }
    if (pending.bar === bar) {
      const sizeBytes = Math.ceil(count / 64) * 8;
      overlays.push({ offset: pending.offset, sizeBytes, device: this.#vectors.pending });
    }
    return overlays;
  }

  /** Pages of a BAR that the host lets us map, and in which nothing is ours. */
  #makeMap(bar: number): [number, MappedRegion][] {
    const { flags, offset, sizeBytes, sparse } = this.#host.region(bar);
    if ((flags & VFIO_REGION_INFO_FLAG.MMAP) === 0) return [];
    const areas = pagesWithout(sparse ?? [{ offset: 0, sizeBytes }], this.#overlays(bar));
    return areas.length === 0 ? [] : [[bar, { fd: this.#host.fd, offset, areas }]];
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#log(error.message);
    }
  }
}

/** The whole pages of `areas` that `overlays` leave alone, ascending. */
function pagesWithout(areas: readonly RegionArea[], overlays: readonly Overlay[]): RegionArea[] {
  return areas.flatMap(({ offset, sizeBytes }) => {
    const end = offset + sizeBytes;
    const cuts = overlays.filter((cut) => cut.offset < end && cut.offset + cut.sizeBytes > offset)
      .toSorted((a, b) => a.offset - b.offset);
    const free: RegionArea[] = [];
    let at = offset;
    for (const cut of [...cuts, { offset: end, sizeBytes: 0 }]) {
      const first = Math.ceil(at / PAGE) * PAGE;
      const last = Math.floor(cut.offset / PAGE) * PAGE;
      if (last > first) free.push({ offset: first, sizeBytes: last - first });
      at = Math.max(at, cut.offset + cut.sizeBytes);
    }
    return free;
  });
}
