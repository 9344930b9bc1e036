/**
 * The guest's device tree: QEMU's own, with an SMMUv3 in front of its PCI functions. Linux
 * `Documentation/devicetree/bindings/iommu/arm,smmu-v3.yaml` and `bindings/pci/pci-iommu.txt`.
 * @module
 */
import type { Board } from "./board.ts";
import { barPlace, CARRIAGE, type CarriageAddresses, swizzle } from "./carriage.ts";
import { dumpArguments, type Endpoint, type MachineConfiguration } from "./machine_arguments.ts";
import { EnvironmentError } from "../environment_error.ts";
import { run, type Tool } from "../tool.ts";

/** The programs that make a device tree. */
export interface DeviceTreeTools {
  readonly qemu: Tool;
  /** The device tree compiler. */
  readonly dtc: Tool;
}

/** Properties of QEMU's PCI host, as 32-bit cells. */
export interface PciHost {
  /** Address and size of ECAM. */
  readonly reg: readonly number[];
  /** Windows: type, PCI address, CPU address, size, in 1 + 2 + 2 + 2 cells. */
  readonly ranges: readonly number[];
  /** Sixteen rows: slot, 0, 0, pin, controller, its address, and three cells of interrupt. */
  readonly interruptMap: readonly number[];
  /** One row: requester ID, controller of messages, what it sees, length. */
  readonly msiMap: readonly number[];
}

/** What is added to QEMU's tree, and what it says. */
export interface SmmuSource {
  /** Device tree source that follows QEMU's. */
  readonly source: string;
  readonly addresses: CarriageAddresses;
}

const PCI_HOST = "/pcie@10000000";
const RANGE_CELLS = 7;
const MAP_ROWS = 16;

/** Options of `dtc`: not a word about what QEMU's tree could do better. */
const QUIET = ["-q", "-q"];

/** `ss` of a range's first cell: 32-bit memory. IEEE 1275 PCI bus binding §2.2.1.1. */
const MEMORY32 = 0x0200_0000;

/** Cells of a GIC interrupt. Linux `bindings/interrupt-controller/arm,gic.yaml`. */
const SPI = 0;
const EDGE_RISING = 1;
const LEVEL_HIGH = 4;

/**
 * How the guest is to take the interrupt. Without KVM any access to the BAR, by any processor, ends QEMU's INTx; a level
 * that goes before it is taken is lost, an edge stays. With KVM the end of the interrupt does, and KVM looks for the end
 * of level interrupts only.
 */
const TRIGGER: Record<Board["accelerator"], number> = { tcg: EDGE_RISING, kvm: LEVEL_HIGH };

/**
 * Writes the device tree of `machine` to `path`, and QEMU's own beside it; returns where it says that the SMMU is. Throws an
 * `EnvironmentError` that names the program that failed, or what is missing in QEMU's tree.
 */
export async function makeDeviceTree(
  { qemu, dtc }: DeviceTreeTools,
  machine: MachineConfiguration,
  path: string,
  signal?: AbortSignal,
): Promise<CarriageAddresses> {
  const own = `${path}.qemu`;
  await run(qemu, dumpArguments(machine, own), { doing: "have QEMU describe its machine", signal });
  const decompile = [...QUIET, "-I", "dtb", "-O", "dts", own];
  const text = await run(dtc, decompile, { doing: "read QEMU's device tree", signal });
  const { source, addresses } = smmuSource(
    parsePciHost(text),
    machine.board.accelerator,
    machine.endpoints,
    machine.messages,
    machine.ats,
  );
  await run(dtc, [...QUIET, "-I", "dts", "-O", "dtb", "-o", path], {
    doing: "make the guest's device tree",
    input: text + source + (machine.foreignFunctions ? endpointsOnly(machine.endpoints) : ""),
    signal,
  });
  return addresses;
}

/**
 * Writes the source of the SMMU for QEMU's PCI `host`: the node, the map of all requester IDs of buses 0 to 0x7f to equal
 * StreamIDs, and a 32-bit window that ends below the BAR, so that the guest gives that address to nobody. With `messages`
 * the guest may have the SMMU's interrupts as messages to where those of PCI functions go; with `ats` it may let functions
 * translate for themselves. Throws an `EnvironmentError`
 * when the window or the interrupt is not there.
 */
export function smmuSource(
  host: PciHost,
  accelerator: Board["accelerator"],
  endpoints: readonly Endpoint[] = [],
  messages = false,
  ats = false,
): SmmuSource {
  const { cells, bar } = shortenWindow(host.ranges);
  const { portBus, barSizeBytes } = CARRIAGE;
  // Linux takes a combined wire even where it could have messages, and any other wire only where it cannot.
  const notification = messages
    ? `interrupt-names = "eventq"; msi-parent = <${hex(host.msiMap[1])}>;`
    : 'interrupt-names = "combined";';
  const source = `
/ {
	smmu: iommu@${bar.toString(16)} {
		compatible = "arm,smmu-v3";
		reg = <0 ${hex(bar)} 0 ${hex(barSizeBytes)}>;
		interrupts = <${SPI} ${carriageSpi(host.interruptMap)} ${TRIGGER[accelerator]}>;
		${notification}
		#iommu-cells = <1>;
		dma-coherent;
	};
};

&{${PCI_HOST}} {
	bus-range = <0 ${hex(portBus - 1)}>;
	iommu-map = <${iommuMap(endpoints)}>;
	ranges = <${cells.map(hex).join(" ")}>;${ats ? "\n\tats-supported;" : ""}
};
${endpoints.map(directSource).join("")}`;
  return { source, addresses: { ecam: address(host.reg, 0), bar } };
}

/** Root ports are QEMU's own: their messages do not pass our SMMU. */
function iommuMap(endpoints: readonly Endpoint[]): string {
  const first = endpoints.some(({ behindPort }) => behindPort) ? 1 << 8 : 0;
  return `${hex(first)} &smmu ${hex(first)} ${hex((CARRIAGE.portBus << 8) - first)}`;
}

/**
 * A function whose stage 1 maps a range to itself. Linux `bindings/reserved-memory/reserved-memory.yaml`,
 * `iommu-addresses`: a range that is the memory region itself is mapped.
 */
function directSource({ slot, direct, behindPort }: Endpoint): string {
  if (direct === undefined) return "";
  const { base, sizeBytes } = direct;
  const range = `0 ${hex(base)} 0 ${hex(sizeBytes)}`;
  // As an address on the PCI bus it has three cells.
  const bus = `${hex(MEMORY32)} ${range}`;
  return `
/ {
	reserved-memory {
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
		direct${slot}: direct${slot}@${base.toString(16)} {
			reg = <${range}>;
			iommu-addresses = <&function${slot} ${bus}>;
			no-map;
		};
	};
};

&{${PCI_HOST}} {
${behindPort ? portNode(slot, functionNode(slot, 0)) : functionNode(slot, slot)}
};
`;
}

/**
 * What follows the source of the SMMU when it is before some functions alone: QEMU's own reach memory without it, and
 * their driver must not believe otherwise. Linux `bindings/pci/pci-iommu.txt`: what is in no row has no IOMMU.
 */
export function endpointsOnly(endpoints: readonly Endpoint[]): string {
  const rows = endpoints.map(({ slot }) => `<${hex(slot * 8)} &smmu ${hex(slot * 8)} 1>`);
  return `
&{${PCI_HOST}} {
	iommu-map = ${rows.join(", ")};
};
`;
}

/** The node of the function that `slot` is about, as device `device` of its bus. */
function functionNode(slot: number, device: number): string {
  return `	function${slot}: pci@${device.toString(16)},0 {
		reg = <${hex(device << 11)} 0 0 0 0>;
		memory-region = <&direct${slot}>;
	};`;
}

function portNode(slot: number, inner: string): string {
  return `	pci@${slot.toString(16)},0 {
		device_type = "pci";
		reg = <${hex(slot << 11)} 0 0 0 0>;
		#address-cells = <3>;
		#size-cells = <2>;
		ranges;
		dma-ranges;
${inner}
	};`;
}

/** Finds QEMU's PCI host in device tree source as `dtc` writes it; throws an `EnvironmentError` when a property is missing. */
export function parsePciHost(text: string): PciHost {
  const node = text.match(/^\tpcie@10000000 \{$([^{}]*)^\t\};$/m)?.[1] ?? "";
  const cells = (name: string): number[] => {
    const value = node.match(new RegExp(`^\\t\\t${name} = <([^>]*)>;$`, "m"))?.[1];
    if (value === undefined) {
      throw new EnvironmentError(`Cannot find ${name} of the PCI host in QEMU's device tree`);
    }
    return value.split(" ").map(Number);
  };
  return {
    reg: cells("reg"),
    ranges: cells("ranges"),
    interruptMap: cells("interrupt-map"),
    msiMap: cells("msi-map"),
  };
}

/**
 * The shared peripheral interrupt (0 is INTID 32) of the function that carries the SMMU. Its pin passes the root port by
 * the usual swizzle; the expander's root bus then counts as bus 0, because QEMU takes the expander's own slot out again.
 */
export function carriageSpi(interruptMap: readonly number[]): number {
  const slot = CARRIAGE.portSlot % 4 << 11;
  const pin = swizzle(0, CARRIAGE.pin);
  const width = interruptMap.length / MAP_ROWS;
  for (let at = 0; at < interruptMap.length; at += width) {
    const type = interruptMap[at + width - 3];
    const spi = interruptMap[at + width - 2];
    const isOurs = interruptMap[at] === slot && interruptMap[at + 3] === pin;
    if (isOurs && type === SPI && spi !== undefined) return spi;
  }
  throw new EnvironmentError("Cannot find the interrupt of the SMMU in QEMU's device tree");
}

function shortenWindow(ranges: readonly number[]): { cells: number[]; bar: number } {
  const cells = [...ranges];
  for (let at = 0; at + RANGE_CELLS <= cells.length; at += RANGE_CELLS) {
    if (cells[at] !== MEMORY32) continue;
    const base = address(cells, at + 3);
    const bar = barPlace(base, address(cells, at + 5));
    cells[at + 5] = 0;
    cells[at + 6] = bar - base;
    return { cells, bar };
  }
  throw new EnvironmentError("Cannot find the 32-bit window of the PCI host in QEMU's device tree");
}

/** Two cells as a number. Bus addresses of 52 bits fit. */
function address(cells: readonly number[], at: number): number {
  return (cells[at] ?? 0) * 2 ** 32 + (cells[at + 1] ?? 0);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
