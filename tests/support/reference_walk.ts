/**
 * Translation by two stages, written for reading: one address, one descriptor, one rule after the other, in 64-bit
 * integers, without caches. DDI 0487 D8, IHI 0070 §3.4, §3.13, §5.2, §5.4, §7.3.22.
 * @module
 */

/** One tree of tables. */
export interface Tree {
  /** Log2 of the granule. */
  log2granule: 12 | 14 | 16;
  /** Significant input bits. */
  inputBits: number;
  table: bigint;
  /** Only for stage 2: where to start. */
  firstLevel?: number;
}

/** The tree of one half of the addresses. */
export interface Half extends Tree {
  disabled: boolean;
  tbi: boolean;
  had: boolean;
}

/** Stage 1. */
export interface Stage1 {
  trees: readonly [Half, Half];
  outputBits: number;
  affd: boolean;
  ha: boolean;
  hd: boolean;
  wxn: boolean;
  pan: boolean;
}

export interface Stage2 {
  tree: Tree;
  outputBits: number;
  affd: boolean;
  ha: boolean;
  hd: boolean;
  ptw: boolean;
  fwb: boolean;
  xnx: boolean;
}

export interface Access {
  kind: "read" | "write" | "execute";
  privileged: boolean;
}

/** What is to be recorded about a fault. */
export interface Failure {
  name: "EABT" | "TRANSLATION" | "ADDR_SIZE" | "ACCESS" | "PERMISSION";
  stage: 1 | 2;
  klass: "CD" | "TT" | "IN";
  /** Of faults of stage 2. */
  ipa?: bigint;
  /** Of external aborts. */
  fetch?: bigint;
  /** Of a permission fault of a table. */
  tableWrite?: boolean;
}

/** Memory of 64-bit words; undefined where there is none. */
export interface Memory {
  load(address: bigint): bigint | undefined;
  store(address: bigint, value: bigint): void;
}

class Failed extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.name);
    this.failure = failure;
  }
}

function bit(value: bigint, position: number): boolean {
  return ((value >> BigInt(position)) & 1n) === 1n;
}

interface Leaf {
  descriptor: bigint;
  at: bigint;
  output: bigint;
  shift: number;
  apTable0: boolean;
  apTable1: boolean;
  uxnTable: boolean;
  pxnTable: boolean;
}

/** Follows tables to a leaf. */
function follow(
  tree: Tree,
  input: bigint,
  outputBits: number,
  oas: number,
  load: (address: bigint) => bigint,
  fail: (name: Failure["name"]) => never,
): Leaf {
  const { log2granule } = tree;
  const stride = log2granule - 3;
  const firstLevel = tree.firstLevel ??
    4 - Math.max(1, Math.ceil((tree.inputBits - log2granule) / stride));
  const hasWide = log2granule === 16 && oas === 52;
  const bitsOfFirst = tree.inputBits - (log2granule + (3 - firstLevel) * stride);
  const size = 1n << BigInt(bitsOfFirst + 3);
  const least = outputBits === 52 ? 64n : 1n;
  let table = tree.table / (size > least ? size : least) * (size > least ? size : least);
  const tables = { apTable0: false, apTable1: false, uxnTable: false, pxnTable: false };
  for (let level = firstLevel;; level++) {
    const shift = log2granule + (3 - level) * stride;
    const top = level === firstLevel ? tree.inputBits : shift + stride;
    const index = BigInt.asUintN(top, input) >> BigInt(shift);
    const at = table + index * 8n;
    const descriptor = load(at);
    if (!bit(descriptor, 0)) fail("TRANSLATION");
    const isTable = level < 3 && bit(descriptor, 1);
    const hasBlock = level === 2 || (level === 1 && (log2granule === 12 || hasWide));
    if (level === 3 ? !bit(descriptor, 1) : !isTable && !hasBlock) fail("TRANSLATION");
    let output = descriptor & 0x0000_ffff_ffff_ffffn;
    output = output >> BigInt(isTable ? log2granule : shift) <<
      BigInt(isTable ? log2granule : shift);
    const high = descriptor & 0x0000_ffff_0000_0000n;
    const wide = hasWide ? ((descriptor >> 12n) & 0xfn) << 48n : 0n;
    if ((high | wide) >> BigInt(outputBits) !== 0n) fail("ADDR_SIZE");
    output = (output & 0x0000_ffff_ffff_ffffn) | wide;
    if (shift > 32 && !isTable) output = output >> BigInt(shift) << BigInt(shift);
    if (!isTable) return { descriptor, at, output, shift, ...tables };
    table = output;
    tables.apTable0 ||= bit(descriptor, 61);
    tables.apTable1 ||= bit(descriptor, 62);
    tables.uxnTable ||= bit(descriptor, 60);
    tables.pxnTable ||= bit(descriptor, 59);
  }
}

/** A machine with memory and an output address size. */
export class Reference {
  readonly memory: Memory;
  readonly oas: number;

  constructor(memory: Memory, oas: number) {
    this.memory = memory;
    this.oas = oas;
  }

  /** Translates; returns an address or what went wrong. */
  translate(
    stage1: Stage1 | undefined,
    stage2: Stage2 | undefined,
    address: bigint,
    access: Access,
  ): bigint | Failure {
    try {
      const ipa = stage1 === undefined
        ? this.#bypass(address)
        : this.#one(stage1, stage2, address, access);
      return stage2 === undefined ? ipa : this.#two(stage2, ipa, access, "IN");
    } catch (error) {
      if (error instanceof Failed) return error.failure;
      throw error;
    }
  }

  /** What stage 2 alone makes of an address; returns an address or what went wrong. */
  below(stage2: Stage2, ipa: bigint, access: Access, klass: Failure["klass"]): bigint | Failure {
    try {
      return this.#two(stage2, ipa, access, klass);
    } catch (error) {
      if (error instanceof Failed) return error.failure;
      throw error;
    }
  }

  #bypass(address: bigint): bigint {
    if (address >> BigInt(this.oas) !== 0n) {
      throw new Failed({ name: "ADDR_SIZE", stage: 1, klass: "IN" });
    }
    return address;
  }

  #one(stage1: Stage1, stage2: Stage2 | undefined, address: bigint, access: Access): bigint {
    const fail = (name: Failure["name"]): never => {
      throw new Failed({ name, stage: 1, klass: "IN" });
    };
    const tree = stage1.trees[bit(address, 55) ? 1 : 0];
    if (tree.disabled) fail("TRANSLATION");
    const top = tree.tbi ? 55 : 63;
    for (let i = tree.inputBits; i <= top; i++) {
      if (bit(address, i) !== bit(address, 55)) fail("TRANSLATION");
    }
    const input = BigInt.asUintN(tree.inputBits, address);
    const locate = (at: bigint, kind: "read" | "write"): bigint =>
      stage2 === undefined ? at : this.#two(stage2, at, { kind, privileged: false }, "TT");
    const load = (at: bigint): bigint => {
      const where = locate(at, "read");
      const value = this.memory.load(where);
      if (value === undefined) {
        throw new Failed({ name: "EABT", stage: 1, klass: "TT", fetch: where });
      }
      return value;
    };
    const leaf = follow(tree, input, stage1.outputBits, this.oas, load, fail);
    let { descriptor } = leaf;
    const [apTable0, apTable1, uxnTable, pxnTable] = tree.had
      ? [false, false, false, false]
      : [leaf.apTable0, leaf.apTable1, leaf.uxnTable, leaf.pxnTable];
    if (!bit(descriptor, 10)) {
      if (stage1.ha) descriptor |= 1n << 10n;
      else if (!stage1.affd) fail("ACCESS");
    }
    if (
      stage1.ha && stage1.hd && access.kind === "write" && bit(descriptor, 51) &&
      bit(descriptor, 7) && !apTable1
    ) descriptor &= ~(1n << 7n);
    const writable = !bit(descriptor, 7) && !apTable1;
    const unprivileged = bit(descriptor, 6) && !apTable0;
    const never = access.privileged
      ? bit(descriptor, 53) || pxnTable || (writable && (unprivileged || stage1.wxn))
      : bit(descriptor, 54) || uxnTable || (writable && unprivileged && stage1.wxn);
    const data = access.privileged ? !(stage1.pan && unprivileged) : unprivileged;
    const permitted = access.kind === "execute"
      ? !never
      : data && (access.kind === "read" || writable);
    if (!permitted) fail("PERMISSION");
    if (descriptor !== leaf.descriptor) this.memory.store(locate(leaf.at, "write"), descriptor);
    return leaf.output | (input & ((1n << BigInt(leaf.shift)) - 1n));
  }

  #two(stage2: Stage2, ipa: bigint, access: Access, klass: Failure["klass"]): bigint {
    const { tree } = stage2;
    const tableWrite = klass === "TT" && access.kind === "write";
    const fail = (name: Failure["name"]): never => {
      const table = name === "PERMISSION" && klass === "TT" ? { tableWrite } : {};
      throw new Failed({ name, stage: 2, klass, ipa: ipa & ~0xfffn, ...table });
    };
    if (ipa >> BigInt(tree.inputBits) !== 0n) fail("TRANSLATION");
    const load = (at: bigint): bigint => {
      const value = this.memory.load(at);
      if (value === undefined) throw new Failed({ name: "EABT", stage: 2, klass, fetch: at });
      return value;
    };
    const leaf = follow(tree, ipa, stage2.outputBits, this.oas, load, fail);
    let { descriptor } = leaf;
    if (!bit(descriptor, 10)) {
      if (stage2.ha) descriptor |= 1n << 10n;
      else if (!stage2.affd) fail("ACCESS");
    }
    if (stage2.ha && stage2.hd && access.kind === "write" && bit(descriptor, 51)) {
      descriptor |= 1n << 7n;
    }
    const xn = (bit(descriptor, 54) ? 2 : 0) + (bit(descriptor, 53) ? 1 : 0);
    const executable = !stage2.xnx
      ? xn < 2
      : xn === 0 || (xn === 1 && !access.privileged) || (xn === 3 && access.privileged);
    const permitted = access.kind === "read"
      ? bit(descriptor, 6)
      : access.kind === "write"
      ? bit(descriptor, 7)
      : executable;
    const memAttr = Number((descriptor >> 2n) & 0xfn);
    const isDevice = stage2.fwb ? (memAttr & 0b100) === 0 : memAttr >> 2 === 0;
    if (!permitted || (klass !== "IN" && stage2.ptw && isDevice)) fail("PERMISSION");
    if (descriptor !== leaf.descriptor) this.memory.store(leaf.at, descriptor);
    return leaf.output | (ipa & ((1n << BigInt(leaf.shift)) - 1n));
  }
}
