/**
 * Names for people: registers, addresses, streams, commands and their scope, in the manual's words.
 * @module
 */
import { get, getAddress } from "../../../hw/bits.ts";
import { COMMANDS } from "../../../hw/smmuv3/queues/commands.ts";
import { CFGI, SYNC, TLBI } from "../../../hw/smmuv3/spec/commands.ts";
import { PAGE0_ALIAS, REG } from "../../../hw/smmuv3/spec/registers.ts";

const REGISTERS: ReadonlyMap<number, string> = new Map(
  Object.entries(REG).flatMap(([name, { offset, writable }]): [number, string][] =>
    writable.length < 2 ? [[offset, name]] : [[offset, name], [offset + 4, `${name}[63:32]`]]
  ),
);

/** A number as hexadecimal with its `0x`. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Two unsigned 32-bit words as one hexadecimal number with its `0x`. */
export function hexQuad(lo: number, hi: number): string {
  return hi === 0
    ? hex(lo >>> 0)
    : `0x${(hi >>> 0).toString(16)}${(lo >>> 0).toString(16).padStart(8, "0")}`;
}

/** The register at an offset; the offset itself when none is there. */
export function registerName(offset: number): string {
  return REGISTERS.get(PAGE0_ALIAS[offset] ?? offset) ?? hex(offset);
}

/** The PCI address of a requester ID, as Linux writes it; undefined when the StreamID is no requester ID. */
export function pciAddress(streamId: number): string | undefined {
  if (streamId > 0xffff) return undefined;
  const part = (value: number): string => value.toString(16).padStart(2, "0");
  return `0000:${part(streamId >>> 8)}:${part((streamId >>> 3) & 31)}.${streamId & 7}`;
}

/** The manual's name of a command; its opcode when it has none. */
export function commandName(words: Uint32Array): string {
  return COMMANDS[words[0] & 0xff]?.name ?? `opcode ${hex(words[0] & 0xff)}`;
}

/** What a TLB invalidation covers. */
export interface Scope {
  /** `all`, `asid`, or `va` where it names addresses. */
  readonly kind: "all" | "asid" | "va";
  /** The ASID it is limited to; -1 for all of them. */
  readonly asid: number;
  /** First page of 4 KiB, as a page number; 0 unless `va`. */
  readonly firstPage: number;
  /** Pages of 4 KiB; 0 unless `va`. */
  readonly pages: number;
  /** True for a range by TG, NUM and SCALE. */
  readonly isRange: boolean;
}

/** What a command invalidates in the TLB; undefined when it is no TLB invalidation. §4.4 */
export function scopeOf(words: Uint32Array): Scope | undefined {
  const name = commandName(words);
  if (!name.startsWith("CMD_TLBI_")) return undefined;
  const whole = { firstPage: 0, pages: 0, isRange: false };
  const asid = get(words, TLBI.ASID);
  if (name.endsWith("_ASID")) return { kind: "asid", asid, ...whole };
  if (!/_VAA?$/.test(name)) return { kind: "all", asid: -1, ...whole };
  const tg = get(words, TLBI.TG);
  const granulePages = tg === 0 ? 1 : 4 ** (tg - 1);
  const count = tg === 0 ? 1 : (get(words, TLBI.NUM) + 1) * 2 ** get(words, TLBI.SCALE);
  return {
    kind: "va",
    asid: name.endsWith("_VAA") ? -1 : asid,
    firstPage: words[3] * 0x10_0000 + (words[2] >>> 12),
    pages: granulePages * count,
    isRange: tg !== 0,
  };
}

/** The fields of a command that say something, by the manual's names. */
export function commandFields(words: Uint32Array): Record<string, string | number> {
  const name = commandName(words);
  const scope = scopeOf(words);
  if (scope !== undefined) {
    return {
      ...(scope.asid < 0 ? {} : { ASID: scope.asid }),
      ...(scope.kind === "va"
        ? { Address: hexQuad(words[2] & ~0xfff, words[3]), pages: scope.pages }
        : {}),
    };
  }
  if (name.startsWith("CMD_CFGI_")) {
    return {
      StreamID: hex(get(words, CFGI.StreamID)),
      ...(get(words, CFGI.SSV) === 1 ? { SubstreamID: get(words, CFGI.SubstreamID) } : {}),
    };
  }
  if (name === "CMD_SYNC") {
    return { CS: get(words, SYNC.CS), MSIAddress: hex(getAddress(words, SYNC.MSIAddress)) };
  }
  return {};
}
