/**
 * What a guest sees of a function's extended configuration space: a PASID capability that the function does not have, and
 * not what is the host's.
 * @module
 */
import { findPasidPlace } from "../../hw/pci/pasid_place.ts";
import { insertPasid } from "../../hw/pci/pasid.ts";
import { hiddenFromGuest, hideCapabilities } from "../../hw/pci/guest_exposure.ts";
import { applyPatch, type SpacePatch } from "../../hw/pci/space_patch.ts";
import type { PasidDecision } from "./pasid_choice.ts";

/** The plan. */
export interface ExtendedPlan {
  /** Bytes that we answer for. */
  readonly patch: SpacePatch;
  /** What was decided, for people. */
  readonly notes: readonly string[];
}

/** Decides for a function whose configuration space the host shows as `space`. */
export function planExtended(space: Uint8Array, pasid: PasidDecision): ExtendedPlan {
  const inserted = insertion(space, pasid);
  const patched = applyPatch(space, inserted.patch);
  // Translation requests and page requests pass no nested stage 1 yet.
  const hidden = hiddenFromGuest(patched, { ats: false, pri: false });
  return {
    patch: [
      ...inserted.patch,
      ...hideCapabilities(patched, hidden.map(({ capability }) => capability)),
    ],
    notes: [inserted.note, ...hidden.map(({ why }) => why)],
  };
}

function insertion(space: Uint8Array, pasid: PasidDecision): { patch: SpacePatch; note: string } {
  if ("reason" in pasid) return { patch: [], note: `No PASID capability: ${pasid.reason}` };
  const place = findPasidPlace(space);
  if ("refusal" in place) return { patch: [], note: `No PASID capability: ${place.refusal}` };
  const { width } = pasid.abilities;
  return {
    patch: insertPasid(space, place, pasid.abilities),
    note: `A PASID capability of ${width} bits is inserted: ${place.why}`,
  };
}
