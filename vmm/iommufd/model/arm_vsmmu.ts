/**
 * A vSMMU of the model: vSTEs are its stream table, guest memory through stage 2 is its memory, and a translator of
 * our own SMMU is its hardware. As drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c has it.
 * @module
 */
import { get, set } from "../../../hw/bits.ts";
import { Entry } from "../../../hw/guest_memory.ts";
import type { CommandTarget } from "../../../hw/smmuv3/queues/command.ts";
import { COMMANDS } from "../../../hw/smmuv3/queues/commands.ts";
import { TranslatedDma } from "../../../hw/smmuv3/dma.ts";
import type { Fault } from "../../../hw/smmuv3/fault.ts";
import type { Features } from "../../../hw/smmuv3/features.ts";
import type { Observer } from "../../../hw/smmuv3/observer.ts";
import { RegisterFile } from "../../../hw/smmuv3/register_file.ts";
import { CFGI, CMD, COMMAND_SIZE, OP } from "../../../hw/smmuv3/spec/commands.ts";
import { EVENT, RECORD } from "../../../hw/smmuv3/spec/events.ts";
import { CR0, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { Config, STE, STE_SIZE } from "../../../hw/smmuv3/spec/ste.ts";
import type { StreamSource } from "../../../hw/smmuv3/configuration/stream_table.ts";
import { Translator } from "../../../hw/smmuv3/translation/translate.ts";
import { ERRNO } from "../../../uapi/errno.ts";
import type { InvalidateResult } from "../iommufd.ts";
import { type ArmCommandRules, ArmCommands, namesStream, streamOf } from "./arm_commands.ts";
import type { Domain, DriverDevice, DriverViommu, Invalidation, UserData } from "./driver.ts";
import { refuse } from "./objects.ts";
import type { StageTwoMemory } from "./stage_two_memory.ts";
import {
  IOMMU_HWPT_DATA,
  IOMMU_VEVENTQ_TYPE,
  IOMMU_VIOMMU_INVALIDATE_DATA,
} from "../../../uapi/iommufd/mod.ts";

const VSTE_SIZE = 16;
/** Linux issues so many commands at once. */
const BLOCK = 63;
/** Bits that a vSTE may have. */
const VSTE_MASK: readonly number[] = [0xffff_ffff, 0xf80f_ffff, 0x3800_00ff, 0];
const EATS_TRANS = 1;

/** Events that Linux passes on. */
const PASSED: ReadonlySet<number> = new Set([
  EVENT.C_BAD_STE,
  EVENT.C_BAD_SUBSTREAMID,
  EVENT.F_STREAM_DISABLED,
  EVENT.C_BAD_CD,
  EVENT.F_TRANSLATION,
  EVENT.F_ADDR_SIZE,
  EVENT.F_ACCESS,
  EVENT.F_PERMISSION,
]);

/** What a vSMMU is made of. */
export interface ArmVsmmuOptions {
  readonly memory: StageTwoMemory;
  /** Of the physical SMMU. */
  readonly features: Features;
  readonly rules: ArmCommandRules;
  readonly log2tlbSets: number;
  readonly observer: Observer | undefined;
}

/** Attached devices with their vSTEs, by physical StreamID. */
class VsteTable implements StreamSource {
  readonly entry = new Entry(STE_SIZE);
  readonly gpa = 0;
  readonly #vstes = new Map<number, Uint32Array>();

  find(streamId: number): number {
    const vste = this.#vstes.get(streamId);
    if (vste === undefined) return EVENT.C_BAD_STREAMID;
    this.entry.words.fill(0);
    this.entry.words.set(vste);
    return 0;
  }

  set(streamId: number, vste: Uint32Array): void {
    this.#vstes.set(streamId, vste);
  }

  delete(streamId: number): void {
    this.#vstes.delete(streamId);
  }
}

/** The vSMMU. */
export class ArmVsmmu implements DriverViommu {
  events: ((type: number, payload: Uint8Array) => boolean) | undefined;
  readonly #commands: ArmCommands;
  readonly #memory: StageTwoMemory;
  readonly #observer: Observer | undefined;
  readonly #vstes = new VsteTable();
  readonly #translator: Translator;
  /** What invalidations act on. */
  readonly #target: CommandTarget;
  /** Commands on their way: as many as are issued at once. */
  readonly #block: readonly Entry[] = Array.from({ length: BLOCK }, () => new Entry(COMMAND_SIZE));
  /** Devices by the guest's StreamID. */
  readonly #devices = new Map<bigint, DriverDevice>();
  /** The guest's StreamIDs of attached devices, by physical one: what was named at the time. */
  readonly #names = new Map<number, number>();

  /** With no devices. */
  constructor({ memory, features, rules, log2tlbSets, observer }: ArmVsmmuOptions) {
    this.#commands = new ArmCommands(rules);
    this.#memory = memory;
    this.#observer = observer;
    const registers = new RegisterFile();
    set(registers.view(REG.CR0), CR0.SMMUEN, 1);
    this.#translator = new Translator(
      registers,
      memory,
      features,
      (fault) => this.#report(fault),
      observer,
      log2tlbSets,
      this.#vstes,
    );
    const { contexts, tlb } = this.#translator;
    this.#target = { features, contexts, tlb, e2h: () => false, sync: () => {} };
  }

  allocNested(flags: number, { type, bytes }: UserData): Domain {
    const call = "IOMMU_HWPT_ALLOC";
    if (flags !== 0) refuse(call, ERRNO.EOPNOTSUPP);
    if (type !== IOMMU_HWPT_DATA.ARM_SMMUV3 || bytes.length !== VSTE_SIZE) {
      refuse(call, ERRNO.EINVAL);
    }
    const vste = new Uint32Array(bytes.slice().buffer);
    if (get(vste, STE.V) === 0) vste.fill(0);
    if (vste.some((word, i) => (word & ~VSTE_MASK[i]) !== 0)) refuse(call, ERRNO.EIO);
    const config = get(vste, STE.Config);
    const isKnown = config === 0 || config === Config.Bypass || config === Config.Stage1;
    if (!isKnown || get(vste, STE.EATS) > EATS_TRANS) refuse(call, ERRNO.EIO);
    set(vste, STE.EATS, 0);
    // Without V it aborts, which an STE that only says so does without an event.
    set(vste, STE.V, 1);
    return { attach: (device) => this.#attach(device, vste), attachPasid: undefined };
  }

  invalidate({ type, entryLength, count, entries }: Invalidation): InvalidateResult {
    if (type !== IOMMU_VIOMMU_INVALIDATE_DATA.ARM_SMMUV3 || count === 0) {
      return { errno: ERRNO.EINVAL, handled: 0 };
    }
    if (hasMore(entries, entryLength, count)) return { errno: ERRNO.E2BIG, handled: 0 };
    for (let first = 0; first < count; first += BLOCK) {
      const size = Math.min(BLOCK, count - first);
      for (let i = 0; i < size; i++) {
        const { words, bytes } = this.#block[i];
        const at = (first + i) * entryLength;
        for (let byte = 0; byte < COMMAND_SIZE; byte++) {
          bytes[byte] = byte < entryLength ? entries[at + byte] : 0;
        }
        if (!this.#convert(words)) return { errno: ERRNO.EIO, handled: first + i };
      }
      for (let i = 0; i < size; i++) this.#issue(this.#block[i].words);
    }
    return { errno: 0, handled: count };
  }

  adopt(device: DriverDevice, virtId: bigint): void {
    // A name of more bits than a StreamID has is one that no command can say.
    this.#devices.set(virtId, device);
  }

  forget(device: DriverDevice): void {
    for (const [virtId, other] of this.#devices) {
      if (other === device) this.#devices.delete(virtId);
    }
  }

  #attach(device: DriverDevice, vste: Uint32Array): void {
    const virtId = device.virtIdAt(this);
    if (virtId === undefined && get(vste, STE.Config) === Config.Stage1) {
      refuse("VFIO_DEVICE_ATTACH_IOMMUFD_PT", ERRNO.ENOENT);
    }
    const { streamId } = device;
    device.leave?.();
    this.#vstes.set(streamId, vste);
    this.#translator.contexts.invalidateStreams(streamId, 1);
    if (virtId !== undefined) this.#names.set(streamId, Number(virtId & 0xffff_ffffn));
    device.port = new TranslatedDma(
      this.#translator,
      this.#memory,
      device.messages,
      this.#observer,
    );
    device.leave = (): void => {
      this.#vstes.delete(streamId);
      this.#names.delete(streamId);
      this.#translator.contexts.invalidateStreams(streamId, 1);
    };
  }

  /** Puts the physical StreamID into a command; false when Linux does not take it. */
  #convert(words: Uint32Array): boolean {
    if (!this.#commands.isTaken(words)) return false;
    if (!namesStream(words)) return true;
    const device = this.#devices.get(BigInt(streamOf(words)));
    if (device === undefined) return false;
    set(words, CFGI.StreamID, device.streamId);
    return true;
  }

  #issue(words: Uint32Array): void {
    if (words[0] === OP.CMD_TLBI_NSNH_ALL) set(words, CMD.Opcode, OP.CMD_TLBI_NH_ALL);
    COMMANDS[words[0] & 0xff]?.run(this.#target, words);
  }

  #report({ record }: Fault): void {
    if (!PASSED.has(get(record.words, RECORD.ID))) return;
    const streamId = this.#names.get(get(record.words, RECORD.StreamID));
    if (streamId === undefined) return;
    set(record.words, RECORD.StreamID, streamId);
    this.events?.(IOMMU_VEVENTQ_TYPE.ARM_SMMUV3, record.bytes);
  }
}

/** Whether an entry says more than a command does. */
function hasMore(entries: Uint8Array, entryLength: number, count: number): boolean {
  for (let at = 0; at < count * entryLength; at += entryLength) {
    for (let i = COMMAND_SIZE; i < entryLength; i++) if (entries[at + i] !== 0) return true;
  }
  return false;
}
