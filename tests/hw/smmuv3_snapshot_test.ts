import { assert, assertEquals, assertThrows } from "@std/assert";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { CDS, CMDQ, DATA, EVENTQ, Guest, STRTAB } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const STREAMS = [1, 2, 36, 70];

/** A guest whose TLB and context cache are full all the time: 4 translations, and two streams that share a slot. */
function guest(): Guest {
  const guest = new Guest({ log2queue: 2, log2tlbSets: 0 });
  for (const streamId of [2, 36]) {
    const { root } = guest.stage1(streamId, { asid: streamId & 3 });
    map(guest, root);
  }
  // Two substreams; requests without one bypass.
  const root = guest.root();
  map(guest, root);
  guest.cd(CDS + 0x1000, { asid: 5, ttb0: root });
  guest.cd(CDS + 0x1040, { asid: 0, ttb0: root });
  guest.ste(1, BigInt(CDS + 0x1000) | 0b1011n | (1n << 59n), 0x1n);
  return guest;
}

function map(guest: Guest, root: number): void {
  for (let page = 0; page < 6; page++) {
    guest.map(root, BigInt(page * 0x1000), DATA + page * 0x1000, page & 1 ? 0x440n : 0xc40n);
  }
  guest.map(root, 0x3_0000n, DATA, 0xc40n, 2);
}

/** A thing that a guest or an endpoint may do, the same for each that it is given to. */
function operation(random: Random): (guest: Guest) => unknown {
  const streamId = random.of(STREAMS);
  const substreamId = random.of([-1, -1, 0, 1]);
  const iova = BigInt(
    random.of([random.below(8) * 0x1000, 0x3_0000 + random.below(512) * 0x1000]),
  );
  const address = iova | BigInt(random.below(4096));
  const asid = random.of([0, 1, 2, 5]);
  const opcode = random.of([0x30n, 0x04n, 0x03n, 0x46n, 0x99n]);
  switch (random.below(10)) {
    case 0:
      return (guest) => guest.command(0x11n | (BigInt(asid) << 48n));
    case 1:
      return (guest) => guest.command(0x12n | (BigInt(asid) << 48n), iova | 1n);
    case 2:
      return (guest) => guest.command(0x05n | (BigInt(streamId) << 32n));
    case 3:
      return (guest) => guest.command(opcode, 0x1fn);
    case 4:
      return (guest) => guest.events();
    case 5:
      return (guest) => guest.smmu.write32(0x64, guest.smmu.read32(0x60));
    case 6:
      return (guest) =>
        guest.smmu.dma.message({ streamId, substreamId }, Number(address & ~3n), 0, 7);
    default:
      return (guest) => guest.dmaRead(streamId, address, 0x1800, substreamId);
  }
}

/** Everything that the guest could see. */
function visible({ smmu, memory, eventq, gerror }: Guest): unknown[] {
  const registers = [0x20, 0x60, 0x64, 0x98, 0x9c, 0x1_00a8, 0x1_00ac].map((at) => smmu.read32(at));
  const queues = [EVENTQ, CMDQ].map((gpa) => new Uint8Array(memory.buffer, gpa - 0x4000_0000, 128));
  return [registers, queues, eventq.pulses, gerror.pulses];
}

/** Replaces the device by a fresh one that restores what JSON made of the snapshot. */
function renew(guest: Guest): void {
  const fresh = new SmmuV3({
    memory: guest.ram,
    lines: { eventq: guest.eventq, gerror: guest.gerror, cmdSync: guest.cmdSync },
    msi: { send: () => false },
    log2tlbSets: 0,
  });
  fresh.restore(JSON.parse(JSON.stringify(guest.smmu.snapshot())));
  (guest as { smmu: SmmuV3 }).smmu = fresh;
}

Deno.test("a fresh device that restores a snapshot goes on as the one it was taken of", () => {
  const random = new Random();
  const [kept, renewed] = [guest(), guest()];
  for (let i = 0; i < 3_000; i++) {
    if (random.chance(0.03)) renew(renewed);
    // Tables change without a word, so what is cached shows.
    if (random.chance(0.02)) {
      const gpa = random.of([STRTAB + 2 * 64, CDS + 36 * 64, CDS + 0x1000, CDS + 0x1040]);
      const bit = 1n << BigInt(random.of([0, 14, 31]));
      for (const guest of [kept, renewed]) guest.quad(gpa, guest.load(gpa) ^ bit);
    }
    const act = operation(random);
    const expected = act(kept);
    assertEquals(act(renewed), expected, `${random}, operation ${i}`);
    assertEquals(String(visible(renewed)), String(visible(kept)), `${random}, operation ${i}`);
  }
  assertEquals(renewed.smmu.snapshot(), kept.smmu.snapshot(), `${random}`);
});

Deno.test("a context that was pushed out and still answers is part of a snapshot", () => {
  const device = guest();
  // Stream 36 and substream 0 of stream 1 share a slot; the one that was found last answers all the same.
  device.dmaRead(36, 0n);
  device.dmaRead(36, 0n);
  device.dmaRead(1, 0n, 1, 0);
  renew(device);
  device.field(STRTAB + 36 * 64, 0, 0, 0);
  assertEquals(device.probe(36, 0n), "data 0");
  device.dmaRead(1, 0n, 1, 0);
  assertEquals(device.probe(36, 0n), "event 4");
});

Deno.test("a snapshot is a plain value that later operations leave alone", () => {
  const device = guest();
  device.dmaRead(2, 0n, 1);
  const snapshot = device.smmu.snapshot();
  const text = JSON.stringify(snapshot);
  assertEquals(JSON.parse(text), snapshot);
  device.smmu.reset();
  device.dmaRead(2, 0n, 1);
  assertEquals(JSON.stringify(snapshot), text);
  assert(text.length < 5_000, `${text.length} bytes`);
});

Deno.test("a snapshot of another version or of a TLB of another size is refused", () => {
  const { smmu } = guest();
  const snapshot = smmu.snapshot();
  assertThrows(() => smmu.restore({ ...snapshot, version: 99 }), RangeError, "version 99");
  const tlb = { ...snapshot.tlb, capacity: 8 };
  assertThrows(() => smmu.restore({ ...snapshot, tlb }), RangeError, "8 entries into one of 4");
  assertEquals(smmu.snapshot(), snapshot);
});

Deno.test("a CMD_ATC_INV that nobody answered fails the CMD_SYNC after the restoration", () => {
  for (const renewed of [false, true]) {
    const { memory, ram } = new Guest({ enabled: false });
    const make = (): SmmuV3 =>
      new SmmuV3({
        memory: ram,
        features: { ats: true },
        endpoints: { invalidate: () => false, respond: () => {} },
      });
    let smmu = make();
    memory.setBigUint64(CMDQ - 0x4000_0000, 0x40n, true);
    memory.setBigUint64(CMDQ - 0x4000_0000 + 16, 0x46n, true);
    smmu.write32(0x90, CMDQ | 2);
    smmu.write32(0x20, 9);
    smmu.write32(0x98, 1);
    assertEquals(smmu.read32(0x9c), 1);
    if (renewed) {
      const snapshot = smmu.snapshot();
      smmu = make();
      smmu.restore(snapshot);
    }
    smmu.write32(0x98, 2);
    assertEquals([smmu.read32(0x9c), smmu.read32(0x60)], [0x0300_0001, 1], `${renewed}`);
    smmu.write32(0x64, 1);
    assertEquals(smmu.read32(0x9c), 2);
  }
});

/** A guest with a stream that stalls, of which nothing is mapped. */
function stalling(): { guest: Guest; root: number } {
  const guest = new Guest({ features: { stallModel: 0, stallMax: 2 } });
  const { root } = guest.stage1(3, { word1: 1 << 12 });
  return { guest, root };
}

const SLOW = { streamId: 3, substreamId: -1 };

Deno.test("what is stalled waits for software in the device that restores it, and ends for the endpoint there", () => {
  const { guest, root } = stalling();
  const ends: string[] = [];
  const port = guest.smmu.stallablePort();
  const bytes = new Uint8Array(0x1008).fill(0xee);
  // The first page is done before it stalls; of two that look alike the endpoint knows the order.
  guest.map(root, 0x5000n, DATA);
  guest.quad(DATA + 0xff8, 0x1111_2222_3333_4444n);
  port.read(SLOW, 0x5ff8, 0, bytes, () => ends.push("old"));
  port.write(SLOW, 0x9000, 0, Uint8Array.of(1), () => ends.push("old"));
  port.write(SLOW, 0x9000, 0, Uint8Array.of(2), () => ends.push("old"));
  const snapshot = JSON.parse(JSON.stringify(guest.smmu.snapshot()));
  assertEquals(snapshot.stalls.slots.length, 2);
  assertEquals(snapshot.stalls.keptBack.length, 1);
  const asked: unknown[] = [];
  const sides = [bytes.slice(), Uint8Array.of(1), Uint8Array.of(2)];
  guest.renew((stalled) => {
    asked.push([stalled.number, stalled.isWrite, stalled.lo, stalled.sizeBytes, stalled.doneBytes]);
    const { number } = stalled;
    return { bytes: sides[number], done: (ok) => ends.push(`${number} ${ok}`) };
  });
  assertEquals(asked, [
    [0, false, 0x5ff8, 0x1008, 8],
    [1, true, 0x9000, 1, 0],
    [2, true, 0x9000, 1, 0],
  ]);
  const [first, second] = guest.events().map(([, q1]) => q1 & 0xffffn);
  guest.map(root, 0x6000n, DATA + 0x2000);
  guest.map(root, 0x9000n, DATA + 0x3000);
  guest.quad(DATA + 0x2000, 0x5555n);
  guest.command(0x44n | 1n << 12n | 3n << 32n, first);
  // The answer made room for the one that software did not know of, which by then is mended.
  assertEquals(ends, ["0 true", "2 true"]);
  assertEquals([sides[0][0], sides[0][8], sides[0][0x1007]], [0x44, 0x55, 0]);
  assertEquals(guest.load(DATA + 0x3000), 2n);
  guest.command(0x44n | 1n << 13n | 3n << 32n, second);
  assertEquals(ends, ["0 true", "2 true", "1 false"]);
});

Deno.test("a stalled transaction that nobody waits for has its STAG until software disposes of it", () => {
  const { guest, root } = stalling();
  const port = guest.smmu.stallablePort();
  port.write(SLOW, 0x9000, 0, Uint8Array.of(1), () => {});
  guest.renew();
  guest.renew();
  const [tag] = guest.events().map(([, q1]) => q1 & 0xffffn);
  guest.map(root, 0x9000n, DATA);
  assertEquals(guest.smmu.snapshot().stalls.slots.length, 1);
  guest.command(0x44n | 1n << 12n | 3n << 32n, tag);
  assertEquals(guest.load(DATA), 0n);
  assertEquals(guest.smmu.snapshot().stalls.slots, [[0, 2, null]]);
});

Deno.test("stalled transactions that cannot be here are refused, and nothing changes", () => {
  const { guest } = stalling();
  const { smmu } = guest;
  smmu.stallablePort().write(SLOW, 0x9000, 0, Uint8Array.of(1), () => {});
  const snapshot = smmu.snapshot();
  const [[, stag, transaction]] = snapshot.stalls.slots;
  const stalls = { ...snapshot.stalls, slots: [[2, stag, transaction]] as const };
  assertThrows(() => smmu.restore({ ...snapshot, stalls }), RangeError, "more than 2 stalled");
  const side = { bytes: new Uint8Array(2), done: (): void => {} };
  assertThrows(
    () => smmu.restore(snapshot, () => side),
    RangeError,
    "Cannot restore a transaction of 1 bytes for an endpoint that has 2",
  );
  assertEquals(smmu.snapshot(), snapshot);
});
