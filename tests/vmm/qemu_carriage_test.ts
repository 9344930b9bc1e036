import { assertEquals, assertRejects } from "@std/assert";
import {
  barPlace,
  functionAddress,
  type PhysicalAccess,
  programCarriage,
  sharesInterrupt,
  showRegisters,
  swizzle,
} from "../../vmm/qemu/carriage.ts";

const ECAM = 0x40_1000_0000;
const BAR = 0x3ee0_0000;
const PORT = 0x40_1801_8000; // bus 0x80, slot 3
const CARRIER = 0x40_1810_0000; // bus 0x81, slot 0
const MEMORY = 0x40_1810_1000; // its function 1

/** A machine whose PCI configuration answers as QEMU's does: buses appear once the port is programmed. */
class FakeMachine implements PhysicalAccess {
  readonly writes: [number, number][] = [];
  readonly #words = new Map<number, number>();

  constructor(words: Record<number, number> = {}) {
    const initial = { [PORT]: 0x000c_1b36, [CARRIER]: 0x00aa_1b36, [BAR]: 0x0d44_101b, ...words };
    for (const [at, value] of Object.entries(initial)) this.#words.set(Number(at), value);
  }

  readl(gpa: number): Promise<number> {
    const isBehindPort = gpa >= CARRIER && gpa < CARRIER + 0x2000;
    const hasBuses = this.#words.get(PORT + 0x18) === 0x0081_8180;
    if (isBehindPort && !hasBuses) return Promise.resolve(0xffff_ffff);
    return Promise.resolve(this.#words.get(gpa) ?? 0);
  }

  writel(gpa: number, value: number): Promise<void> {
    this.writes.push([gpa, value]);
    const isBar0 = gpa === CARRIER + 0x10 || gpa === MEMORY + 0x10;
    this.#words.set(gpa, isBar0 ? (value | 4) >>> 0 : value);
    return Promise.resolve();
  }

  writew(gpa: number, value: number): Promise<void> {
    return this.writel(gpa, value);
  }
}

Deno.test("programCarriage() programs port and function, commands last", async () => {
  const machine = new FakeMachine();
  await programCarriage(machine, { ecam: ECAM, bar: BAR });
  assertEquals(machine.writes, [
    [0x40_1801_8018, 0x0081_8180],
    [0x40_1801_8020, 0x3ee0_3ee0],
    [0x40_1801_8004, 6],
    [0x40_1810_0010, 0x3ee0_0000],
    [0x40_1810_0014, 0],
    [0x40_1810_0004, 6],
  ]);
});

Deno.test("registers that are memory begin aside, and cover those that trap as long as they are shown", async () => {
  const machine = new FakeMachine({ [MEMORY]: 0x00aa_1b36 });
  const addresses = { ecam: ECAM, bar: BAR };
  await programCarriage(machine, addresses);
  assertEquals(machine.writes.slice(3), [
    [0x40_1810_0010, 0x3ee0_0000],
    [0x40_1810_0014, 0],
    [0x40_1810_0004, 6],
    [0x40_1810_1010, 0x3ee2_0000],
    [0x40_1810_1014, 0],
    [0x40_1810_1004, 6],
  ]);
  machine.writes.length = 0;
  await showRegisters(machine, addresses, true);
  await showRegisters(machine, addresses, false);
  assertEquals(machine.writes, [[0x40_1810_1010, 0x3ee0_0000], [0x40_1810_1010, 0x3ee2_0000]]);
});

Deno.test("programCarriage() says what does not answer", async (t) => {
  const cases = [
    { name: "no port", words: { [PORT]: 0xffff_ffff }, says: "Cannot find the root port" },
    {
      name: "no function",
      words: { [CARRIER]: 0xffff_ffff },
      says: "Cannot find the function that carries the SMMU",
    },
    {
      name: "no registers",
      words: { [BAR]: 0xffff_ffff },
      says: "Cannot reach the registers of the SMMU",
    },
  ];
  for (const { name, words, says } of cases) {
    await t.step(name, async () => {
      const machine = new FakeMachine(words);
      await assertRejects(() => programCarriage(machine, { ecam: ECAM, bar: BAR }), Error, says);
    });
  }
});

Deno.test("programCarriage() notices a BAR that does not keep its address", async () => {
  const machine = new FakeMachine();
  machine.writew = () => Promise.resolve();
  await assertRejects(
    () => programCarriage(machine, { ecam: ECAM, bar: BAR }),
    Error,
    "Cannot program the command register: wrote 0x6, read 0x0",
  );
});

Deno.test("swizzle() turns pins as bridges do", () => {
  const pins = [0, 1, 2, 3].map((slot) => [1, 2, 3, 4].map((pin) => swizzle(slot, pin)));
  assertEquals(pins, [[1, 2, 3, 4], [2, 3, 4, 1], [3, 4, 1, 2], [4, 1, 2, 3]]);
  assertEquals(swizzle(31, 1), 4);
});

Deno.test("sharesInterrupt() holds for slots 3, 7, 11 …", () => {
  const shared = Array.from({ length: 32 }, (_, slot) => slot).filter(sharesInterrupt);
  assertEquals(shared, [3, 7, 11, 15, 19, 23, 27, 31]);
});

Deno.test("barPlace() is the last whole MiB of a window", () => {
  assertEquals(barPlace(0x1000_0000, 0x2eff_0000), 0x3ee0_0000);
  assertEquals(barPlace(0x1000_0000, 0x1000_0000), 0x1ff0_0000);
});

Deno.test("functionAddress() follows ECAM", () => {
  assertEquals(functionAddress(0x40_1000_0000, 0x80, 3), 0x40_1801_8000);
  assertEquals(functionAddress(0x40_1000_0000, 0, 1), 0x40_1000_8000);
});
