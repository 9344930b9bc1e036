/**
 * A guest that does anything: noise, and structures that are nearly right, so that damage reaches further.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import type { Random } from "../random.ts";
import {
  type HowTransferred,
  MOST_BYTES,
  MOST_STALLED_BYTES,
  PLACE,
  type Step,
  type Store,
} from "./step.ts";

const CR0 = 0x20;
const GERROR = 0x60;
const EVENTQ_PROD = 0x1_00a8;
const REGISTERS = [
  ...[0x20, 0x28, 0x2c, 0x44, 0x50, 0x64, 0x68, 0x6c, 0x70, 0x74, 0x80, 0x84, 0x88, 0x90, 0x94],
  ...[0x98, 0x9c, 0xa0, 0xa4, 0xa8, 0xac, 0xb0, 0xb4, 0xb8, 0xbc, 0xc0, 0xc4, 0xc8, 0xcc, 0xd0],
  ...[0x1_00a8, 0x1_00ac, 0x1_00c8, 0x1_00cc],
];
const OPCODES = [
  ...[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23],
  ...[0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46],
];
const PLACES: readonly number[] = Object.values(PLACE);
const STREAMS = [0, 1, 2, 3, 5, 7];
const NESTED = 0b1111;
const PAGES = 7;
const PAGE = 0x1_0000;

/** What endpoints do that can wait, that translate for themselves, and all others. */
const WAITING = ["stallable read", "stallable write"] as const;
const TRANSLATING = [
  "translated read",
  "translated write",
  "translation request",
  "translation request",
  "page request",
] as const;
const ORDINARY = ["read", "read", "write", "write", "message", ...WAITING] as const;

/** What a guest does more than other things, or all alike. */
const MOODS = ["all", "all", "translations", "commands", "stalls"] as const;

/** Reads a register of the device that is played with. */
export type ReadRegister = (offset: number) => number;

/** Thinks of what comes next. */
export class HostileGuest {
  readonly #random: Random;
  readonly #read: ReadRegister;
  /** Records that were read: what CMD_RESUME answers. */
  readonly #load: (gpa: number) => bigint;

  readonly #features: Partial<Features>;
  readonly #mood: typeof MOODS[number];

  /** A guest that sees registers and memory, and knows what the device has. */
  constructor(
    random: Random,
    features: Partial<Features>,
    read: ReadRegister,
    load: (gpa: number) => bigint,
  ) {
    this.#features = features;
    this.#random = random;
    this.#mood = random.of(MOODS);
    this.#read = read;
    this.#load = load;
  }

  /** Whether it now does what a driver does at first, so that there is something to break. */
  beginsAnew(): boolean {
    return this.#random.oneIn(this.#mood === "stalls" ? 1500 : 150);
  }

  /** What brings the device up, more or less. */
  *begin(): Generator<Step> {
    const { tables, streams, commands, events } = PLACE;
    const log2size = this.#random.below(9);
    yield register([CR0, 0]);
    yield register([0x64, this.#read(GERROR)]);
    yield* [[0x28, 0xd75], [0x2c, this.#random.below(16)], [0x84, 0], [0x80, streams]].map(
      register,
    );
    yield* [[0x88, 6], [0x98, 0], [0x9c, 0]].map(register);
    yield* [[0x94, 0], [0x90, commands | log2size], [0xa4, 0], [0xa0, events | log2size]]
      .map(register);
    yield* [[0x50, 5], [CR0, this.#random.of([0xd, 0x1d, 0x1f])]].map(register);
    const stores: Store[] = [];
    for (let page = 0; page < PAGES; page++) {
      for (let index = 0; index < 8; index++) {
        const target = tables + this.#random.below(PAGES) * PAGE;
        stores.push(store(tables + page * PAGE + index * 8, BigInt(target) | 0x4f3n));
      }
    }
    yield { do: "store", stores };
    for (const streamId of STREAMS) yield this.#configuration(streamId);
    for (let i = 0; i < 4; i++) yield this.#commandMemory();
  }

  /** The next thing. */
  next(): Step {
    const random = this.#random;
    const kind = random.below(100);
    if (this.#mood === "translations" && kind < 70) return this.#transfer();
    if (this.#mood === "commands" && kind < 70) {
      return random.oneIn(4)
        ? this.#commandMemory()
        : random.oneIn(2)
        ? this.#ring()
        : this.#acknowledge();
    }
    if (this.#mood === "stalls" && random.oneIn(60)) return { do: "restore" };
    // Nobody reads what is told, so that the queue is full.
    if (this.#mood === "stalls" && !random.oneIn(8)) return this.#transfer();
    if (this.#mood === "stalls" && kind < 6) return this.#ring();
    if (kind < 6) return this.#register();
    if (kind < 8) return this.#noise();
    if (kind < 13) return this.#configuration(random.of(STREAMS));
    if (kind < 22) return { do: "store", stores: this.#descriptors() };
    if (kind < 26) return this.#commandMemory();
    if (kind < 38) return this.#ring();
    if (kind < 48) return this.#acknowledge();
    if (random.oneIn(400)) return { do: random.of(["reset", "restore", "restore"]) };
    return this.#transfer();
  }

  /** A number that might mean something. */
  #word(): number {
    const random = this.#random;
    switch (random.below(5)) {
      case 0:
        return random.word();
      case 1:
        return random.below(64);
      case 2:
        return 0xffff_ffff;
      case 3:
        return (1 << random.below(32)) >>> 0;
      default:
        return (random.of(PLACES) | random.below(32)) >>> 0;
    }
  }

  #quad(): bigint {
    return (BigInt(this.#word()) << 32n) | BigInt(this.#word());
  }

  #register(): Step {
    const random = this.#random;
    // Mostly it stays enabled, or nothing interesting happens.
    if (random.oneIn(2)) return register([CR0, random.of([0xd, 0x1d, 0x1f])]);
    const offset = random.oneIn(10) ? random.below(0x8000) * 4 : random.of(REGISTERS);
    const size = random.oneIn(4) ? 2 : 1;
    const words = Array.from({ length: size }, () => this.#word());
    return { do: "write", offset: size === 2 ? offset & ~7 : offset, words };
  }

  #noise(): Step {
    const random = this.#random;
    const place = random.of([...PLACES.slice(1, 7), PLACE.high]);
    const stores: Store[] = [];
    for (let i = 0; i < 6; i++) {
      stores.push(store(place + random.below(512) * 8, this.#quad()));
    }
    return { do: "store", stores };
  }

  #descriptors(): Store[] {
    return Array.from({ length: 6 }, () => this.#descriptor(PLACE.tables));
  }

  /** A table or leaf: at any of some places, of a table that may be any level's. */
  #descriptor(tables: number): Store {
    const random = this.#random;
    const page = random.below(PAGES);
    const target = random.oneIn(6)
      ? random.of([PLACE.data, PLACE.rom, PLACE.high])
      : tables + random.below(PAGES) * PAGE;
    let value = BigInt(target) | 0x4f3n | (BigInt(random.word() & 0x3) << 2n);
    if (random.oneIn(6)) value &= ~0x400n; // AF
    if (random.oneIn(2)) value ^= 0x80n; // read-only, or writable at stage 2
    if (random.oneIn(3)) value |= 1n << 51n; // DBM
    if (random.oneIn(2)) value |= 0x800n; // nG
    if (random.oneIn(40)) value ^= 1n << BigInt(random.below(64));
    if (random.oneIn(30)) value &= ~2n; // a block
    // The first entries are those that small addresses use.
    const index = random.oneIn(3) ? random.below(0x2000) : random.below(8);
    return store(tables + page * PAGE + index * 8, value);
  }

  /** An STE and its CDs. */
  #configuration(streamId: number): Step {
    const random = this.#random;
    const { ssidSize = 0, stage2 = false } = this.#features;
    const table = (): bigint => BigInt(PLACE.tables + random.below(PAGES) * PAGE);
    const isStalling = this.#mood === "stalls" && !random.oneIn(8);
    const log2count = isStalling
      ? 0
      : random.of([0, 0, Math.min(2, ssidSize), Math.min(7, ssidSize), ssidSize]);
    const format = stage2 ? random.of([0, 0, 1, 2]) : 0;
    const cd = PLACE.contexts + random.below(8) * 0x1000;
    const config = isStalling
      ? 0b1011
      : stage2
      ? random.of([0b1011, 0b1011, 0b1111, 0b1111, 0b1101, 0b1001, 0b0001])
      : random.of([0b1011, 0b1011, 0b1011, 0b1001, 0b0001]);
    const ste = [
      BigInt(config | format << 4 | cd) | (BigInt(log2count) << 59n),
      // S1DSS, MEV, EATS; now and then EATS and STRW that cannot be
      BigInt(
        random.below(4) | random.below(2) << 19 |
          random.of(config === NESTED ? [0, 1, 2] : [0, 1]) << 28,
      ) |
      (random.oneIn(8) ? this.#quad() & 0xf000_0000n : 0n),
      this.#stage2(),
      table(),
    ];
    const words = this.#context(table);
    if (isStalling) return { do: "store", stores: this.#streamStores(streamId, ste, cd, words) };
    if (random.oneIn(8)) ste[random.below(4)] ^= 1n << BigInt(random.below(64));
    if (random.oneIn(8)) words[random.below(3)] ^= 1n << BigInt(random.below(64));
    // In a table of two levels the first entry leads to the CDs of another page.
    const isTwoLevel = format !== 0 && log2count !== 0;
    const at = isTwoLevel ? PLACE.contexts + 0x8000 + random.below(2) * 0x1000 : cd;
    const stores = this.#streamStores(streamId, ste, at, words);
    if (isTwoLevel) stores.push(store(cd, BigInt(at) | (random.oneIn(8) ? 0n : 1n)));
    return { do: "store", stores };
  }

  /** An STE, and two CDs that are alike. */
  #streamStores(streamId: number, ste: bigint[], cd: number, context: bigint[]): Store[] {
    return [
      ...ste.map((quad, i) => store(PLACE.streams + streamId * 64 + i * 8, quad)),
      ...[0, 64].flatMap((at) => context.map((quad, i) => store(cd + at + i * 8, quad))),
    ];
  }

  /** The third quad of an STE: VMID, a shape of tables that goes together, and what faults do. */
  #stage2(): bigint {
    const random = this.#random;
    const [t0sz, sl0, tg] = random.of([[16, 2, 0], [20, 2, 0], [25, 1, 0], [20, 2, 1], [28, 1, 2]]);
    // S2AFFD, S2PTW; S2HA with and without S2HD; S2S where it may be; S2R
    const updates = random.of([0, 0, 8, 0xc]);
    const stalls = this.#stalls() ? 1 << 4 : 0;
    const rules = random.below(2) | (random.oneIn(6) ? 2 : 0) | updates | stalls |
      random.below(2) << 5;
    const size = random.oneIn(3) ? random.below(8) : 5;
    return BigInt(random.below(4)) | (BigInt(t0sz) << 32n) | (BigInt(sl0) << 38n) |
      (BigInt(tg) << 46n) | (BigInt(size) << 48n) | (1n << 51n) | (BigInt(rules) << 53n);
  }

  /** Whether faults of some configuration stall, where they may. */
  #stalls(): boolean {
    const { stallModel = 1 } = this.#features;
    return stallModel === 0 && (this.#mood === "stalls" || this.#random.oneIn(2));
  }

  /** A CD's first quads. */
  #context(table: () => bigint): bigint[] {
    const random = this.#random;
    const { httu = 0, stage2 = false } = this.#features;
    const [tsz, tg0, tg1] = stage2
      ? random.of([[16, 0, 2], [16, 0, 2], [25, 2, 1], [17, 1, 3], [12, 1, 3]])
      : [16, 0, 2];
    const updates = httu === 0 ? 0 : random.of([0, 0x800, 0xc00]);
    // A, R; S where it may be
    const faults = random.of([3, 3, 3, 1, 2, 0]) << 13 | (this.#stalls() ? 1 << 12 : 0);
    // AFFD, WXN, TBI, PAN
    const high = 0x200 | updates | faults | (random.word() & random.word() & 0x1d8) |
      (random.oneIn(4) ? random.below(8) : 5);
    const low = tsz | tg0 << 6 | tsz << 16 | tg1 << 22 | random.below(2) << 30 | 1 << 31;
    return [
      BigInt(low >>> 0) | (BigInt(high) << 32n) | (BigInt(random.below(4)) << 48n),
      table() | (BigInt(random.below(2)) << 1n),
      table(),
    ];
  }

  #commandMemory(): Step {
    const random = this.#random;
    const stores: Store[] = [];
    const first = random.below(1 << random.below(9));
    for (let i = 0; i < 16; i++) {
      const gpa = PLACE.commands + (first + i) * 16;
      const [w0, w1] = this.#command();
      stores.push(store(gpa, w0), store(gpa + 8, w1));
    }
    return { do: "store", stores };
  }

  #command(): [bigint, bigint] {
    const random = this.#random;
    const opcode = this.#mood === "stalls" && !random.oneIn(6)
      ? random.of([0x44, 0x44, 0x45])
      : random.oneIn(40)
      ? random.below(256)
      : random.of(OPCODES);
    const stream = BigInt(random.of(STREAMS)) << 32n;
    const tags = (BigInt(random.below(4)) << 48n) | (BigInt(random.below(4)) << 32n);
    let w0 = BigInt(opcode);
    if (opcode >= 0x10 && opcode < 0x40) w0 |= tags;
    else if (opcode !== 0x46) w0 |= stream | (BigInt(random.below(4)) << 12n);
    else w0 |= (BigInt(random.below(random.oneIn(8) ? 4 : 3)) << 12n) | (0x77n << 32n);
    if (opcode === 0x44) {
      // An answer to some record that was once there.
      const at = PLACE.events + random.below(8) * 32;
      const [q0, q1] = [this.#load(at), this.#load(at + 8)];
      return [0x44n | (q0 >> 32n << 32n) | (BigInt(random.below(4)) << 12n), q1 & 0xffffn];
    }
    if (random.oneIn(12)) w0 ^= 1n << BigInt(random.below(64));
    const w1 = random.of([
      0n,
      1n,
      31n,
      BigInt((this.#word() & ~0xfff) >>> 0),
      BigInt(PLACE.data),
      this.#quad(),
    ]);
    return [w0, w1];
  }

  /** CMDQ_PROD: all, some, or something else. */
  #ring(): Step {
    const random = this.#random;
    const cons = this.#read(0x9c) & 0xf_ffff;
    if (random.oneIn(8)) return register([0x98, random.word()]);
    const log2size = Math.min(this.#read(0x90) & 31, this.#features.log2CommandQueue ?? 0);
    return register([0x98, cons + (random.oneIn(4) ? 1 << log2size : 1 + random.below(14))]);
  }

  #acknowledge(): Step {
    const random = this.#random;
    switch (random.below(3)) {
      case 0:
        return register([0x64, this.#read(GERROR)]);
      case 1:
        return register([0x1_00ac, this.#read(EVENTQ_PROD)]);
      default:
        return register([0x1_00ac, random.oneIn(4) ? random.word() : this.#read(0x1_00ac) + 1]);
    }
  }

  #transfer(): Step {
    const random = this.#random;
    const how = random.of<HowTransferred>(
      this.#mood === "stalls" ? WAITING : random.oneIn(5) ? TRANSLATING : ORDINARY,
    );
    const most = how.startsWith("stallable") ? MOST_STALLED_BYTES : MOST_BYTES;
    const step: Step = {
      do: "transfer",
      how,
      streamId: random.oneIn(16) ? this.#word() : random.of(STREAMS),
      substreamId: this.#mood !== "stalls" && random.oneIn(5)
        ? random.of([0, 0, 1, 1, 2, 64, 0xf_ffff])
        : -1,
      lo: random.oneIn(12)
        ? random.word()
        : random.below(8) * 0x1000 + random.below(2) * random.below(0x1000),
      hi: random.oneIn(12) ? this.#word() : 0,
      sizeBytes: random.oneIn(3) ? random.below(most) : random.below(64),
    };
    if (!random.oneIn(6)) return step;
    return { ...step, race: { after: random.below(12), stores: [this.#descriptor(PLACE.tables)] } };
  }
}

function register([offset, value]: number[]): Step {
  return { do: "write", offset, words: [value >>> 0] };
}

function store(gpa: number, value: bigint): Store {
  return [gpa, BigInt.asUintN(64, value).toString(16)];
}
