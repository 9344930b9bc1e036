/**
 * The DMA test device with its ATC and page requests, behind the SMMU, driven as a guest drives it.
 * @module
 */
import { assertEquals } from "@std/assert";
import { DmaTestDevice } from "../../hw/endpoints/dma_test_device.ts";
import { EndpointRouter } from "../../hw/endpoints/endpoint_router.ts";
import { CDS, DATA, Guest, RAM } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";
import { peek, poke } from "../support/virtio_driver.ts";

const SID = 1;
const IOVA = 0x5_0000;
const [A, B] = [DATA + 0x1000, DATA + 0x2000];
const PRIQ = 0x4003_0000;
/** Of configuration space: the controls of PASID, ATS and page requests. */
const [PASID_CONTROL, ATS_CONTROL, PRI_CONTROL] = [0x106, 0x10e, 0x114];
const [PRI_STATUS, PRI_ALLOCATION] = [0x116, 0x11c];
const ATS_ENABLE = 0x8000;
const [FAILED, BAD_ATTRS] = [0xdead_0002, 0xdead_0006];
const Addressing = { Untranslated: 0, Cached: 1, Translated: 2 };
const PASID_VALID = 0x8000_0000;

/** A device with two substreams and none, all of one table. */
class Bench {
  readonly guest: Guest;
  readonly device: DmaTestDevice;
  readonly root: number;
  readonly leaf: number;

  constructor() {
    const router = new EndpointRouter();
    const guest = this.guest = new Guest({
      features: { ats: true, pri: true, ssidSize: 4 },
      endpoints: router,
      log2queue: 6,
    });
    const requester = { streamId: SID, substreamId: -1 };
    const { smmu } = guest;
    this.device = new DmaTestDevice({
      requester,
      dma: smmu.dma,
      memory: guest.ram,
      pasidWidth: 4,
      ats: smmu.atsPort(),
      pageRequests: true,
    });
    router.add(requester, this.device);
    const root = this.root = guest.root();
    for (let i = 0; i < 4; i++) guest.cd(CDS + i * 64, { ttb0: root, asid: 1 });
    // S1CDMax=2, S1DSS=2, EATS=1.
    guest.ste(SID, BigInt(CDS) | 0b1011n | (2n << 59n), 2n | (1n << 28n));
    this.leaf = guest.map(root, BigInt(IOVA), A);
    smmu.write32(0xc0, PRIQ | 3);
    smmu.write32(0x20, 0xf);
    poke(this.device.config, ATS_CONTROL, 2, ATS_ENABLE);
    poke(this.device.config, PASID_CONTROL, 2, 0b111);
    poke(this.device.config, PRI_ALLOCATION, 4, 32);
    poke(this.device.config, PRI_CONTROL, 2, 1);
  }

  get(register: number): number {
    return peek(this.device.bars[0].device, register, 4);
  }

  set(register: number, value: number): void {
    poke(this.device.bars[0].device, register, 4, value);
  }

  aim(iova: number, pasid?: number): void {
    this.set(0x04, iova % 2 ** 32);
    this.set(0x08, Math.floor(iova / 2 ** 32));
    this.set(0x1000, pasid === undefined ? 0 : PASID_VALID | pasid);
  }

  /** A transfer of 8 bytes: where it went, or RESULT. */
  transfer(iova: number, addressing: number, pasid?: number): string {
    const { guest } = this;
    for (const page of [A, B]) guest.quad(page, 0n);
    this.aim(iova, pasid);
    this.set(0x0c, 8);
    this.set(0x1c, A);
    this.set(0x20, 0);
    this.set(0x1020, addressing);
    this.set(0x14, 1);
    this.get(0x00);
    const [inA, inB] = [A, B].map((page) => guest.load(page) !== 0n);
    const result = this.get(0x10);
    return inA ? "A" : inB ? "B" : result.toString(16);
  }

  /** The answer to a translation request. */
  translate(kind: number, iova: number = IOVA, pasid?: number): [result: number, address: number] {
    this.aim(iova, pasid);
    this.set(0x1010, kind);
    return [this.get(0x1014), this.get(0x101c) * 2 ** 32 + this.get(0x1018)];
  }

  map(gpa: number | undefined): void {
    this.guest.quad(this.leaf, gpa === undefined ? 0n : BigInt(gpa) | 0xc43n);
  }

  tlbi(): void {
    this.guest.command(0x30n);
  }

  /** CMD_ATC_INV, as its words say. */
  atcInv(low: bigint, high: bigint): void {
    this.guest.command(0x40n | BigInt(SID) << 32n | low, high);
    this.guest.command(0x46n);
  }

  /** What is in the PRI queue, consumed. */
  requests(): [bigint, bigint][] {
    const { smmu, memory } = this.guest;
    const found: [bigint, bigint][] = [];
    const prod = smmu.read32(0x1_00c8) & 0xf;
    let cons = smmu.read32(0x1_00cc) & 0xf;
    for (; cons !== prod; cons = (cons + 1) & 0xf) {
      const at = PRIQ - RAM + (cons & 7) * 16;
      found.push([memory.getBigUint64(at, true), memory.getBigUint64(at + 8, true)]);
    }
    smmu.write32(0x1_00cc, (smmu.read32(0x1_00c8) & 0x8000_0000 | cons) >>> 0);
    return found;
  }

  /** CMD_PRI_RESP. */
  respond(group: number, response: number, pasid?: number): void {
    const substream = pasid === undefined ? 0n : 1n << 11n | BigInt(pasid) << 12n;
    const high = BigInt(group) | BigInt(response) << 12n;
    this.guest.command(0x41n | BigInt(SID) << 32n | substream, high);
  }

  status(): number {
    return peek(this.device.config, PRI_STATUS, 2);
  }
}

Deno.test("capabilities for PASIDs, ATS and page requests, one after the other", () => {
  const { config, bars } = new Bench().device;
  assertEquals(bars[0].sizeBytes, 0x2000);
  assertEquals([0x100, 0x108, 0x110].map((at) => peek(config, at, 4)), [
    0x1081_001b,
    0x1101_000f,
    0x0001_0013,
  ]);
  assertEquals(peek(config, 0x10c, 2), 0x60, "Page Aligned Request, Global Invalidate");
  poke(config, ATS_CONTROL, 2, 0xffff);
  assertEquals(peek(config, ATS_CONTROL, 2), 0x801f);
  assertEquals([peek(config, PRI_STATUS, 2), peek(config, 0x118, 4)], [0x8000, 32]);
});

Deno.test("a request through the registers", () => {
  const bench = new Bench();
  const success = (letters: number): number => letters << 8 | 12 << 16;
  assertEquals(bench.translate(0b0010), [success(0b0011), A]);
  assertEquals(
    bench.translate(0b1100),
    [success(0b0011), A],
    "without a PASID the rest is nothing",
  );
  assertEquals(bench.translate(0b0110, IOVA, 3), [success(0b0111), A]);
  assertEquals(bench.translate(0b1110, IOVA, 3), [success(0b1011), A], "writable by users: PXN");
  for (const [enables, sent] of [[0b001, 0b0000], [0b011, 0b0100], [0b101, 0b1000]]) {
    poke(bench.device.config, PASID_CONTROL, 2, enables);
    for (const kind of [0b0100, 0b1000, 0b1100]) {
      const status = bench.translate(kind, IOVA, 3)[0] & 7;
      assertEquals(status, (kind & ~sent) === 0 ? 0 : 7, `${enables} ${kind}`);
    }
  }
  assertEquals(bench.translate(0, IOVA + 0x1000), [success(0), 0]);
  assertEquals(bench.translate(0, IOVA, 5), [4, 0], "no CD of that substream: completer abort");
  bench.guest.ste(SID, BigInt(CDS) | 0b1011n | (2n << 59n), 2n);
  bench.guest.forget();
  assertEquals(bench.translate(0), [1, 0], "EATS=0: unsupported request");
  poke(bench.device.config, PASID_CONTROL, 2, 0);
  assertEquals(bench.translate(0, IOVA, 3), [7, 0], "no PASID Enable: not sent");
  poke(bench.device.config, ATS_CONTROL, 2, 0);
  assertEquals(bench.translate(0), [7, 0], "no ATS Enable: not sent");
});

Deno.test("the ATC keeps a page until CMD_ATC_INV: TLB invalidation does not reach it", () => {
  const bench = new Bench();
  assertEquals([bench.transfer(IOVA, Addressing.Cached), bench.get(0x1024)], ["A", 1]);
  bench.map(B);
  bench.tlbi();
  assertEquals(bench.transfer(IOVA, Addressing.Untranslated), "B");
  assertEquals(bench.transfer(IOVA, Addressing.Cached), "A", "still");
  bench.atcInv(0n, BigInt(IOVA));
  assertEquals([bench.get(0x1024), bench.get(0x1028)], [0, 1]);
  assertEquals(bench.transfer(IOVA, Addressing.Cached), "B");
  bench.map(A);
  bench.atcInv(0n, BigInt(IOVA));
  assertEquals(bench.transfer(IOVA, Addressing.Cached), "B", "the TLB still has it: first TLBI");
  bench.map(undefined);
  bench.tlbi();
  bench.atcInv(0n, BigInt(IOVA));
  assertEquals(bench.transfer(IOVA, Addressing.Cached), FAILED.toString(16));
});

Deno.test("CMD_ATC_INV: substreams, Global, and sizes up to everything", () => {
  const fill = (bench: Bench): void => {
    for (const pasid of [undefined, 1, 3]) bench.transfer(IOVA, Addressing.Cached, pasid);
    assertEquals(bench.get(0x1024), 3);
  };
  const ssv = 1n << 11n;
  const cases: { low: bigint; high: bigint; left: number }[] = [
    // Without a substream it is for all of them.
    { low: 0n, high: BigInt(IOVA), left: 0 },
    { low: 0n, high: BigInt(IOVA + 0x1000), left: 3 },
    { low: ssv | 3n << 12n, high: BigInt(IOVA), left: 2 },
    { low: ssv | 2n << 12n, high: BigInt(IOVA), left: 3 },
    { low: ssv | 1n << 9n, high: BigInt(IOVA), left: 0 },
    { low: ssv | 1n << 9n, high: BigInt(IOVA + 0x1000), left: 3 },
    { low: ssv | 1n << 9n, high: BigInt(IOVA + 0x1000) | 1n, left: 0 },
    { low: ssv | 1n << 9n, high: BigInt(2 ** 40) | 27n, left: 3 },
    { low: ssv | 1n << 9n, high: BigInt(2 ** 40) | 29n, left: 0 },
    { low: ssv | 1n << 9n, high: 52n, left: 0 },
  ];
  for (const { low, high, left } of cases) {
    const bench = new Bench();
    fill(bench);
    bench.atcInv(low, high);
    assertEquals(bench.get(0x1024), left, `${low.toString(16)} ${high.toString(16)}`);
  }
  const bench = new Bench();
  fill(bench);
  poke(bench.device.config, ATS_CONTROL, 2, 0);
  assertEquals(bench.get(0x1024), 0, "what is disabled keeps nothing");
  assertEquals(bench.transfer(IOVA, Addressing.Cached), BAD_ATTRS.toString(16));
});

Deno.test("random changes: the ATC has what a page was since TLBI before the last CMD_ATC_INV of it, never older", () => {
  const random = new Random();
  const bench = new Bench();
  const { guest } = bench;
  const targets = [A, B, DATA + 0x3000, DATA + 0x4000];
  const pages = [0, 1, 2, 3].map((i) => IOVA + i * 0x1000);
  const leaves = pages.map((page) => guest.map(bench.root, BigInt(page), A));
  /** What each page was, one after the other; and since when the TLB, and each substream's ATC, may have it. */
  const history: (number | undefined)[][] = pages.map(() => [A]);
  const tlbSince = pages.map(() => 0);
  const atcSince = pages.map(() => new Map<number, number>());
  const substreams = [-1, 1, 3];
  const seen = { stale: 0, fresh: 0, failed: 0 };
  for (let i = 0; i < 6000; i++) {
    const at = random.below(pages.length);
    switch (random.below(8)) {
      case 0:
      case 1: {
        const target = random.chance(0.2) ? undefined : random.of(targets);
        guest.quad(leaves[at], target === undefined ? 0n : BigInt(target) | 0xc43n);
        history[at].push(target);
        break;
      }
      case 2:
        bench.tlbi();
        for (const page of pages.keys()) tlbSince[page] = history[page].length - 1;
        break;
      case 3: {
        const substreamId = random.of(substreams);
        const isGlobal = substreamId >= 0 && random.chance(0.3);
        const log2pages = random.of([0, 0, 0, 1, 2, 52]);
        const ssv = substreamId < 0 ? 0n : 1n << 11n | BigInt(substreamId) << 12n;
        const first = random.below(8);
        bench.atcInv(ssv | (isGlobal ? 1n << 9n : 0n), BigInt(IOVA + first * 0x1000 | log2pages));
        const isCovered = (page: number): boolean => first >> log2pages === page >> log2pages;
        for (const page of pages.keys()) {
          if (log2pages < 52 && !isCovered(page)) continue;
          for (const each of isGlobal ? substreams : [substreamId]) {
            atcSince[page].set(each, tlbSince[page]);
          }
        }
        break;
      }
      default: {
        const substreamId = random.of(substreams);
        for (const target of targets) guest.quad(target, 0n);
        bench.transfer(pages[at], Addressing.Cached, substreamId < 0 ? undefined : substreamId);
        const found = targets.find((target) => guest.load(target) !== 0n);
        const since = atcSince[at].get(substreamId) ?? 0;
        const possible = history[at].slice(since);
        assertEquals(possible.includes(found), true, `${random}, step ${i}`);
        if (found === undefined) seen.failed++;
        else if (found === history[at].at(-1)) seen.fresh++;
        else seen.stale++;
      }
    }
  }
  assertEquals(Object.values(seen).every((count) => count > 100), true, JSON.stringify(seen));
});

Deno.test("a translated address goes where it says, as ATSCHK lets it", () => {
  const bench = new Bench();
  const { smmu } = bench.guest;
  assertEquals(bench.transfer(B, Addressing.Translated), "B");
  smmu.write32(0x20, 0x1f);
  assertEquals(bench.transfer(B, Addressing.Translated), "B", "EATS=1");
  bench.guest.ste(SID, BigInt(CDS) | 0b1011n | (2n << 59n), 2n);
  bench.guest.forget();
  assertEquals(bench.transfer(B, Addressing.Translated), FAILED.toString(16));
  assertEquals(bench.guest.eventNumbers(), [7]);
  assertEquals(bench.transfer(B, 3), BAD_ATTRS.toString(16));
});

Deno.test("a page that is not there is asked for, mapped, answered and used", () => {
  const bench = new Bench();
  bench.map(undefined);
  for (const pasid of [undefined, 3]) {
    assertEquals(bench.translate(0b10, IOVA, pasid), [12 << 16, 0]);
    bench.set(0x1030, 0b1_0011 | 0x155 << 16); // read, write, last
    assertEquals([bench.get(0x1038), bench.get(0x1034)], [1, 0]);
    const substream = pasid === undefined ? 0n : 1n << 63n | BigInt(pasid) << 32n;
    assertEquals(bench.requests(), [
      [BigInt(SID) | substream | 0b111n << 60n, BigInt(IOVA) | 0x155n],
    ]);
    bench.map(B);
    bench.respond(0x155, 2, pasid);
    assertEquals([bench.get(0x1038), bench.get(0x1034)], [0, 0x8000_0000 + 0x2_0155]);
    assertEquals(bench.transfer(IOVA, Addressing.Cached, pasid), "B");
    bench.map(undefined);
    bench.tlbi();
  }
  assertEquals(bench.status(), 0x8000);
});

Deno.test("an answer to a group that nobody asked for, a failure, an overflow, and what may not be sent", async (t) => {
  const ask = (bench: Bench, group: number, bits = 0b1_0001, pasid?: number): void => {
    bench.aim(IOVA, pasid);
    bench.set(0x1030, bits | group << 16);
  };
  const NOT_SENT = 1 << 30;
  const ANSWERED = 0x8000_0000;
  await t.step("unexpected", () => {
    const bench = new Bench();
    bench.respond(5, 2);
    assertEquals(bench.status(), 0x8002);
    ask(bench, 6, 0b1_0001, 3);
    bench.respond(6, 2);
    assertEquals([bench.status(), bench.get(0x1038)], [0x8002, 1], "without its PASID");
    poke(bench.device.config, PRI_STATUS, 2, 2);
    bench.respond(6, 2, 3);
    assertEquals([bench.status(), bench.get(0x1038)], [0x8000, 0]);
  });
  await t.step("failure", () => {
    const bench = new Bench();
    ask(bench, 7, 0b1_0001, 3);
    bench.respond(7, 0);
    assertEquals([bench.status(), bench.get(0x1034)], [0x8001, ANSWERED + 7]);
    ask(bench, 8);
    assertEquals([bench.get(0x1034), bench.get(0x1038)], [NOT_SENT, 0], "until it is cleared");
    poke(bench.device.config, PRI_STATUS, 2, 1);
    ask(bench, 8);
    assertEquals([bench.get(0x1034), bench.get(0x1038)], [0, 1]);
  });
  await t.step("the queue is disabled", () => {
    const bench = new Bench();
    bench.guest.smmu.write32(0x20, 0xd);
    ask(bench, 9);
    assertEquals([bench.status(), bench.get(0x1034), bench.get(0x1038)], [0x8001, ANSWERED + 9, 0]);
  });
  await t.step("the queue is full", () => {
    const bench = new Bench();
    for (let group = 0; group < 9; group++) ask(bench, group);
    assertEquals([bench.get(0x1034), bench.get(0x1038)], [ANSWERED + 0x2_0008, 8]);
    assertEquals(bench.requests().length, 8);
  });
  await t.step("the allocation, one group of two substreams, Enable and Reset", () => {
    const bench = new Bench();
    poke(bench.device.config, PRI_ALLOCATION, 4, 2);
    ask(bench, 1, 1, 1);
    ask(bench, 1, 1, 3);
    assertEquals([bench.get(0x1034), bench.get(0x1038)], [NOT_SENT, 1]);
    ask(bench, 1, 0b1_0001, 1);
    ask(bench, 2);
    assertEquals([bench.get(0x1034), bench.get(0x1038)], [NOT_SENT, 2]);
    ask(bench, 0, 0b1_0000, 3);
    assertEquals(bench.get(0x1034), NOT_SENT, "a Stop Marker counts as well");
    poke(bench.device.config, PRI_CONTROL, 2, 0);
    assertEquals(bench.status(), 0x8000, "not stopped: two are outstanding");
    bench.respond(1, 1, 1);
    assertEquals([bench.status(), bench.get(0x1034)], [0x8100, ANSWERED + 0x1_0001]);
    poke(bench.device.config, PRI_CONTROL, 2, 1);
    ask(bench, 1);
    poke(bench.device.config, PRI_CONTROL, 2, 2);
    assertEquals([peek(bench.device.config, PRI_CONTROL, 2), bench.get(0x1038)], [0, 0]);
    assertEquals(bench.status(), 0x8100);
    ask(bench, 1);
    assertEquals(bench.get(0x1034), NOT_SENT);
  });
  await t.step("a Stop Marker is queued and never outstanding", () => {
    const bench = new Bench();
    ask(bench, 0, 0b1_0000, 3);
    assertEquals([bench.requests().length, bench.get(0x1038)], [1, 0]);
  });
});

Deno.test("a reset forgets translations and requests", () => {
  const bench = new Bench();
  bench.transfer(IOVA, Addressing.Cached);
  bench.set(0x1030, 0b1_0001);
  poke(bench.device.config, 0x48, 2, 0x8000); // Function Level Reset
  const registers = [
    0x1000,
    0x1010,
    0x1014,
    0x1018,
    0x1020,
    0x1024,
    0x1028,
    0x1030,
    0x1034,
    0x1038,
  ];
  assertEquals(registers.map((register) => bench.get(register)), registers.map(() => 0));
  assertEquals([peek(bench.device.config, ATS_CONTROL, 2), bench.status()], [0, 0x8100]);
});
