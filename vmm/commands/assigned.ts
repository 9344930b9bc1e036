/**
 * `vsmmu assigned`: a guest that gets functions of this Arm host, and what came of it.
 * @module
 */
import { type GuestTable, tableLines } from "../bench/guest_table.ts";
import { FAULT_IOVA } from "../guest_command_line.ts";
import { type MicrovmOptions, runMicrovm } from "../microvm.ts";
import {
  type CardExpectations,
  checkCard,
  checkCardFault,
  checkNesting,
  checkNvme,
  checkPasids,
  checkTakenBack,
} from "../passthrough/checks.ts";
import { compareGuests } from "../passthrough/comparison.ts";
import { findFunctions, FUNCTION_CLASS, type FunctionKind } from "../passthrough/host_functions.ts";
import { Peer } from "../passthrough/peer.ts";
import { SmmuExits } from "../passthrough/smmu_exits.ts";
import { takeBack, type TakenBack } from "../passthrough/take_back.ts";
import { pseudoRandomBytes } from "../provision/disk.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import { provision } from "../provision/provision.ts";
import { endpointPlaces, type Place, type RegisterChoice } from "../machine_plan.ts";
import { resultLines } from "../report.ts";
import { hostDevice } from "../vfio/host_device.ts";
import { type Command, EXIT, type Flag, type Io, UsageError, type Values } from "./command.ts";
import type { PasidChoice } from "../vfio/pasid_choice.ts";
import {
  HUGE_PAGES_FLAG,
  PARTS_FLAGS,
  partsOf,
  PASID_FLAG,
  pasidOf,
  REGISTERS_FLAG,
  registersOf,
  ROOT_PORTS_FLAG,
} from "./machine_flags.ts";
import { RECORD_FLAGS, recordingOf } from "./record_flags.ts";

const SEED = 0x7c9;
/** The disk and the DMA test device. */
const EMULATED = 2;
const MEMORY_MIB = 768;
const LONGEST_S = 86_400;
/** What the guest gets, and does with it. */
export const WORK_FLAGS: Readonly<Record<string, Flag>> = {
  devices: {
    value: "KINDS",
    help:
      "What the guest gets, of vf, nvme and dma (a DMA test device), each as often as it is there: vf by default",
  },
  "virtio-blk": { help: "The guest also uses its emulated disk, behind the same SMMU" },
  mib: {
    value: "MIB",
    help: "How much goes over TCP each way, and to the NVMe disk, 1 to 256; 4 by default",
  },
  mtu: {
    value: "BYTES",
    help: "Payload of the network's largest frames, 1500 to 9000; 1500 by default",
  },
  smp: { value: "N", help: "Processors of the guest, 1 to 8; 1 by default" },
  ...PASID_FLAG,
  ...REGISTERS_FLAG,
  compare: {
    help:
      "Afterwards Linux's benchmark of DMA mappings runs behind QEMU's own SMMUv3, accelerated with the network card and " +
      "emulated with a function of QEMU, and behind ours",
  },
  flr: { help: "The NVMe disk is reset by a Function Level Reset while it reads" },
  reboot: { help: "The guest reboots when it is done, and uses the card once more" },
  "take-back": {
    help:
      "In the end this host takes the network card back from its running guest: asked to unplug it with --root-ports, " +
      "else it finds it gone; the card's registers trap then",
  },
  deaf: {
    help:
      "With --take-back --root-ports: the guest does not hear that it is asked, and the card is pulled out",
  },
  fault: { help: "In the end the network card reads where nothing is mapped" },
  ...ROOT_PORTS_FLAG,
};

/** The same, checked. */
export interface Work {
  readonly kinds: readonly FunctionKind[];
  readonly mib: number;
  readonly mtu: number;
  readonly cpuCount: number;
  readonly disk: boolean;
  readonly compare: boolean;
  readonly flr: boolean;
  readonly reboot: boolean;
  readonly fault: boolean;
  readonly takeBack: boolean;
  readonly deaf: boolean;
  readonly rootPorts: boolean;
  readonly pasid: PasidChoice;
  readonly registers: RegisterChoice;
}

/** What the flags say about it. Throws `UsageError`. */
export function workOf(values: Values): Work {
  const text = values.text("devices") ?? "vf";
  const kinds = text.split(",").filter((kind) => kind !== "");
  const known = kinds.filter(isKind);
  if (known.length === 0 || known.length !== kinds.length) {
    const all = Object.keys(FUNCTION_CLASS).join(", ");
    throw new UsageError(`Cannot use --devices ${text}: it is some of ${all}`);
  }
  const takeBack = values.on("take-back");
  if (takeBack && !known.includes("vf")) {
    throw new UsageError(`Cannot use --take-back with --devices ${text}: it is of a network card`);
  }
  for (const other of ["fault", "compare"]) {
    if (takeBack && values.on(other)) {
      throw new UsageError(`Cannot use --take-back with --${other}: both want the card at the end`);
    }
  }
  if (values.on("deaf") && !(takeBack && values.on("root-ports"))) {
    throw new UsageError("Cannot use --deaf without --take-back and --root-ports");
  }
  return {
    kinds: known,
    mib: values.integer("mib", 4, 1, 256),
    mtu: values.integer("mtu", 1500, 1500, 9000),
    cpuCount: values.integer("smp", 1, 1, 8),
    disk: values.on("virtio-blk"),
    compare: values.on("compare"),
    flr: values.on("flr"),
    reboot: values.on("reboot"),
    fault: values.on("fault"),
    takeBack,
    deaf: values.on("deaf"),
    rootPorts: values.on("root-ports"),
    pasid: pasidOf(values),
    registers: registersOf(values),
  };
}

/** The command. */
export const assigned: Command = {
  name: "assigned",
  summary:
    "gives functions of this Arm host to a guest, has it use them, and says what happened; " +
    "`passthrough` does it on an emulated host",
  flags: {
    ...WORK_FLAGS,
    peer: {
      value: "IP",
      help: "This host's address in the network of the card; 10.0.9.1 by default, the guest is .2",
    },
    result: { value: "PATH", help: "Where the result goes as JSON" },
    config: {
      value: "PATH",
      help:
        "Where the first function's configuration space goes as the guest sees it, for lspci -F",
    },
    lspci: {
      value: "PATH",
      help: "Where it goes what lspci says of the first function in the guest",
    },
    ...RECORD_FLAGS,
    ...HUGE_PAGES_FLAG,
    firmware: { value: "PATH", help: "UEFI for --compare" },
    timeout: { value: "SECONDS", help: "Ends a guest that takes longer; 1200 by default" },
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const work = workOf(values);
  const peerIp = values.text("peer") ?? "10.0.9.1";
  const timeoutSeconds = values.integer("timeout", 1200, 1, LONGEST_S);
  const { kinds, mib, mtu, cpuCount, disk, flr, reboot, fault, rootPorts, pasid, registers } = work;
  const isTaken = work.takeBack;
  const assign = findFunctions(kinds);
  const addresses = assign.map((path) => hostDevice(path).address);
  const guestIp = peerIp.replace(/\d+$/, "2");
  const places = endpointPlaces(EMULATED + kinds.length, rootPorts).slice(EMULATED);
  const first = places[0].address;
  const card = cardOf(kinds, assign, places);
  const tester = places[kinds.indexOf("dma")];
  using peer = card && await Peer.listen(peerIp, pseudoRandomBytes(mib << 20, SEED));
  const configPath = values.text("config");
  const lspciPath = values.text("lspci");
  const notes: string[] = [];
  const config = new Uint8Array(4096);
  const hasNvme = kinds.includes("nvme");
  const { sends, takes } = peer?.ports ?? { sends: 0, takes: 0 };
  const words = [
    "iommu.strict=1",
    ...(card ? [`vsmmu.net=${guestIp},${peerIp},${sends},${takes} vsmmu.mtu=${mtu}`] : []),
  ].join(" ");
  const said: GuestEvent[] = [];
  let taken: Promise<TakenBack> | undefined;
  const options: MicrovmOptions = {
    parts: { ...partsOf(values), withLspci: lspciPath !== undefined },
    cpuCount,
    memoryMiB: MEMORY_MIB,
    hugePages: values.on("huge-pages"),
    append: words +
      ` vsmmu.iova=0x${FAULT_IOVA.toString(16)} vsmmu.nvme=${mib} vsmmu.config=${first}` +
      // Without a driver of theirs, ports hear nothing. The tester's GICv2m keeps no function from another's interrupts, which VFIO wants to be told of.
      (work.deaf ? " pcie_ports=compat" : "") +
      (tester ? ` iommufd.allow_unsafe_interrupts=1 vsmmu.pasids=${tester.address}` : ""),
    actions: [
      ...(disk && !isTaken ? ["disk"] : []),
      ...(card ? ["net"] : []),
      ...(hasNvme ? ["nvme"] : []),
      ...(hasNvme && flr ? ["flr"] : []),
      ...(tester ? ["pasids"] : []),
      ...(reboot ? ["reboot", ...(card ? ["net"] : [])] : []),
      ...(configPath === undefined ? [] : ["config"]),
      ...(lspciPath === undefined ? [] : ["lspci"]),
      ...(card && fault ? ["netfault"] : []),
      // What else is behind the same SMMU goes on.
      ...(isTaken ? ["takeback", "disk"] : []),
    ],
    benchMiB: 8,
    interrupts: "msix",
    iommufd: "kernel",
    assign,
    rootPorts,
    pasid,
    bars: isTaken && !rootPorts ? "trapped" : "mapped",
    registers,
    heard: ({ kind }) => {
      if (kind === "kept") taken = takeBack(addresses[kinds.indexOf("vf")]);
    },
    judge: async (events, summary) => {
      said.push(...events);
      for (const event of events) {
        if (event.kind === "config") config.set(event.bytes, event.offset);
      }
      return [
        ...(card && peer ? checkCard(events, card, peer.summary) : []),
        ...(hasNvme ? checkNvme(events, mib, flr) : []),
        ...(tester ? checkPasids(events, tester) : []),
        ...checkNesting(summary),
        ...(card && fault ? checkCardFault(events, card, FAULT_IOVA) : []),
        ...(isTaken ? checkTakenBack(events, await taken, wayOf(work)) : []),
      ];
    },
    record: recordingOf(values),
    interactive: false,
    timeoutSeconds,
    console: io.note,
    progress: (line) => {
      notes.push(line);
      io.note(line);
    },
    signal: io.signal,
  };
  const result = await runMicrovm(options);
  for (const line of resultLines(result)) io.out(line);
  const path = values.text("result");
  const keep = async (value: unknown): Promise<void> => {
    if (path !== undefined) await Deno.writeTextFile(path, JSON.stringify(value));
  };
  const kept = { ...result, first: addresses[0], notes };
  // What was seen is kept, whatever becomes of the peer.
  await keep(kept);
  if (configPath !== undefined) await Deno.writeTextFile(configPath, hexDump(first, config));
  if (lspciPath !== undefined) {
    const lines = said.flatMap((event) => event.kind === "lspci" ? [event.line] : []);
    await Deno.writeTextFile(lspciPath, lines.join("\n"));
  }
  if (work.compare && card !== undefined) {
    const compared = await compare(values, options, addresses[kinds.indexOf("vf")]);
    io.out("");
    for (const line of tableLines(compared)) io.out(line);
    await keep({ ...kept, compared });
  }
  return result.ok ? EXIT.ok : EXIT.failed;
}

/** Measures the guest again, and others behind SMMUs of QEMU: one of them gets the function at `address`. */
async function compare(
  values: Values,
  ours: MicrovmOptions,
  address: string,
): Promise<GuestTable> {
  const firmwarePath = values.text("firmware");
  if (firmwarePath === undefined) {
    throw new UsageError("Cannot use --compare without --firmware: QEMU's own SMMUv3 wants ACPI");
  }
  const { progress, signal } = ours;
  const parts = await provision({ ...partsOf(values), progress, signal });
  using exits = SmmuExits.start();
  return await compareGuests({ ours, parts, firmwarePath, address, exits });
}

/** How a guest is to find that its card has gone. */
function wayOf({ rootPorts, deaf }: Work): "unplugged" | "ones" {
  return rootPorts && !deaf ? "unplugged" : "ones";
}

function cardOf(
  kinds: readonly FunctionKind[],
  assign: readonly string[],
  places: readonly Place[],
): CardExpectations | undefined {
  const at = kinds.indexOf("vf");
  if (at < 0) return undefined;
  const { address, streamId } = places[at];
  return {
    address,
    streamId,
    driver: "igbvf",
    msiWindow: hostDevice(assign[at]).msiWindow,
  };
}

/** What `lspci -x` prints, and `lspci -F` reads. */
function hexDump(address: string, space: Uint8Array): string {
  const rows = Array.from({ length: space.length / 16 }, (_, i) => {
    const pairs = Array.from(space.subarray(i * 16, i * 16 + 16), (byte) => hex(byte));
    return `${hex(i * 16)}: ${pairs.join(" ")}\n`;
  });
  return `${address} function\n${rows.join("")}`;
}

function hex(value: number): string {
  return value.toString(16).padStart(2, "0");
}

function isKind(name: string): name is FunctionKind {
  return Object.hasOwn(FUNCTION_CLASS, name);
}
