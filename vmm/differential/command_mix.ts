/**
 * Commands: those that a change of a structure calls for, others that do no harm, and some that are refused.
 * @module
 */
import { OP } from "../../hw/smmuv3/spec/commands.ts";
import type { Mutation } from "./mutation.ts";
import type { Random } from "../random.ts";
import type { SceneStream, Visit } from "./scene.ts";

/** A command: its two quads. */
export type CommandWords = readonly [bigint, bigint];

const ALL_STREAMS = 31n;
const SIG_IRQ = 1n << 12n;
const ALWAYS_REFUSED = [0x00, 0x07, 0x08, 0x14, 0x31, 0x47, 0x70, 0xff];

/** Draws commands. */
export class CommandMix {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** CMD_SYNC, mostly without a signal. */
  sync(): CommandWords {
    return [BigInt(OP.CMD_SYNC) | (this.#random.chance(0.2) ? SIG_IRQ : 0n), 0n];
  }

  /** Drops all configuration. */
  all(): CommandWords {
    return [BigInt(OP.CMD_CFGI_STE_RANGE), ALL_STREAMS];
  }

  /** Drops all translations. */
  allTlb(): CommandWords {
    return [BigInt(OP.CMD_TLBI_NSNH_ALL), 0n];
  }

  /** What is sent after a structure of a stream was changed: enough, by one way or another; `isOdd` allows only one. */
  after(mutation: Mutation, stream: SceneStream, isOdd: boolean): CommandWords[] {
    const { name } = mutation;
    const random = this.#random;
    const id = BigInt(stream.streamId) << 32n;
    if (name.startsWith("L1STD")) return [this.all(), this.allTlb()];
    if (name.startsWith("STE")) {
      return [this.ofStream(stream), this.allTlb()];
    }
    if (name.startsWith("CD")) {
      if (stream.isShared) return [this.all(), this.allTlb()];
      const one: CommandWords = [BigInt(OP.CMD_CFGI_CD) | id, BigInt(random.below(2))];
      const every: CommandWords = [BigInt(OP.CMD_CFGI_CD_ALL) | id, 0n];
      return [random.of([one, every, this.all()]), this.allTlb()];
    }
    const visit = stream.visits.find(({ leaves }) =>
      leaves.some(({ leaf }) => leaf.descriptor === mutation.at)
    );
    const isStage2 = name.startsWith("stage 2");
    const commands = isOdd
      ? [this.allTlb()]
      : visit === undefined
      ? [this.#wholesale(stream, isStage2)]
      : isStage2
      ? this.#stage2(stream, visit)
      : this.#stage1(stream, visit);
    // No configuration has changed; that a CD was fetched through stage 2 is no reason to send more.
    return isStage2 && random.chance(0.9) ? [...commands, this.all()] : commands;
  }

  /** Drops the configuration of a stream, alone or with others. */
  ofStream({ streamId }: SceneStream): CommandWords {
    const random = this.#random;
    const leaf = BigInt(random.below(2));
    const one: CommandWords = [BigInt(OP.CMD_CFGI_STE) | BigInt(streamId) << 32n, leaf];
    // A range is said by any stream that is in it.
    const range = random.below(8);
    const first = BigInt(streamId ^ random.below(2 ** (range + 1)));
    const some: CommandWords = [BigInt(OP.CMD_CFGI_STE_RANGE) | first << 32n, BigInt(range)];
    return random.of([one, one, some, some, this.all()]);
  }

  #stage1(stream: SceneStream, { iova }: Visit): CommandWords[] {
    const random = this.#random;
    const page = iova >> 12n << 12n;
    const ids = this.#ids(stream);
    switch (random.below(4)) {
      case 0:
        return [[BigInt(OP.CMD_TLBI_NH_VA) | ids, page | BigInt(random.below(2))]];
      case 1:
        return [[BigInt(OP.CMD_TLBI_NH_VAA) | ids, page]];
      case 2:
        return [this.#range(OP.CMD_TLBI_NH_VA, ids, iova, stream.granules.stage1)];
      default:
        return [this.#wholesale(stream, false)];
    }
  }

  /** §4.4.3.1: what comes of both stages needs to be dropped by VMID. */
  #stage2(stream: SceneStream, visit: Visit): CommandWords[] {
    const vmid = BigInt(stream.vmid) << 32n;
    const ipa = visit.leaves.length > 1 ? BigInt(visit.gpa + stream.delta) : visit.iova;
    const isNested = visit.leaves.length > 1;
    const random = this.#random;
    if (random.chance(0.5)) return [this.#wholesale(stream, true)];
    const page = ipa >> 12n << 12n;
    const one: CommandWords = random.chance(0.5)
      ? [BigInt(OP.CMD_TLBI_S2_IPA) | vmid, page]
      : this.#range(OP.CMD_TLBI_S2_IPA, vmid, ipa, stream.granules.stage2);
    return isNested ? [one, [BigInt(OP.CMD_TLBI_NH_ALL) | vmid, 0n]] : [one];
  }

  /** A range of the granule around an address. */
  #range(opcode: number, ids: bigint, address: bigint, log2granule: number): CommandWords {
    const random = this.#random;
    const tg = BigInt((log2granule - 10) / 2);
    const scale = random.below(4);
    const count = random.between(2, 32);
    const size = BigInt(count) << BigInt(scale + log2granule);
    const start = address / size * size;
    const num = BigInt(count - 1);
    return [BigInt(opcode) | num << 12n | BigInt(scale) << 20n | ids, start | tg << 10n];
  }

  /** By ASID, by VMID, or everything. */
  #wholesale(stream: SceneStream, isStage2: boolean): CommandWords {
    const vmid = BigInt(stream.vmid) << 32n;
    const s12: CommandWords = [BigInt(OP.CMD_TLBI_S12_VMALL) | vmid, 0n];
    if (isStage2) return this.#random.of([s12, this.allTlb()]);
    // Global entries are none of an ASID.
    return this.#random.of([[BigInt(OP.CMD_TLBI_NH_ALL) | vmid, 0n], s12, this.allTlb()]);
  }

  #ids({ vmid, asid }: SceneStream): bigint {
    return BigInt(vmid) << 32n | BigInt(asid) << 48n;
  }

  /** Commands that leave everything right, whatever they drop. */
  some(stream: SceneStream, visit: Visit): CommandWords[] {
    const random = this.#random;
    const id = BigInt(stream.streamId) << 32n;
    const ids = this.#ids(stream);
    const page = visit.iova >> 12n << 12n;
    const any: CommandWords[] = [
      [BigInt(OP.CMD_PREFETCH_CONFIG) | id, 0n],
      [BigInt(OP.CMD_PREFETCH_ADDR) | id, page],
      [BigInt(OP.CMD_CFGI_STE) | id, 1n],
      [BigInt(OP.CMD_CFGI_CD) | id, 1n],
      [BigInt(OP.CMD_CFGI_CD_ALL) | id, 0n],
      [BigInt(OP.CMD_TLBI_NH_ASID) | ids, 0n],
      [BigInt(OP.CMD_TLBI_NH_VA) | ids, page | 1n],
      [BigInt(OP.CMD_TLBI_NH_VAA) | ids, page],
      this.#range(OP.CMD_TLBI_NH_VAA, ids, visit.iova, random.of([12, 14, 16])),
      [BigInt(OP.CMD_TLBI_S2_IPA) | ids, page],
      [BigInt(OP.CMD_TLBI_S12_VMALL) | ids, 0n],
      this.all(),
      this.allTlb(),
      this.sync(),
    ];
    return Array.from({ length: random.between(1, 6) }, () => random.of(any));
  }

  /** A command that no SMMU without the Secure state knows. */
  refused(): CommandWords {
    const random = this.#random;
    return random.chance(0.6)
      ? [BigInt(random.of(ALWAYS_REFUSED)), random.quad()]
      : [BigInt(OP.CMD_CFGI_STE) | 1n << 10n, 0n];
  }

  /** Any opcode, any operands. */
  anything(): CommandWords {
    const random = this.#random;
    const opcode = random.chance(0.7) ? random.of(Object.values(OP)) : random.below(256);
    return [random.quad() >> 8n << 8n | BigInt(opcode), random.quad()];
  }
}
