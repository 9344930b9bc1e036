/**
 * Stalled transactions: held, told, resumed, terminated, each once. IHI 0070 §3.12.2, §4.7.1, §4.7.2, §7.2.1.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { StallableDmaPort } from "../../hw/device.ts";
import type { GuestMemory } from "../../hw/guest_memory.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { altered, DATA, Guest, RAM, split, STRTAB } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const CD_S = 1 << 12;
const STALL = 1n << 31n;

/** A transaction and what became of it. */
interface Pending {
  /** Undefined while it waits. */
  ok: boolean | undefined;
  ends: number;
  bytes: Uint8Array;
}

class Scene {
  readonly guest: Guest;
  readonly port: StallableDmaPort;
  readonly roots: number[] = [];

  constructor(
    features: Partial<Features> = {},
    log2queue: number = 4,
    wrap: (ram: GuestMemory) => GuestMemory = (ram): GuestMemory => ram,
  ) {
    const chosen = { stallModel: 0, stallMax: 4, ...features };
    this.guest = new Guest({ features: chosen, log2queue, wrap });
    this.port = this.guest.smmu.stallablePort();
    for (const streamId of [0, 1, 2]) {
      this.roots.push(this.guest.stage1(streamId, { word1: CD_S, asid: streamId + 1 }).root);
    }
  }

  request(streamId: number, iova: bigint, write: number[] | number): Pending {
    const isRead = typeof write === "number";
    const bytes = isRead ? new Uint8Array(write).fill(0xee) : Uint8Array.from(write);
    const pending: Pending = { ok: undefined, ends: 0, bytes };
    const done = (ok: boolean): void => {
      pending.ok = ok;
      pending.ends++;
    };
    const requester = { streamId, substreamId: -1 };
    if (isRead) this.port.read(requester, ...split(iova), bytes, done);
    else this.port.write(requester, ...split(iova), bytes, done);
    return pending;
  }

  /** STAGs of the records that are there, all of them of stalls. */
  stags(): { streamId: number; stag: bigint }[] {
    return this.guest.events().map(([q0, q1]) => {
      assertEquals(q1 & STALL, STALL);
      return { streamId: Number(q0 >> 32n), stag: q1 & 0xffffn };
    });
  }

  resume(streamId: number, stag: bigint, ac: number, ab: number = 0): void {
    const w0 = 0x44n | (BigInt(ac) << 12n) | (BigInt(ab) << 13n) | (BigInt(streamId) << 32n);
    this.guest.command(w0, stag);
  }

  map(streamId: number, iova: bigint, gpa: number): void {
    this.guest.map(this.roots[streamId], iova, gpa);
  }
}

Deno.test("a fault with CD.S stalls, tells so, and ends as CMD_RESUME says", async (t) => {
  const cases: {
    name: string;
    ac: number;
    ab: number;
    mend?: boolean;
    ok: boolean;
    byte: number;
  }[] = [
    { name: "terminate, RAZ/WI", ac: 0, ab: 0, ok: true, byte: 0 },
    { name: "terminate with an abort", ac: 0, ab: 1, ok: false, byte: 0xee },
    { name: "retry, mended", ac: 1, ab: 0, mend: true, ok: true, byte: 0x5a },
    { name: "retry with Ab, which is ignored", ac: 1, ab: 1, mend: true, ok: true, byte: 0x5a },
  ];
  for (const { name, ac, ab, mend, ok, byte } of cases) {
    await t.step(name, () => {
      const scene = new Scene();
      scene.guest.memory.setUint8(DATA - RAM, 0x5a);
      const pending = scene.request(1, 0x1000n, 1);
      assertEquals(pending.ok, undefined, "it waits");
      const [record] = scene.guest.events();
      assertEquals([record[0] & 0xffn, record[1] & STALL, record[2]], [0x10n, STALL, 0x1000n]);
      if (mend) scene.map(1, 0x1000n, DATA);
      scene.resume(1, record[1] & 0xffffn, ac, ab);
      assertEquals([pending.ok, pending.ends, pending.bytes[0]], [ok, 1, byte]);
    });
  }
});

Deno.test("with IDR0.TERM_MODEL a terminated transaction aborts whatever Ab says", () => {
  const scene = new Scene({ abortOnly: true });
  const pending = scene.request(1, 0x1000n, 1);
  scene.resume(1, scene.stags()[0].stag, 0, 0);
  assertEquals(pending.ok, false);
});

Deno.test("a retry that faults again stalls again, under another STAG", () => {
  const scene = new Scene();
  const pending = scene.request(1, 0x1000n, [1]);
  const [{ stag }] = scene.stags();
  scene.resume(1, stag, 1);
  const [again] = scene.stags();
  assert(again.stag !== stag);
  scene.resume(1, stag, 0, 1);
  assertEquals(pending.ok, undefined, "the old STAG is nothing any more");
  scene.resume(2, again.stag, 0, 1);
  assertEquals(pending.ok, undefined, "nor is the STAG of another stream");
  scene.resume(1, again.stag, 0, 1);
  assertEquals([pending.ok, pending.ends], [false, 1]);
});

Deno.test("of a long transaction only the page that faults is held; what is before is done, and stays", () => {
  const scene = new Scene();
  scene.map(1, 0x1000n, DATA);
  const pending = scene.request(1, 0x1ffen, [1, 2, 3, 4]);
  assertEquals([pending.ok, scene.guest.memory.getUint16(DATA - RAM + 0xffe)], [undefined, 0x0102]);
  scene.map(1, 0x2000n, DATA + 0x5000);
  scene.resume(1, scene.stags()[0].stag, 1);
  assertEquals([pending.ok, scene.guest.memory.getUint16(DATA - RAM + 0x5000)], [true, 0x0304]);
});

Deno.test("a requester that cannot wait is terminated, and its record says nothing of a stall", () => {
  const scene = new Scene();
  assertEquals(scene.guest.dmaRead(1, 0x1000n), undefined);
  const [[, q1]] = scene.guest.events();
  assertEquals([q1 & STALL, q1 & 0xffffn], [0n, 0n]);
});

Deno.test("configuration errors and external aborts never stall", () => {
  const scene = new Scene();
  scene.guest.ste(1, 0n);
  assertEquals(scene.request(1, 0x1000n, 1).ok, false);
  scene.guest.stage1(2, { word1: CD_S, ttb0: 0x1000 });
  assertEquals(scene.request(2, 0x1000n, 1).ok, false);
  assertEquals(scene.guest.eventNumbers(), [0x04, 0x0b]);
});

Deno.test("CMD_STALL_TERM ends those of its stream, SMMUEN=0 and a reset all of them, with an abort", () => {
  const ends: [string, (guest: Guest) => void, (boolean | undefined)[]][] = [
    ["CMD_STALL_TERM", (guest) => guest.command(0x45n | (1n << 32n)), [false, undefined, false]],
    ["SMMUEN", (guest) => guest.smmu.write32(0x20, 0xc), [false, false, false]],
    ["reset", (guest) => guest.smmu.reset(), [false, false, false]],
  ];
  for (const [name, end, expected] of ends) {
    const scene = new Scene();
    const pending = [1, 2, 1].map((streamId) => scene.request(streamId, 0x1000n, 1));
    end(scene.guest);
    assertEquals(pending.map(({ ok }) => ok), expected, name);
  }
});

Deno.test("stall records are never lost: what finds no place is tried again when there is one", () => {
  // Two records fit into the queue, and four stalls are known at once.
  const scene = new Scene({ stallMax: 4 }, 1);
  const pending = Array.from({ length: 9 }, (_, i) => scene.request(i % 3, 0x1000n, 1));
  assertEquals(scene.guest.smmu.read32(0x1_00a8) >>> 31, 0, "no overflow");
  const told = new Set<string>();
  for (let i = 0; told.size < 9; i++) {
    assert(i < 9, `${told.size} of 9 are told`);
    for (const { streamId, stag } of scene.stags()) {
      told.add(`${streamId} ${stag}`);
      scene.resume(streamId, stag, 0, 1);
    }
  }
  assertEquals(pending.map(({ ok, ends }) => [ok, ends]), pending.map(() => [false, 1]));
});

Deno.test("while the queue is disabled, or in error, stalls wait; they are told afterwards", () => {
  const scene = new Scene();
  scene.guest.smmu.write32(0x20, 0x9); // SMMUEN, CMDQEN
  const pending = scene.request(1, 0x1000n, 1);
  assertEquals([pending.ok, scene.guest.events().length], [undefined, 0]);
  scene.guest.smmu.write32(0x20, 0xd);
  scene.resume(1, scene.stags()[0].stag, 0, 1);
  assertEquals(pending.ok, false);
});

Deno.test("a transaction that waits for a place succeeds when its page has appeared meanwhile", () => {
  const scene = new Scene({ stallMax: 1 });
  const [first, second] = [scene.request(1, 0x1000n, 1), scene.request(2, 0x1000n, 1)];
  const [{ stag }, ...more] = scene.stags();
  assertEquals(more, [], "one is known at a time");
  scene.map(2, 0x1000n, DATA);
  scene.resume(1, stag, 0, 1);
  assertEquals([first.ok, second.ok, scene.stags()], [false, true, []]);
});

Deno.test("more than can be kept back is aborted, so that nothing grows without end", () => {
  const scene = new Scene();
  const pending = Array.from({ length: 1100 }, () => scene.request(1, 0x1000n, 1));
  const aborted = pending.filter(({ ok }) => ok === false).length;
  assertEquals(aborted, 1100 - 1024 - 4);
  scene.guest.smmu.write32(0x20, 0xc);
  assertEquals(pending.every(({ ends }) => ends === 1), true);
});

Deno.test("who waits for a place in the queue is not tried again for each command while there is none", () => {
  let fetches = 0;
  const scene = new Scene({ stallMax: 4, log2CommandQueue: 8 }, 8, (ram) =>
    altered(ram, {
      fetch: (gpa, into) => {
        fetches++;
        return ram.fetch(gpa, into);
      },
    }));
  scene.guest.smmu.write32(0x20, 0x9); // SMMUEN, CMDQEN: no event can be recorded
  const pending = Array.from({ length: 1000 }, () => scene.request(1, 0x1000n, 1));
  fetches = 0;
  for (let i = 0; i < 256; i++) scene.guest.queue(0x45n | (2n << 32n)); // STALL_TERM of another stream
  scene.guest.ring();
  assert(fetches <= 256 * (1 + 4), `${fetches} fetches: a command, and one walk`);
  scene.guest.smmu.write32(0x20, 0xd);
  assertEquals(scene.stags().length, 4, "in order, as many as may be known");
  assertEquals(pending.filter(({ ok }) => ok !== undefined), []);
});

Deno.test("which CDs and STEs are legal, by STALL_MODEL, CD.S, S1STALLD and S2S (§5.5)", () => {
  for (const stallModel of [0, 1, 2]) {
    const stallMax = stallModel === 1 ? 0 : 4;
    for (const s of [0, 1]) {
      for (const s1stalld of [0n, 1n]) {
        const guest = new Guest({ features: { stallModel, stallMax } });
        const { root, cd } = guest.stage1(1, { word1: s * CD_S });
        guest.map(root, 0x1000n, DATA);
        guest.ste(1, BigInt(cd) | 0b1011n, s1stalld << 27n);
        const isSteBad = s1stalld === 1n && stallModel !== 0;
        const isCdBad = (s === 1 && (stallModel === 1 || s1stalld === 1n)) ||
          (s === 0 && stallModel === 2);
        const expected = isSteBad ? "event 4" : isCdBad ? "event a" : "data 0";
        assertEquals(guest.probe(1, 0x1000n), expected, `${stallModel} ${s} ${s1stalld}`);
      }
      const guest = new Guest({ features: { stallModel, stallMax, stage2: true } });
      const root = guest.root();
      guest.map(root, 0x1000n, DATA, 0x4fcn);
      guest.ste(1, 0b1101n);
      const fields = [[165, 160, 16], [167, 166, 2], [178, 176, 5], [179, 179, 1], [185, 185, s]];
      for (const [high, low, value] of fields) guest.field(STRTAB + 64, high, low, value);
      guest.field(STRTAB + 64, 243, 196, root >> 4);
      const isBad = (s === 1 && stallModel === 1) || (s === 0 && stallModel === 2);
      assertEquals(guest.probe(1, 0x1000n), isBad ? "event 4" : "data 0", `S2S ${s}`);
    }
  }
});

Deno.test("P23: whatever software does, each transaction ends once, and those that wait are known or kept back", () => {
  const random = new Random();
  for (let round = 0; round < 20; round++) {
    const scene = new Scene({ stallMax: 1 + random.below(4) }, random.below(4));
    const all: Pending[] = [];
    const known: { streamId: number; stag: bigint }[] = [];
    for (let step = 0; step < 200; step++) {
      const text = `${random}, round ${round}, step ${step}`;
      const streamId = random.below(3);
      switch (random.below(7)) {
        case 0:
        case 1:
        case 2:
          all.push(scene.request(streamId, BigInt(random.below(3)) * 0x1000n, random.of([[1], 1])));
          break;
        case 3:
          known.push(...scene.stags());
          break;
        case 4:
        case 5: {
          const answer = random.chance(0.8)
            ? known.shift()
            : { streamId, stag: BigInt(random.below(64)) };
          if (answer) scene.resume(answer.streamId, answer.stag, random.below(2), random.below(2));
          break;
        }
        case 6:
          if (random.chance(0.2)) scene.map(streamId, BigInt(random.below(3)) * 0x1000n, DATA);
          else if (random.chance(0.3)) scene.guest.command(0x45n | (BigInt(streamId) << 32n));
      }
      assertEquals(all.filter(({ ends }) => ends > 1).length, 0, text);
      assertEquals(scene.guest.smmu.read32(0x60), 0, text);
      assertEquals(scene.guest.smmu.read32(0x1_00a8) >>> 31, 0, `${text}: no overflow`);
    }
    scene.guest.smmu.write32(0x20, 0xc);
    assertEquals(all.filter(({ ends }) => ends !== 1).length, 0, `${random}, round ${round}`);
  }
});
