/**
 * Registers that are memory, and a guest that writes all of it all the time.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Poller } from "../../uapi/poll.ts";
import { DeviceThread } from "../../vmm/device_thread.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import { HAMMER, type HammerTask } from "../support/register_hammer.ts";
import { realize, VfioUserClient, words } from "../support/vfio_user_client.ts";

const RAM = { gpa: 0x4000_0000, sizeBytes: 0x10_0000 };
const PAGE_BYTES = 0x2_0000;
const MEBIBYTE = 0x10_0000;

/** What the DMA test device may answer: done, or stopped by a translation that the guest broke, or overwritten. */
const DMA_RESULTS = [0, 0xdead_0002, 0xdead_0004];

/** One transfer of 4 bytes by the test device behind `client`; returns its result. */
function transfer(client: VfioUserClient, gpa: number): number {
  const write = (offset: number, value: number): void => {
    const reply = client.request(10, words(BigInt(offset), 0, 4, value), { room: 32 });
    assertEquals(reply.errno, 0);
  };
  const read = (offset: number): number => {
    const { payload } = client.request(9, words(BigInt(offset), 0, 4), { room: 36 });
    return new DataView(payload.buffer).getUint32(16, true);
  };
  for (const [offset, value] of [[0x04, gpa], [0x08, 0], [0x0c, 4], [0x18, 0xa], [0x1c, gpa]]) {
    write(offset, value);
  }
  write(0x14, 1);
  read(0);
  return read(0x10);
}

/** Waits until something holds; the devices have some time for it. */
async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!holds()) {
    assert(performance.now() < end, `Not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

Deno.test("a guest that writes every byte of the registers stops nobody, and the SMMU is as before when it stops", async (t) => {
  using directory = await RuntimeDirectory.make();
  const [smmuSocketPath, socketPath] = ["smmu.sock", "dma.sock"].map((name) =>
    directory.file(name)
  );
  const lines: string[] = [];
  await using devices = await DeviceThread.start({
    smmuSocketPath,
    registers: "mapped",
    iommufd: "model",
    endpoints: [{ kind: "dma-test", socketPath, streamId: 8 }],
  }, (line) => lines.push(line));
  using ram = createMemfd("ram", RAM.sizeBytes);
  using ramMapping = new Mapping(ram, { offset: 0, sizeBytes: RAM.sizeBytes, writable: true });
  const machine = { ram: { gpa: BigInt(RAM.gpa), sizeBytes: BigInt(RAM.sizeBytes), fd: ram } };
  using smmu = new VfioUserClient(smmuSocketPath, new Poller());
  using endpoint = new VfioUserClient(socketPath, new Poller());
  realize(smmu, machine);
  realize(endpoint, machine);
  assertEquals(smmu.request(5, words(96, 0, 0, 0, 0n, 0n), { room: 112 }).errno, 0);
  const [page] = smmu.fds;
  using pageMapping = new Mapping(page, { offset: 0, sizeBytes: PAGE_BYTES, writable: true });
  const registers = new Uint32Array(pageMapping.buffer);
  const identity = registers.slice(0, 8);
  assertEquals(transfer(endpoint, RAM.gpa), 0);

  const shared = new Int32Array(new SharedArrayBuffer(4 * HAMMER.count));
  const hammers = [1, 2].map((seed) => {
    const worker = new Worker(new URL("../support/register_hammer.ts", import.meta.url), {
      type: "module",
    });
    const task: HammerTask = {
      seed,
      shared,
      page: { fd: page.number, sizeBytes: PAGE_BYTES },
      ram: { fd: ram.number, ...RAM },
    };
    worker.postMessage(task);
    return new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = ({ message }) => reject(new Error(message));
    });
  });

  await t.step("an endpoint is served all the while, and nothing grows", async () => {
    const rounds = (): number => Atomics.load(shared, HAMMER.rounds);
    await until("two rounds of the hammers", () => rounds() >= 2);
    const before = Deno.memoryUsage().rss;
    const noticed = devices.counters.summary().mmio.noticed;
    // A request that waits for five seconds fails.
    for (let i = 0; i < 400 || rounds() < 20; i++) {
      const result = transfer(endpoint, RAM.gpa + 4 * (i % 0x1000));
      assert(DMA_RESULTS.includes(result), `The test device answered ${result.toString(16)}`);
    }
    const grown = Deno.memoryUsage().rss - before;
    assert(grown < 64 * MEBIBYTE, `Grown by ${Math.round(grown / MEBIBYTE)} MiB`);
    assert(lines.length < 100, `${lines.length} lines for people`);
    // It was seen, and had the SMMU work.
    const summary = devices.counters.summary();
    assert(summary.mmio.noticed > noticed + 100);
    assert(summary.commandErrors > 0 && Object.keys(summary.commands).length > 0);
  });

  Atomics.store(shared, HAMMER.stop, 1);
  await Promise.all(hammers);

  await t.step("what it could not write is put right, and a driver begins anew", async () => {
    await until(
      "the identification is back",
      () => identity.every((word, i) => registers[i] === word),
    );
    registers[0x20 / 4] = 0;
    await until("CR0ACK follows CR0", () => registers[0x24 / 4] === 0);
    registers[0x44 / 4] = 0x8000_0000;
    await until("GBPA.UPDATE is clear", () => registers[0x44 / 4] === 0);
    const memory = new Uint32Array(ramMapping.buffer);
    memory[16] = 0;
    assertEquals(transfer(endpoint, RAM.gpa + 64), 0);
    assertEquals(memory[16], 0x1234_5678);
  });
});
