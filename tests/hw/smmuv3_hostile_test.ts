/**
 * A guest that does anything: random registers, queues, tables and DMA. The device never throws, answers at once
 * and keeps its caches bounded.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { GuestMemory } from "../../hw/guest_memory.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import {
  altered,
  CDS,
  CMDQ,
  DATA,
  EVENTQ,
  Guest,
  NOWHERE,
  RAM,
  split,
  STRTAB,
} from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const REGISTERS = [
  0x20,
  0x28,
  0x2c,
  0x44,
  0x50,
  0x64,
  0x68,
  0x6c,
  0x70,
  0x74,
  0x80,
  0x84,
  0x88,
  0x90,
  0x94,
  0x98,
  0x9c,
  0xa0,
  0xa4,
  0xa8,
  0xac,
  0xb0,
  0xb4,
  0xb8,
  0xbc,
  0x1_00a8,
  0x1_00ac,
];
const OPCODES = [
  ...[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23],
  ...[0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46],
];
const PLACES = [CMDQ, EVENTQ, STRTAB, CDS, DATA, RAM, NOWHERE, NOWHERE - 0x1000, 0];
const TABLE = 0x4030_0000;

function few(random: Random): Partial<Features> {
  return { ssidSize: random.of([0, 4, 20]), oas: random.of([32, 40, 48]) };
}

function everything(random: Random): Partial<Features> {
  return {
    ssidSize: random.of([4, 20]),
    oas: random.of([44, 48, 52]),
    stage2: true,
    vmid16: random.chance(0.5),
    hyp: random.chance(0.5),
    granule16K: true,
    granule64K: true,
    vax: true,
    xnx: true,
    twoLevelContextTable: true,
    httu: 2,
    stallModel: 0,
    stallMax: 3,
    ats: true,
    pri: true,
  };
}

/** One guest and what it might do next. */
class Hostile {
  readonly random: Random;
  readonly guest: Guest;
  /** Transactions that could wait and have ended. */
  ended = 0;

  constructor(random: Random) {
    this.random = random;
    this.guest = new Guest({
      log2queue: random.below(5),
      log2tlbSets: random.below(3),
      features: random.chance(0.5) ? few(random) : everything(random),
    });
  }

  step(): void {
    const { random } = this;
    random.of([
      () => this.register(),
      () => this.memory(),
      () => this.configure(),
      () => this.commands(),
      () => this.transfer(),
      () => this.transfer(),
    ])();
  }

  /** A number that might mean something. */
  word(): number {
    const { random } = this;
    return random.of([
      () => random.word(),
      () => random.below(64),
      () => random.of(PLACES) | random.below(32),
      () => 0xffff_ffff,
    ])() >>> 0;
  }

  register(): void {
    const { random, guest } = this;
    // Mostly stay enabled, or nothing interesting happens.
    if (random.chance(0.3)) return guest.smmu.write32(0x20, 0xd);
    const offset = random.chance(0.9) ? random.of(REGISTERS) : random.below(0x2_0000);
    const bytes = new Uint8Array(random.of([4, 8, 4, 2]));
    new DataView(bytes.buffer).setUint16(0, random.below(0x1_0000));
    if (bytes.length >= 4) new DataView(bytes.buffer).setUint32(0, this.word(), true);
    guest.smmu.write(offset, bytes);
    guest.smmu.read(offset, bytes);
  }

  memory(): void {
    const { random, guest } = this;
    const place = random.of([CMDQ, EVENTQ, STRTAB, CDS, TABLE]);
    for (let i = 0; i < 8; i++) guest.quad(place + random.below(256) * 8, random.quad());
  }

  /** Structures that are nearly right, so that random damage reaches further. */
  configure(): void {
    const { random, guest } = this;
    const streamId = random.below(8);
    const cd = CDS + random.below(8) * 64;
    guest.cd(cd, {
      ttb0: TABLE,
      ttb1: TABLE,
      t0sz: random.of([16, 25, 48, random.below(64)]),
      t1sz: 16,
      epd1: random.chance(0.5),
      tbi: random.below(4),
      asid: random.below(4),
      word1: random.chance(0.2) ? random.below(0x1_0000) : 0,
    });
    guest.ste(
      streamId,
      BigInt(cd) | random.of([0b1011n, 0b1001n, 0b0001n, 0b1101n, 0b1111n, 0b1111n, 0b101011n]) |
        (BigInt(random.of([0, 0, 2, 20])) << 59n),
      BigInt(random.below(4)) | (BigInt(random.below(4)) << 30n),
    );
    const ste = STRTAB + streamId * 64;
    const start = random.of([[16, 2, 0], [20, 2, 0], [25, 1, 0], [20, 2, 1], [24, 2, 2], [
      16,
      3,
      3,
    ]]);
    for (
      const [high, low, value] of [
        [143, 128, random.below(4)],
        [165, 160, start[0]],
        [167, 166, start[1]],
        [175, 174, start[2]],
        [178, 176, random.below(8)],
        [187, 179, random.of([1, 1, 1, random.below(512)])],
      ]
    ) guest.field(ste, high, low, value);
    guest.field(ste, 243, 196, BigInt(random.of([TABLE, TABLE, NOWHERE])) >> 4n);
    // A table that points at itself, at pages and at nothing.
    for (let i = 0; i < 8; i++) {
      const target = BigInt(random.of([TABLE, TABLE, DATA, NOWHERE])) |
        (BigInt(random.below(16)) << 44n);
      guest.quad(TABLE + random.below(512) * 8, target | 0x441n | BigInt(random.below(4)) * 2n);
    }
  }

  commands(): void {
    const { random, guest } = this;
    const base = guest.smmu.read32(0x90) & ~0xfff;
    for (let i = 0; i < 16; i++) {
      const gpa = (base >= RAM && base < NOWHERE ? base : CMDQ) + i * 16;
      guest.quad(gpa, (random.quad() & ~0xfffn) | BigInt(random.of(OPCODES)));
      guest.quad(gpa + 8, random.chance(0.5) ? BigInt(random.of(PLACES)) : random.quad());
    }
    guest.smmu.write32(0x98, random.below(32));
    guest.smmu.write32(0x64, guest.smmu.read32(0x60));
  }

  transfer(): void {
    const { random, guest } = this;
    const requester = {
      streamId: random.of([0, 1, 2, 7, random.word()]),
      substreamId: random.below(4) - 1,
    };
    const iova = random.of([random.quad(), BigInt(random.word()), BigInt(random.below(0x8000))]);
    const bytes = new Uint8Array(random.below(0x3000));
    const port = guest.smmu.dma;
    if (random.chance(0.4)) port.read(requester, ...split(iova), bytes);
    else if (random.chance(0.3)) {
      guest.smmu.stallablePort().write(requester, ...split(iova), bytes, () => this.ended++);
    } else if (random.chance(0.5)) port.write(requester, ...split(iova), bytes.fill(random.word()));
    else port.message(requester, ...split(iova), random.word());
  }
}

Deno.test("whatever a guest does, the device neither throws nor grows, and can be brought up again", () => {
  const random = new Random();
  for (let round = 0; round < 12; round++) {
    const hostile = new Hostile(random);
    const { guest } = hostile;
    try {
      for (let step = 0; step < 600; step++) hostile.step();
      const { tlb } = guest.smmu.translator;
      assert(tlb.count <= tlb.capacity);
      assert(guest.smmu.translator.tlb.domains.count <= 4096);
      guest.smmu.reset();
      new Uint8Array(guest.memory.buffer).fill(0);
      guest.enable();
      const { root } = guest.stage1(3, { ips: 0 });
      guest.map(root, 0x1000n, DATA);
      assert(guest.dmaWrite(3, 0x1000n, [1]));
    } catch (error) {
      throw new Error(`${random}, round ${round}`, { cause: error });
    }
  }
});

/** A guest with queues of 16 entries, and how many records its device has fetched. */
function counting(): { guest: Guest; fetches: () => number } {
  let fetches = 0;
  const guest = new Guest({
    wrap: (ram) =>
      altered(ram, {
        fetch: (gpa, into) => {
          fetches++;
          return ram.fetch(gpa, into);
        },
      }),
  });
  return { guest, fetches: () => fetches };
}

Deno.test("one write of CMDQ_PROD fetches at most one lap of commands", () => {
  const random = new Random();
  const { guest, fetches } = counting();
  for (let i = 0; i < 16; i++) guest.queue(0x46n);
  for (let i = 0; i < 1000; i++) {
    const before = fetches();
    guest.smmu.write32(0x98, random.word());
    assert(fetches() - before <= 16, `${random}`);
    guest.smmu.write32(0x20, 0x5);
    guest.smmu.write32(0x9c, random.word());
    guest.smmu.write32(0x20, 0xd);
  }
});

Deno.test("one translation fetches an STE, a CD and four descriptors, also from a table that points at itself", () => {
  const random = new Random();
  const { guest, fetches } = counting();
  guest.cd(CDS, { ttb0: TABLE });
  guest.ste(1, BigInt(CDS) | 0b1011n);
  // Every descriptor points back at its own table.
  for (let i = 0; i < 512; i++) guest.quad(TABLE + i * 8, BigInt(TABLE) | 0xc43n);
  for (let i = 0; i < 100; i++) {
    guest.forget();
    const before = fetches();
    guest.dmaRead(1, random.quad() & 0xffff_ffff_f000n);
    assertEquals(fetches() - before, 6, `${random}`);
  }
});

/** A small workload with an answer, to see that a wrong device is noticed. */
function workload(wrap?: (ram: GuestMemory) => GuestMemory): void {
  const guest = new Guest(wrap ? { wrap } : {});
  const { root } = guest.stage1(1);
  for (let page = 0; page < 16; page++) {
    guest.map(root, BigInt(page) * 0x1000n, DATA + ((page * 5) % 16) * 0x1000);
  }
  for (let page = 0; page < 16; page++) {
    assert(guest.dmaWrite(1, BigInt(page) * 0x1000n + 8n, [page + 1]));
    assertEquals(guest.memory.getUint8(DATA - RAM + ((page * 5) % 16) * 0x1000 + 8), page + 1);
    assertEquals(guest.dmaRead(1, BigInt(page) * 0x1000n + 8n), [page + 1]);
  }
  assertEquals(guest.dmaRead(2, 0n), undefined);
  assertEquals(guest.events(), [[0x2_0000_0004n, 0n, 0n, 0n]]);
  guest.command(0x46n | (1n << 12n) | (0x77n << 32n), BigInt(DATA + 0x2_0000));
  assertEquals(guest.word(DATA + 0x2_0000), 0x77);
}

Deno.test("canary: memory that lies is noticed, whichever way it lies", async (t) => {
  await t.step("honest memory passes", () => workload());
  const lies: Record<string, (ram: GuestMemory) => Partial<GuestMemory>> = {
    "fetch() of the neighbour": (ram) => ({ fetch: (gpa, into) => ram.fetch(gpa + 8, into) }),
    "fetch() of nothing": () => ({ fetch: () => true }),
    "store() of nothing": () => ({ store: () => true }),
    "store() elsewhere": (ram) => ({ store: (gpa, from) => ram.store(gpa + 32, from) }),
    "store32() of another value": (ram) => ({
      store32: (gpa, value) => ram.store32(gpa, value ^ 1),
    }),
    "read() of nothing": () => ({ read: () => true }),
    "write() elsewhere": (ram) => ({ write: (gpa, from) => ram.write(gpa + 1, from) }),
    "write() refused": () => ({ write: () => false }),
  };
  for (const [name, lie] of Object.entries(lies)) {
    await t.step(name, () => {
      assertThrows(() => workload((ram) => altered(ram, lie(ram))));
    });
  }
});
