/**
 * Devices with a mistake each, made of ours and a memory that lies to it: comparisons must find them.
 * @module
 */
import type { Entry, GuestMemory } from "../../hw/guest_memory.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { Permission } from "../../hw/smmuv3/translation/permissions.ts";
import type { DeviceMaker } from "../../vmm/differential/own_subject.ts";
import { altered } from "./guest.ts";

const DESCRIPTOR_BYTES = 8;
const COMMAND_BYTES = 16;
const EVENT_BYTES = 32;
const STE_OR_CD_BYTES = 64;
const CFGI_STE = 0x03;
const CFGI_STE_RANGE = 0x04;
const TLBI_NH_VA = 0x12;
const CMD_SYNC = 0x46;

/** What is wrong, and the device. */
export const BROKEN_DEVICES: Readonly<Record<string, DeviceMaker>> = {
  "a clear access flag is no fault": reading(DESCRIPTOR_BYTES, ({ words }) => {
    if ((words[0] & 1) !== 0) words[0] |= 1 << 10;
  }),
  "CMD_TLBI_NH_VA drops nothing": reading(COMMAND_BYTES, ({ words }) => {
    if ((words[0] & 0xff) === TLBI_NH_VA) words.set([CMD_SYNC, 0, 0, 0]);
  }),
  "CMD_CFGI_STE_RANGE means half as many streams": reading(COMMAND_BYTES, ({ words }) => {
    if ((words[0] & 0xff) !== CFGI_STE_RANGE) return;
    const range = words[2] & 0x1f;
    words.set(range === 0 ? [CFGI_STE, words[1], 1, 0] : [CFGI_STE_RANGE, words[1], range - 1, 0]);
  }),
  "what is cached of both stages forgets what stage 2 forbids": (options) => {
    const smmu = new SmmuV3(options);
    const { stageTwo } = smmu.translator.parts;
    const { translate } = stageTwo;
    stageTwo.translate = (...of) => {
      const event = translate.apply(stageTwo, of);
      stageTwo.permissions = Permission.All;
      return event;
    };
    return smmu;
  },
  "records have no InputAddr": ({ memory, ...options }) =>
    new SmmuV3({
      ...options,
      memory: altered(memory, {
        store(gpa: number, from: Entry): boolean {
          if (from.bytes.length === EVENT_BYTES) from.words[4] = 0;
          return memory.store(gpa, from);
        },
      }),
    }),
  "S2TTB is 4 KiB too far": reading(STE_OR_CD_BYTES, ({ words }, gpa) => {
    if (gpa < 0x410e_0000) words[6] += 0x1000;
  }),
};

/** A device that reads records of this size otherwise than they are. */
function reading(sizeBytes: number, change: (entry: Entry, gpa: number) => void): DeviceMaker {
  return ({ memory, ...options }) =>
    new SmmuV3({
      ...options,
      memory: altered(memory, { fetch: fetching(memory, sizeBytes, change) }),
    });
}

function fetching(
  memory: GuestMemory,
  sizeBytes: number,
  change: (entry: Entry, gpa: number) => void,
): GuestMemory["fetch"] {
  return (gpa, into) => {
    if (!memory.fetch(gpa, into)) return false;
    if (into.bytes.length === sizeBytes) change(into, gpa);
    return true;
  };
}
