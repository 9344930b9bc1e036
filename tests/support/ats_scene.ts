/**
 * A guest with one stream in every kind of configuration, and an endpoint that has an ATC.
 * @module
 */
import { type AtsPort, CompletionStatus, TranslationCompletion } from "../../hw/ats_port.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { CDS, DATA, type Guest, type GuestOptions, NOWHERE, split, STRTAB } from "./guest.ts";

export const SID = 1;
export const STE = STRTAB + SID * 64;
export const CD = CDS;
/** What is asked for; stage 1 maps it to `IPA`. */
export const IOVA = 0x8765_4000n;
/** Stage 2 maps it to `PA`. */
export const IPA = DATA + 0x10_0000;
export const PA = DATA + 0x20_0000;
/** All that the scene may need. */
export const FEATURES: Partial<Features> = { ats: true, stage2: true, ssidSize: 4, httu: 2 };

/** What is asked for: `r` always, and `w`, `x`, `p`. */
export type Kind = string;

/** The stream, its tables, and what it says. */
export class AtsScene {
  readonly guest: Guest;
  port: AtsPort;
  readonly completion = new TranslationCompletion();
  /** Leaf descriptors. */
  readonly leaf1: number;
  readonly leaf2: number;

  constructor(
    make: (options: GuestOptions) => Guest,
    features: Partial<Features> = FEATURES,
  ) {
    const guest = this.guest = make({ features, log2queue: 5 });
    this.port = guest.smmu.atsPort();
    const root = guest.root();
    for (let i = 0; i < 2; i++) guest.cd(this.cds(i), { ttb0: root, asid: 3 + i, ips: 4 });
    this.leaf1 = guest.map(root, IOVA, IPA);
    const below = guest.root();
    // CDs and tables at themselves; DATA is not.
    for (let gpa = 0x4020_0000; gpa < DATA; gpa += 0x20_0000) {
      guest.map(below, BigInt(gpa), gpa, 0x4fcn, 2);
    }
    guest.map(below, BigInt(NOWHERE), NOWHERE, 0x4fcn, 2);
    this.leaf2 = guest.map(below, BigInt(IPA), PA, 0x4fcn);
    guest.map(below, IOVA, PA, 0x4fcn);
    guest.ste(SID, BigInt(CD) | 0b1011n);
    guest.stage2(STE, below, 3);
    guest.quad(IPA, 0x1111n);
    guest.quad(PA, 0x2222n);
  }

  /** Where the CD of a substream is. */
  cds(substreamId: number): number {
    return CD + substreamId * 64;
  }

  /** Sets fields of the STE. */
  ste(fields: readonly (readonly [high: number, low: number, value: number])[]): void {
    for (const [high, low, value] of fields) this.guest.field(STE, high, low, value);
  }

  /** CR0.SMMUEN and ATSCHK; CR2.REC_CFG_ATS and RECINVSID. */
  control({ enabled = true, checked = false, records = false, badStreams = true }): void {
    const { smmu } = this.guest;
    smmu.write32(0x20, 0xc);
    smmu.write32(0x2c, (records ? 8 : 0) | 4 | (badStreams ? 2 : 0));
    smmu.write32(0x20, 0xc | (enabled ? 1 : 0) | (checked ? 16 : 0));
  }

  /** The answer to a request: `UR`, `CA`, or the address and its permissions; then the events. */
  ask(kind: Kind, iova: bigint = IOVA, substreamId: number = -1, streamId: number = SID): string {
    const has = (letter: string): boolean => kind.includes(letter);
    const { completion } = this;
    this.port.translate({ streamId, substreamId }, ...split(iova), {
      write: has("w"),
      execute: has("x"),
      privileged: has("p"),
    }, completion);
    return this.#withEvents(answer(completion));
  }

  /** What a translated read finds: the page, or `abort`; then the events. */
  read(address: bigint, streamId: number = SID, substreamId: number = -1): string {
    const into = new Uint8Array(2);
    const ok = this.port.translated.read({ streamId, substreamId }, ...split(address), into);
    return this.#withEvents(ok ? into[0].toString(16) : "abort");
  }

  #withEvents(result: string): string {
    const events = this.guest.eventNumbers().map((number) => `event ${number.toString(16)}`);
    return [result, ...events].join(", ");
  }
}

/** An answer in a few letters. */
export function answer(completion: TranslationCompletion): string {
  const { status, gpa, log2size, read, write, execute, privileged } = completion;
  if (status === CompletionStatus.UnsupportedRequest) return "UR";
  if (status === CompletionStatus.CompleterAbort) return "CA";
  const letters = (read ? "r" : "") + (write ? "w" : "") + (execute ? "x" : "") +
    (privileged ? "p" : "");
  const granted = read || write;
  return `${granted ? `${gpa.toString(16)} ${log2size}` : `none ${log2size}`} ${letters}`.trim();
}
