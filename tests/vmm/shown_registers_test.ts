/**
 * Registers that a guest meets as memory while it uses them, and that trap at rest: two functions of one SMMU, and a
 * machine that shows one of them.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Poller } from "../../uapi/poll.ts";
import { DeviceThread } from "../../vmm/device_thread.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import { realize, VfioUserClient, words } from "../support/vfio_user_client.ts";

const RAM = { gpa: 0x4000_0000, sizeBytes: 0x10_0000 };
const PAGE_BYTES = 0x2_0000;
const IRQ_CTRL = 0x50;
const IRQ_CTRLACK = 0x54;
const REGION_READ = 9;
const REGION_WRITE = 10;
const MMAP = 4;

/** Waits until something holds; the device has some time for it. */
async function until(
  what: string,
  holds: () => boolean,
  meanwhile = (): void => {},
): Promise<void> {
  const end = performance.now() + 60_000;
  while (!holds()) {
    assert(performance.now() < end, `Not within a minute: ${what}`);
    meanwhile();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

Deno.test("registers are memory while a guest is busy, and trap at rest", async (t) => {
  using directory = await RuntimeDirectory.make();
  const [smmuSocketPath, smmuMemorySocketPath] = ["smmu.sock", "memory.sock"]
    .map((name) => directory.file(name));
  await using devices = await DeviceThread.start(
    { smmuSocketPath, smmuMemorySocketPath, registers: "mapped", iommufd: "none", endpoints: [] },
    () => {},
  );
  using ram = createMemfd("ram", RAM.sizeBytes);
  const machine = { ram: { gpa: BigInt(RAM.gpa), sizeBytes: BigInt(RAM.sizeBytes), fd: ram } };
  using trapping = new VfioUserClient(smmuSocketPath, new Poller());
  using memory = new VfioUserClient(smmuMemorySocketPath, new Poller());
  realize(trapping, machine);
  realize(memory, machine);
  const regionFlags = (client: VfioUserClient): number => {
    const { payload } = client.request(5, words(96, 0, 0, 0, 0n, 0n), { room: 112 });
    return new DataView(payload.buffer).getUint32(4, true);
  };
  const write = (offset: number, value: number): void =>
    trapping.post(REGION_WRITE, words(BigInt(offset), 0, 4, value));
  const read = (offset: number): number => {
    const { payload } = trapping.request(REGION_READ, words(BigInt(offset), 0, 4), { room: 36 });
    return new DataView(payload.buffer).getUint32(16, true);
  };

  assertEquals(regionFlags(trapping) & MMAP, 0, "writes that trap are posted");
  assertEquals(regionFlags(memory) & MMAP, MMAP);
  const [page] = memory.fds;
  using mapping = new Mapping(page, { offset: 0, sizeBytes: PAGE_BYTES, writable: true });
  const registers = new Uint32Array(mapping.buffer);

  await t.step("while nobody can change it, memory is looked at", async () => {
    registers[IRQ_CTRL / 4] = 1;
    await until("IRQ_CTRLACK follows", () => registers[IRQ_CTRLACK / 4] === 1);
  });

  const shown: boolean[] = [];
  devices.showBy((areMemory) => {
    shown.push(areMemory);
    return Promise.resolve();
  });
  await t.step("what was written to memory comes before what traps", () => {
    for (const value of [4, 1, 5, 0]) {
      registers[IRQ_CTRL / 4] = value;
      assertEquals([read(IRQ_CTRL), read(IRQ_CTRLACK)], [value, value]);
    }
    write(IRQ_CTRL, 4);
    assertEquals([read(IRQ_CTRL), registers[IRQ_CTRL / 4]], [4, 4]);
  });
  await t.step("a busy guest gets memory", async () => {
    const burst = (): void => {
      for (let i = 0; i < 50; i++) write(IRQ_CTRL, i & 5);
    };
    await until("memory is shown", () => shown.includes(true), burst);
    const { noticed } = devices.counters.summary().mmio;
    registers[IRQ_CTRL / 4] = registers[IRQ_CTRL / 4] ^ 1;
    await until("it is looked at", () => devices.counters.summary().mmio.noticed > noticed);
  });
  await t.step("one that rests has traps, and what it still wrote to memory is found", async () => {
    await until("traps are shown", () => shown.at(-1) === false);
    registers[IRQ_CTRL / 4] = registers[IRQ_CTRL / 4] ^ 4;
    await until("it is found", () => registers[IRQ_CTRLACK / 4] === registers[IRQ_CTRL / 4]);
    assertEquals(shown.at(-1), false);
  });
});
