/**
 * A function of the host as a guest sees it.
 * @module
 */
import { assertEquals } from "@std/assert";
import { ERRNO } from "../../uapi/errno.ts";
import { libc } from "../../uapi/libc.ts";
import { Poller } from "../../uapi/poll.ts";
import { AssignedFunction } from "../../vmm/vfio/assigned_function.ts";
import { planConfig, Policy } from "../../vmm/vfio/config_policy.ts";
import type { ResampledLine } from "../../vmm/vfio/host_intx.ts";
import { decidePasid, type PasidDecision } from "../../vmm/vfio/pasid_choice.ts";
import { FakeDma } from "../support/fake_dma.ts";
import { AT, FakeHostFunction, VECTORS } from "../support/host_function.ts";

/** VFIO_PCI_REQ_IRQ_INDEX. */
const REQUEST = 4;
const NO_PASID = { reason: "the test has none" };
const PASID = { abilities: { width: 8, execute: false, privileged: true } };

class Bench implements Disposable {
  readonly host: FakeHostFunction;
  readonly poller = new Poller();
  readonly dma = new FakeDma(0, 0);
  readonly lines: string[] = [];
  readonly levels: boolean[] = [];
  /** What became of requests of the host. */
  readonly recalls: string[] = [];
  canUnplug = true;
  seen: () => void = () => {};
  readonly pci: AssignedFunction;

  constructor(options: { hasIntx?: boolean; pasid?: PasidDecision; isMappable?: boolean } = {}) {
    libc();
    const { pasid = NO_PASID } = options;
    this.host = new FakeHostFunction(options);
    const irq: ResampledLine = {
      set: (asserted) => void this.levels.push(asserted),
      onSeen: (seen) => this.seen = seen,
    };
    this.pci = new AssignedFunction({
      name: "vfio0",
      host: this.host,
      requester: { streamId: 0x20, substreamId: -1 },
      dma: this.dma,
      irq,
      pasid,
      recall: {
        ask: (isLast) => {
          this.recalls.push(isLast ? "ask again" : "ask");
          return this.canUnplug;
        },
        release: () => void this.recalls.push("release"),
      },
      isMappable: options.isMappable ?? true,
      poller: this.poller,
      log: (line) => this.lines.push(line),
    });
    this.pci.reset();
    this.host.log.length = 0;
  }

  read(at: number, size: number): number {
    const into = new Uint8Array(size);
    this.pci.config.read(at, into);
    return into.reduceRight((value, byte) => value * 256 + byte, 0);
  }

  write(at: number, size: number, value: number): void {
    this.pci.config.write(at, Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i)));
  }

  bar(at: number, ...words: number[]): void {
    words.forEach((word, i) =>
      this.pci.bars[0].device.write(
        at + 4 * i,
        new Uint8Array(Uint32Array.of(word).buffer),
      )
    );
  }

  fire(index: number, vector = 0): void {
    this.host.fire(index, vector);
    this.poller.step(0);
  }

  [Symbol.dispose](): void {
    this.pci[Symbol.dispose]();
  }
}

Deno.test("the guest's list has the capabilities that it can use", () => {
  using bench = new Bench();
  const list: number[][] = [];
  for (let at = bench.read(0x34, 1); at !== 0; at = bench.read(at + 1, 1)) {
    list.push([at, bench.read(at, 1)]);
  }
  assertEquals(list, [[AT.PM, 0x01], [AT.MSIX, 0x11], [AT.EXPRESS, 0x10]]);
  assertEquals(bench.lines, [
    "Capability 0x5 at 0x50 is not shown",
    "No PASID capability: the test has none",
  ]);
  assertEquals([bench.read(0x30, 4), bench.read(0x3d, 1)], [0, 0]);
});

Deno.test("every byte is the host's or ours, and a guest writes what its policy says", () => {
  using bench = new Bench();
  const plan = planConfig(bench.host.space, { hasIntx: false, pasid: NO_PASID });
  for (let at = 0; at < 4096; at++) {
    if (at >= AT.MSIX && at < AT.MSIX + 12 || at === 4 || at === 5) continue;
    const before = bench.read(at, 1);
    bench.host.log.length = 0;
    bench.write(at, 1, 0xff);
    const isPassed = plan.policy[at] === Policy.Passed;
    assertEquals(bench.host.log.length, isPassed ? 1 : 0, `0x${at.toString(16)}`);
    const written = isPassed ? 0xff : before & ~plan.writable[at] | plan.writable[at];
    assertEquals(bench.read(at, 1), written, `0x${at.toString(16)}`);
  }
});

Deno.test("a dword of which we have a part reaches the host without it", () => {
  using bench = new Bench();
  bench.write(AT.PM, 4, 0x0103_ffff);
  assertEquals(bench.host.log, ["write 7 0x42: 3 1"]);
  assertEquals(bench.read(AT.PM, 2), AT.MSIX << 8 | 1);
});

Deno.test("MSI-X looks vendor specific to a VMM, until its first reset", () => {
  using bench = new Bench();
  bench.pci.coldReset();
  assertEquals(bench.read(AT.MSIX, 1), 0x09);
  bench.pci.reset();
  assertEquals(bench.read(AT.MSIX, 1), 0x11);
  bench.pci.coldReset();
  assertEquals(bench.read(AT.MSIX, 1), 0x09);
});

Deno.test("the guest's vectors: on, masked, pending, sent as the function, off", () => {
  using bench = new Bench();
  bench.bar(0x1010, 0xfee0_0040, 1, 81, 1);
  bench.write(4, 2, 6);
  bench.host.log.length = 0;
  bench.write(AT.MSIX + 2, 2, 0x8000);
  assertEquals(bench.host.log, [`irqs 2 trigger ${VECTORS}`]);
  bench.fire(2, 1);
  const pending = new Uint8Array(8);
  bench.pci.bars[0].device.read(0x2800, pending);
  assertEquals([bench.dma.messages.length, pending[0]], [0, 2]);
  bench.bar(0x101c, 0);
  assertEquals(bench.dma.messages, [{ streamId: 0x20, lo: 0xfee0_0040, hi: 1, data: 81 }]);
  bench.fire(2, 1);
  assertEquals(bench.dma.messages.length, 2);
  bench.write(AT.MSIX + 2, 2, 0);
  assertEquals(bench.host.log.at(-1), "irqs 2 trigger 0");
  assertEquals(bench.host.bar.every((byte) => byte === 0), true, "the table is not the host's");
});

Deno.test("accesses of a BAR are the host's; what it refuses reads as ones", () => {
  using bench = new Bench();
  bench.bar(0x18, 0x1234_5678);
  assertEquals(bench.host.log, ["write 0 0x18: 120 86 52 18"]);
  const into = new Uint8Array(4);
  bench.pci.bars[0].device.read(0x18, into);
  assertEquals([...into], [0x78, 0x56, 0x34, 0x12]);
  bench.host.errno = ERRNO.EIO;
  bench.pci.bars[0].device.read(0x18, into);
  bench.bar(0x18, 0);
  assertEquals([...into], [255, 255, 255, 255]);
  assertEquals(bench.lines.slice(2), ["Cannot read region 0: EIO", "Cannot write region 0: EIO"]);
  assertEquals(bench.pci.bars.map(({ index }) => index), [0]);
});

Deno.test("what can be mapped leaves out the pages of MSI-X", () => {
  using bench = new Bench();
  assertEquals([...bench.pci.mapped.keys()], [0]);
  assertEquals(bench.pci.mapped.get(0)!.areas, [
    { offset: 0, sizeBytes: 0x1000 },
    { offset: 0x3000, sizeBytes: 0x1000 },
  ]);
});

Deno.test("what is to be reached by traps alone is not mapped", () => {
  using bench = new Bench({ isMappable: false });
  assertEquals([bench.pci.mapped.size, bench.pci.bars.length], [0, 1]);
});

const GONE = "; it is given back, and the guest reads ones from it";

Deno.test("a function that the host wants goes when the VMM has let go of it, cannot, or does not in time", async (t) => {
  const cases: {
    name: string;
    canUnplug: boolean;
    then: string;
    recalls: string[];
    line: string;
  }[] = [
    {
      name: "the VMM leaves",
      canUnplug: true,
      then: "leave",
      recalls: ["ask", "release"],
      line: "The VMM has let go of the function",
    },
    {
      name: "it does not in time",
      canUnplug: true,
      then: "request",
      recalls: ["ask", "ask again", "release"],
      line: "The host still wants the function back: it was not unplugged in time",
    },
    {
      name: "it cannot",
      canUnplug: false,
      then: "",
      recalls: ["ask", "release"],
      line: "The host wants the function back, and nobody can unplug it",
    },
  ];
  for (const { name, canUnplug, then, recalls, line } of cases) {
    await t.step(name, () => {
      using bench = new Bench({ hasIntx: true });
      bench.canUnplug = canUnplug;
      bench.write(AT.MSIX + 2, 2, 0x8000);
      bench.host.log.length = 0;
      bench.fire(REQUEST);
      if (canUnplug) {
        assertEquals([bench.recalls, bench.host.log], [["ask"], []]);
        assertEquals(bench.read(0, 4), 0x10ca_8086, "it is the guest's until then");
        bench.pci.reset();
        assertEquals(bench.host.log.includes("reset"), false, "the host has locked it");
      }
      if (then === "leave") bench.pci.coldReset();
      if (then === "request") {
        bench.fire(REQUEST);
        bench.fire(REQUEST);
        assertEquals(bench.recalls, ["ask"], "it has longer than until the next requests");
        bench.fire(REQUEST);
      }
      assertEquals(bench.recalls, recalls);
      assertEquals(bench.lines.at(-1), line + GONE);
      // The last that it was told: interrupts off, no bus master.
      assertEquals(bench.host.log.includes("irqs 2 trigger 0"), true);
      assertEquals(bench.host.log.at(-1), "write 7 0x4: 0 0");
      assertGone(bench);
    });
  }
});

/** Every register reads as ones, and nothing reaches what is the host's. */
function assertGone(bench: Bench): void {
  bench.host.log.length = 0;
  const into = new Uint8Array(8);
  for (const at of [0, 0x18, 0x1010, 0x2800]) {
    bench.pci.bars[0].device.read(at, into);
    assertEquals([...into], new Array(8).fill(0xff), `BAR 0x${at.toString(16)}`);
    bench.bar(at, 0, 0);
  }
  for (let at = 0; at < 4096; at += 4) {
    assertEquals(bench.read(at, 4), 0xffff_ffff, `0x${at.toString(16)}`);
    bench.write(at, 4, 0xffff_ffff);
  }
  bench.pci.reset();
  bench.pci.coldReset();
  bench.seen();
  bench.host.signal(REQUEST);
  bench.poller.step(0);
  assertEquals([bench.host.log, bench.dma.messages, bench.recalls.at(-1)], [[], [], "release"]);
}

Deno.test("a VMM that leaves without being asked leaves the function for the next", () => {
  using bench = new Bench();
  bench.pci.coldReset();
  assertEquals([bench.recalls, bench.host.log.includes("reset")], [[], true]);
  assertEquals(bench.read(0, 4), 0x10ca_8086);
});

Deno.test("a wired interrupt stays until the guest has seen it, and gives way to MSI-X", () => {
  using bench = new Bench({ hasIntx: true });
  bench.pci.reset();
  assertEquals(bench.host.log.at(-1), "irqs 0 trigger 1");
  assertEquals(bench.read(0x3d, 1), 1);
  bench.levels.length = 0;
  bench.fire(0);
  assertEquals(bench.levels, [true]);
  bench.seen();
  assertEquals([bench.levels, bench.host.log.at(-1)], [[true, false], "irqs 0 unmask 0"]);
  bench.host.log.length = 0;
  bench.write(AT.MSIX + 2, 2, 0x8000);
  assertEquals(bench.host.log, ["irqs 0 trigger 0", `irqs 2 trigger ${VECTORS}`]);
  bench.seen();
  bench.write(AT.MSIX + 2, 2, 0);
  assertEquals(bench.host.log.slice(2), ["irqs 2 trigger 0", "irqs 0 trigger 1"]);
});

Deno.test("a PASID capability that the function does not have is the guest's to enable", () => {
  using bench = new Bench({ pasid: PASID });
  assertEquals([bench.read(0x100, 4), bench.read(0x104, 4)], [0x0001_001b, 0x0000_0804]);
  bench.host.log.length = 0;
  bench.write(0x106, 2, 0xffff);
  assertEquals([bench.read(0x106, 2), bench.host.log], [0b101, []]);
  bench.pci.reset();
  assertEquals(bench.read(0x106, 2), 0);
  assertEquals(
    bench.lines.some((line) => line.startsWith("A PASID capability of 8 bits is inserted: ")),
    true,
  );
});

Deno.test("PASIDs are shown as host and guest have them, and refused with both", () => {
  const host = (maxPasidLog2: number): { maxPasidLog2: number; capabilities: bigint } => ({
    maxPasidLog2,
    capabilities: 2n,
  });
  const abilities = (width: number): PasidDecision => ({
    abilities: { width, execute: true, privileged: false },
  });
  assertEquals(decidePasid("auto", host(16), 10), abilities(10));
  assertEquals(decidePasid("auto", host(5), 10), abilities(5));
  assertEquals(decidePasid("force", host(0), 10), abilities(10));
  assertEquals(decidePasid("force", host(0), 0), abilities(8));
  const reasons: [PasidDecision, string][] = [
    [decidePasid("off", host(16), 10), "it was asked for none"],
    [decidePasid("auto", host(0), 10), "the host's SMMU and function have no PASIDs for it"],
    [
      decidePasid("auto", host(5), 0),
      "the host has PASIDs of 5 bits, but the guest's SMMU has no SubstreamIDs",
    ],
  ];
  for (const [decision, reason] of reasons) assertEquals(decision, { reason });
});

Deno.test("chains of capabilities that never end, point anywhere or are cut do no harm", () => {
  for (let seed = 1; seed < 300; seed++) {
    let state = seed;
    const space = Uint8Array.from({ length: seed % 3 === 0 ? 256 : 4096 }, () => {
      state = Math.imul(state, 1664525) + 1013904223 | 0;
      return state >>> 24;
    });
    if (seed % 2 === 0) {
      for (let at = 0x40; at < 0x100; at += 4) space.set([1 + at % 20, 0x40], at);
    }
    const { initial, msix } = planConfig(space, { hasIntx: true, pasid: PASID });
    let at = initial[0x34];
    let length = 0;
    for (; at >= 0x40 && length < 100; length++) at = initial[at + 1] & 0xfc;
    assertEquals([at, length < 100, (msix?.offset ?? 0x40) + 12 <= 0x100], [0, true, true]);
  }
});
