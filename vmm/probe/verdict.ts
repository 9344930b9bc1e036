/**
 * What a host can do for a guest, and why not: judged from facts alone.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import { addressBits, type GuestFeatures, guestFeatures } from "../host_iommu/guest_features.ts";
import type { Examination } from "./examination.ts";
import { examinationReasons } from "./examination_reasons.ts";
import type { Facts } from "./facts.ts";
import { functionReasons } from "./function_reasons.ts";
import { hostReasons } from "./host_reasons.ts";

/** Why something does not work, and what to do about it; a line each. */
export interface Reason {
  readonly why: string;
  readonly cure: string;
  /** It only keeps us from asking: with it gone, the answer may be yes or no. */
  readonly isUndecided?: boolean;
}

/** Whether hardware can translate for a guest; `unknown` when nobody could be asked. */
export type Answer = "yes" | "no" | "unknown";

/** What is to be said of a device that VFIO has. */
export interface DeviceVerdict {
  /** Its PCI address. */
  readonly address: string;
  readonly nested: Answer;
  /** Why not, or why it is not known. */
  readonly reasons: readonly Reason[];
  /** What a guest would be offered behind this device's SMMU. */
  readonly guest?: GuestFeatures;
}

/** What is to be said of a host. */
export interface Verdict {
  readonly nested: Answer;
  /** What holds for every device. */
  readonly reasons: readonly Reason[];
  readonly devices: readonly DeviceVerdict[];
}

/** Judges a host for a guest with the features that are asked for. */
export function judge(facts: Facts, asked: Partial<Features> = {}): Verdict {
  const devices = facts.functions.filter(({ isVfio }) => isVfio).map(({ address }) =>
    deviceVerdict(facts, address, asked)
  );
  const reasons = hostReasons(facts);
  const answers = devices.map(({ nested }) => nested);
  return { nested: overall(reasons, answers), reasons, devices };
}

function overall(reasons: readonly Reason[], answers: readonly Answer[]): Answer {
  // A device that works says more than a list of suspicions.
  if (answers.includes("yes")) return "yes";
  if (reasons.some(isFinal)) return "no";
  return answers.length === 0 || answers.includes("unknown") ? "unknown" : "no";
}

function isFinal({ isUndecided = false }: Reason): boolean {
  return !isUndecided;
}

function deviceVerdict(facts: Facts, address: string, asked: Partial<Features>): DeviceVerdict {
  const examination = facts.examinations.find((each) => each.address === address);
  const guest = examination && offer(examination, asked);
  const refusals = guest?.refusals.map(({ message }) => ({
    why: message,
    cure: "Ask for less: what is not asked for follows the host",
  })) ?? [];
  const reasons = [
    ...functionReasons(facts, address),
    ...examination === undefined ? [] : examinationReasons(facts, examination),
    ...refusals,
  ];
  const works = examination?.steps.attachNested === "ok" && refusals.length === 0;
  const nested: Answer = works ? "yes" : reasons.some(isFinal) ? "no" : "unknown";
  return { address, nested, reasons, ...guest === undefined ? {} : { guest } };
}

function offer(
  { identity, ranges }: Examination,
  asked: Partial<Features>,
): GuestFeatures | undefined {
  if (identity === undefined) return undefined;
  return guestFeatures(identity, asked, ranges && addressBits(ranges));
}
