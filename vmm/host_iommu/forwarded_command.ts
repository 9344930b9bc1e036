/**
 * A guest's invalidation as Linux takes it: without the bits that the architecture ignores and Linux refuses.
 * IHI 0070 §4.3, §4.4, §4.5; `struct iommu_viommu_arm_smmuv3_invalidate`.
 * @module
 */
import { get, set } from "../../hw/bits.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { CMD, OP, TLBI } from "../../hw/smmuv3/spec/commands.ts";

/** Words of a command. */
export const COMMAND_WORDS = 4;

const OPCODE = 0xff;
const SUBSTREAM = 0xffff_f000;
const SSV_GLOBAL = 0xa00;
const RANGE = 0x01f1_f000;
const ASID = 0xffff_0000;
const ASID8 = 0x00ff_0000;
const VA_LEAF = 0xffff_f001;
const TTL_TG = 0xf00;
const CMD_ATC_INV = 0x40;
const TG_16K = 2;

/** How to pass a command on: its opcode there, and the bits of each word that mean something. */
interface Form {
  readonly opcode: number;
  readonly mask: readonly [number, number, number, number];
}

/** The forms of all commands that are passed on, for a device of some features. */
export class ForwardedCommands {
  /** By opcode. */
  readonly #forms: readonly (Form | undefined)[];
  readonly #command = new Uint32Array(COMMAND_WORDS);

  /** For a guest that was offered `features`. */
  constructor({ asid16, ssidSize, rangeInvalidation }: Features) {
    const asid = asid16 ? ASID : ASID8;
    const substream = ssidSize > 0 ? SUBSTREAM : 0;
    const [range, level] = rangeInvalidation ? [RANGE, TTL_TG] : [0, 0];
    const all: Form = { opcode: OP.CMD_TLBI_NH_ALL, mask: [OPCODE, 0, 0, 0] };
    const byAsid: Form = { opcode: OP.CMD_TLBI_NH_ASID, mask: [OPCODE, asid, 0, 0] };
    const byVa: Form = {
      opcode: OP.CMD_TLBI_NH_VA,
      mask: [OPCODE | range, asid, VA_LEAF | level, ~0],
    };
    const byVaa: Form = {
      opcode: OP.CMD_TLBI_NH_VAA,
      mask: [OPCODE | range, 0, VA_LEAF | level, ~0],
    };
    const forms = new Map<number, Form>([
      [OP.CMD_CFGI_CD, { opcode: OP.CMD_CFGI_CD, mask: [OPCODE | substream, ~0, 1, 0] }],
      [OP.CMD_CFGI_CD_ALL, { opcode: OP.CMD_CFGI_CD_ALL, mask: [OPCODE, ~0, 0, 0] }],
      [OP.CMD_TLBI_NSNH_ALL, { opcode: OP.CMD_TLBI_NSNH_ALL, mask: [OPCODE, 0, 0, 0] }],
      [OP.CMD_TLBI_NH_ALL, all],
      [OP.CMD_TLBI_NH_ASID, byAsid],
      [OP.CMD_TLBI_NH_VA, byVa],
      [OP.CMD_TLBI_NH_VAA, byVaa],
      // The device takes these for their NH forms, and so does Linux.
      [OP.CMD_TLBI_EL2_ALL, all],
      [OP.CMD_TLBI_EL2_ASID, byAsid],
      [OP.CMD_TLBI_EL2_VA, byVa],
      [OP.CMD_TLBI_EL2_VAA, byVaa],
      [CMD_ATC_INV, {
        opcode: CMD_ATC_INV,
        mask: [OPCODE | (ssidSize > 0 ? SUBSTREAM | SSV_GLOBAL : 0), ~0, 0xffff_f03f, ~0],
      }],
    ]);
    this.#forms = Array.from({ length: OPCODE + 1 }, (_, opcode) => forms.get(opcode));
  }

  /** Writes the command at word `from` of `commands` to word `to` of `entries` as Linux takes it; false when it is none. */
  translate(commands: Uint32Array, from: number, entries: Uint32Array, to: number): boolean {
    const form = this.#forms[commands[from] & OPCODE];
    if (form === undefined) return false;
    const command = this.#command;
    for (let i = 0; i < COMMAND_WORDS; i++) command[i] = commands[from + i] & form.mask[i];
    set(command, CMD.Opcode, form.opcode);
    if (form.mask[2] & TTL_TG) unreserve(command);
    for (let i = 0; i < COMMAND_WORDS; i++) entries[to + i] = command[i];
    return true;
  }
}

/** Without TG there is no range and no level; level 1 of the 16K granule does not exist, so it is no hint either. */
function unreserve(entry: Uint32Array): void {
  const tg = get(entry, TLBI.TG);
  if (tg === 0) {
    set(entry, TLBI.NUM, 0);
    set(entry, TLBI.SCALE, 0);
    set(entry, TLBI.TTL, 0);
  } else if (tg === TG_16K && get(entry, TLBI.TTL) === 1) {
    set(entry, TLBI.TTL, 0);
  }
}
