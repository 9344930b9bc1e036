/**
 * What was found out about a host, in lines for people.
 * @module
 */
import { type Field, get } from "../../hw/bits.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { identify } from "../../hw/smmuv3/identify.ts";
import { IDR0, IDR1, IDR3, IDR5 } from "../../hw/smmuv3/spec/registers.ts";
import type { HostIdentity } from "../host_iommu/host_identity.ts";
import { type Examination, STEPS } from "./examination.ts";
import type { Facts } from "./facts.ts";
import type { Group } from "./iommus.ts";
import type { PciFunction } from "./pci_functions.ts";
import type { Answer, DeviceVerdict, Reason, Verdict } from "./verdict.ts";

const FIELDS: readonly (readonly [number, Readonly<Record<string, Field>>])[] = [
  [0, IDR0],
  [1, IDR1],
  [3, IDR3],
  [5, IDR5],
];
const LONGEST_LIST = 16;
const HW_CAP = { DIRTY_TRACKING: 1, PCI_ATS_NOT_SUPPORTED: 8 } as const;

/** What works on every machine. */
export const WORKS_ANYWHERE: readonly (readonly [string, string])[] = [
  ["deno task microvm", "a Linux guest behind our SMMUv3, on the model of iommufd in this process"],
  ["deno task replay", "recorded guests, against the device and the model"],
  ["deno task hostvm", "an emulated arm64 host with a nested SMMUv3 and the real iommufd"],
];

/** Everything, a line each. */
export function probeLines(facts: Facts, verdict: Verdict): string[] {
  const blocks = [
    hostRows(facts),
    ...verdict.devices.map((device) => deviceLines(facts, device)),
    [...facts.unread, ...facts.unseen],
    verdictLines(verdict),
    worksLines(),
  ];
  return blocks.filter((lines) => lines.length > 0).flatMap((lines) => ["", ...lines]).slice(1);
}

function hostRows(facts: Facts): string[] {
  const { kernel, iommus, groups, functions, rootComplexes } = facts;
  const { release, architecture, options, firmware } = kernel;
  const kinds = count(iommus.map(({ kind }) => kind));
  const driven = functions.filter(({ isVfio }) => isVfio).length;
  const virtual = functions.filter(({ physicalFunction }) => physicalFunction !== undefined).length;
  return aligned([
    ["Kernel", `${release} on ${architecture}, ${described(firmware)}`],
    ...options === undefined ? [] : [["Options", optionText(options)] as const],
    ["/dev/kvm", kernel.kvm],
    ["/dev/iommu", `${kernel.iommufd}${callText(facts.missingCalls)}`],
    ["IOMMUs", kinds || "none"],
    ["Groups", groups.length === 0 ? "none" : `${groups.length}: ${groupTypes(groups)}`],
    ["PCI", `${functions.length} functions, ${virtual} of them virtual, ${driven} with VFIO`],
    ...(rootComplexes ?? []).map(({ segment, memoryFlags, ats }) =>
      [
        "IORT",
        `segment ${segment}: memory flags 0x${memoryFlags.toString(16)}, ATS ${ats ? "yes" : "no"}`,
      ] as const
    ),
    ...notable(functions).map((each) => [each.address, functionText(each)] as const),
  ]);
}

function described(firmware: string): string {
  return firmware === "neither" ? "described by neither ACPI nor device tree" : `by ${firmware}`;
}

function optionText(options: Readonly<Record<string, string>>): string {
  return Object.entries(options).map(([name, value]) => `${name}=${value}`).join(" ");
}

function callText(missing: readonly string[] | undefined): string {
  if (missing === undefined) return "";
  return missing.length === 0 ? ", all calls of 7.3" : `, without ${missing.join(", ")}`;
}

function groupTypes(groups: readonly Group[]): string {
  return count(groups.map(({ type }) => type));
}

/** `2 DMA, 1 identity`. */
function count(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, number]) => `${number} ${name}`).join(", ");
}

/** Functions that VFIO does not have and that could be given away. */
function notable(functions: readonly PciFunction[]): PciFunction[] {
  return functions.filter(({ isVfio, physicalFunction, virtualFunctions, capabilities }) =>
    !isVfio && (physicalFunction !== undefined || virtualFunctions !== undefined ||
      Object.keys(capabilities ?? {}).length > 0)
  ).slice(0, LONGEST_LIST);
}

function functionText(device: PciFunction): string {
  const { id, driver, group, physicalFunction, virtualFunctions } = device;
  const parts = [
    id,
    driver ?? "no driver",
    group === undefined ? "no group" : `group ${group}`,
    ...physicalFunction === undefined ? [] : [`VF of ${physicalFunction}`],
    ...virtualFunctions === undefined
      ? []
      : [`${virtualFunctions.enabled} of ${virtualFunctions.most} VFs`],
    ...capabilityTexts(device),
  ];
  return parts.join(", ");
}

function capabilityTexts({ capabilities }: PciFunction): string[] {
  const { ats, pri, pasid } = capabilities ?? {};
  const state = (enabled: boolean): string => enabled ? "on" : "off";
  return [
    ...ats === undefined ? [] : [`ATS ${state(ats.enabled)}`],
    ...pri === undefined ? [] : [`PRI ${state(pri.enabled)}`],
    ...pasid === undefined ? [] : [`PASID ${pasid.width} bits ${state(pasid.enabled)}`],
  ];
}

function deviceLines(facts: Facts, verdict: DeviceVerdict): string[] {
  const { address, nested, reasons, guest } = verdict;
  const device = facts.functions.find((each) => each.address === address)!;
  const group = facts.groups.find(({ id }) => id === device.group);
  const examination = facts.examinations.find((each) => each.address === address);
  const rows: (readonly [string, string])[] = [
    ...device.cdev === undefined
      ? []
      : [["Node", `${device.cdev.path}, ${device.cdev.state}`] as const],
    ...device.iommu === undefined ? [] : [["IOMMU", device.iommu] as const],
    ...group === undefined ? [] : groupRows(group),
    ...examination === undefined ? [] : examinationRows(examination, facts.examinations),
    ...guest === undefined ? [] : [["Guest", featureText(guest.features)] as const],
    ...(guest?.differences ?? []).map(({ message }) => ["Note", message] as const),
  ];
  return [
    `${address}  ${functionText(device)}`,
    ...aligned(rows).map((line) => `  ${line}`),
    `  Nested  ${answerText(nested)}`,
    ...reasons.flatMap(reasonLines).map((line) => `  ${line}`),
  ];
}

function groupRows({ id, type, members, reserved }: Group): (readonly [string, string])[] {
  return [
    ["Group", `${id}, ${type}: ${members.join(", ")}`],
    ...reserved.map(({ start, last, type }) =>
      ["Reserved", `${start} to ${last}, ${type}`] as const
    ),
  ];
}

function examinationRows(
  examination: Examination,
  all: readonly Examination[],
): (readonly [string, string])[] {
  const { identity, maxPasidLog2, capabilities = 0, ranges, alignment, steps } = examination;
  const dirty = (capabilities & HW_CAP.DIRTY_TRACKING) !== 0
    ? "of stage 1, never while nested"
    : "no";
  const ats = (capabilities & HW_CAP.PCI_ATS_NOT_SUPPORTED) === 0
    ? "may be used"
    : "cannot be used";
  return [
    ["Steps", STEPS.filter((step) => step in steps).map((s) => `${s} ${steps[s]}`).join(", ")],
    ...identity === undefined ? [] : identityRows(identity, all),
    ...maxPasidLog2 === undefined ? [] : [
      ["PASIDs", maxPasidLog2 === 0 ? "none" : `${maxPasidLog2} bits`] as const,
      ["ATS", ats] as const,
      ["Dirty", dirty] as const,
    ],
    ...(ranges ?? []).map(({ start, last }) =>
      ["Stage 2", `0x${start.toString(16)} to 0x${last.toString(16)}`] as const
    ),
    ...alignment === undefined ? [] : [["Alignment", `${alignment} bytes`] as const],
    ...examination.leftOver.map((line) => ["Left over", line] as const),
  ];
}

/** Raw registers, and the fields that are not 0: in full for the first device that has them. */
function identityRows(
  identity: HostIdentity,
  all: readonly Examination[],
): (readonly [string, string])[] {
  const text = JSON.stringify(identity);
  const first = all.find((each) => JSON.stringify(each.identity) === text);
  if (first !== undefined && first.identity !== identity) {
    return [["SMMU", `as that of ${first.address}`]];
  }
  const { flags, idr, iidr, aidr } = identity;
  const hex = (word: number): string => `0x${word.toString(16).padStart(8, "0")}`;
  const rows = FIELDS.map(([index, fields]) => {
    const words = Uint32Array.of(idr[index]);
    const set = Object.entries(fields).map(([name, field]) => [name, get(words, field)] as const)
      .filter(([, value]) => value !== 0).map(([name, value]) => `${name}=${value}`);
    return [`IDR${index}`, `${hex(idr[index])}  ${set.join(" ")}`] as const;
  });
  const repeat = (flags & 1) === 1 ? "; TLBI and CFGI must be sent twice" : "";
  return [
    ...rows,
    ["IIDR", `${hex(iidr)}, AIDR ${hex(aidr)}${repeat}`],
    ["Pages", pageSizes(Uint32Array.of(idr[5]))],
  ];
}

/** Pages and blocks that hardware can map, by granule. */
function pageSizes(idr5: Uint32Array): string {
  const sizes: readonly (readonly [Field, string])[] = [
    [IDR5.GRAN4K, "4 KiB 2 MiB 1 GiB"],
    [IDR5.GRAN16K, "16 KiB 32 MiB"],
    [IDR5.GRAN64K, "64 KiB 512 MiB"],
  ];
  return sizes.filter(([field]) => get(idr5, field) === 1).map(([, text]) => text).join(", ");
}

/** What a guest would see, by the manual's names. */
function featureText(features: Features): string {
  const words = new Uint32Array(0x100);
  identify(words, features);
  return [0, 1, 3, 5].map((index) => `IDR${index} 0x${words[index].toString(16).padStart(8, "0")}`)
    .join(", ") + `; ${features.oas} bits of address, ${features.ssidSize} of SubstreamID`;
}

function verdictLines({ nested, reasons }: Verdict): string[] {
  return [
    `Nested translation on this host: ${answerText(nested)}`,
    ...reasons.flatMap(reasonLines),
  ];
}

function answerText(answer: Answer): string {
  return answer === "unknown" ? "not known" : answer;
}

function reasonLines({ why, cure }: Reason): string[] {
  return [`  ${why}`, `    -> ${cure}`];
}

function worksLines(): string[] {
  return ["What works here all the same:", ...aligned(WORKS_ANYWHERE).map((line) => `  ${line}`)];
}

function aligned(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}
