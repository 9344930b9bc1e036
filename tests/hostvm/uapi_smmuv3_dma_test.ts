/** Memory accesses of a real device, an NVMe disk, through the kernel's nested SMMUv3. */
import { assertEquals } from "@std/assert";
import { Poller } from "../../uapi/poll.ts";
import {
  AT,
  eventWords,
  KernelGuest,
  PCI_CLASS,
  RAM_GPA,
  vfioPath,
  VSTE,
} from "../support/kernel_guest.ts";
import { Nvme, until } from "../support/nvme.ts";

const STREAM = 0x456;
/** Pages of the guest's memory, and where stage 1 has them. */
const QUEUE = { at: AT.FREE, iova: 0x5000 };
const COMPLETIONS = { at: AT.FREE + 0x1000, iova: 0x7000 };
const DATA = { at: AT.FREE + 0x2000, iova: 0x9000 };

/** A guest with the disk and its driver, which is stopped before the device is closed. */
function disk(poller?: Poller): { made: KernelGuest; nvme: Nvme; [Symbol.dispose](): void } {
  using stack = new DisposableStack();
  const made = stack.use(new KernelGuest(vfioPath(PCI_CLASS.NVME), STREAM, poller));
  const nvme = stack.use(new Nvme(made.device.vfio));
  for (const { at, iova } of [QUEUE, COMPLETIONS, DATA]) made.map(iova, at);
  const kept = stack.move();
  return { made, nvme, [Symbol.dispose]: () => kept.dispose() };
}

/** Has the disk identify itself; its queues and its answer are where `addresses` say. */
async function identify(
  made: KernelGuest,
  nvme: Nvme,
  addresses: { queue: number; completions: number; data: number },
): Promise<string> {
  const { ram } = made;
  ram.bytes.fill(0, AT.FREE, AT.FREE + 0x3000);
  await nvme.enable(addresses.queue, addresses.completions);
  nvme.writeIdentify(new Uint32Array(ram.bytes.buffer, QUEUE.at, 64), addresses.data);
  nvme.ring();
  const phase = (): boolean => (ram.view.getUint16(COMPLETIONS.at + 14, true) & 1) === 1;
  await until(phase, "identified");
  assertEquals(ram.view.getUint16(COMPLETIONS.at + 14, true) >> 1, 0, "status");
  return new TextDecoder().decode(ram.bytes.slice(DATA.at + 24, DATA.at + 64)).replace(
    /[ \0]+$/,
    "",
  );
}

const MODEL = "QEMU NVMe Ctrl";
const IOVAS = { queue: QUEUE.iova, completions: COMPLETIONS.iova, data: DATA.iova };

Deno.test("DMA goes through the guest's tables, through none, and is stopped", async (t) => {
  using rig = disk();
  const { made, nvme } = rig;
  await t.step("stage 1", async () => {
    made.device.attach(made.nested(VSTE.STAGE1));
    assertEquals(await identify(made, nvme, IOVAS), MODEL);
  });
  await t.step("a table that changes, after its invalidation", async () => {
    made.map(DATA.iova, AT.FREE + 0x4000);
    assertEquals(made.command(0x11n | (5n << 48n), 0n), { errno: 0, handled: 1 });
    assertEquals(await identify(made, nvme, IOVAS), "", "the old page stays empty");
    const text = made.ram.bytes.slice(AT.FREE + 0x4018, AT.FREE + 0x4018 + MODEL.length);
    assertEquals(new TextDecoder().decode(text), MODEL);
  });
  await t.step("bypass", async () => {
    made.device.attach(made.nested(VSTE.BYPASS));
    const gpas = {
      queue: RAM_GPA + QUEUE.at,
      completions: RAM_GPA + COMPLETIONS.at,
      data: RAM_GPA + DATA.at,
    };
    assertEquals(await identify(made, nvme, gpas), MODEL);
  });
  await t.step("abort", async () => {
    made.device.attach(made.nested(VSTE.ABORT));
    made.ram.bytes.fill(0, AT.FREE, AT.FREE + 0x3000);
    await nvme.enable(RAM_GPA + QUEUE.at, RAM_GPA + COMPLETIONS.at);
    nvme.ring();
    await until(() => nvme.isFatal, "failed");
  });
  await t.step("none of it is an event", () => assertEquals(eventWords(made.events), []));
});

Deno.test("DMA to what stage 1 does not map is an event of the guest's stream", async () => {
  const poller = new Poller();
  using rig = disk(poller);
  const { made, nvme } = rig;
  made.device.attach(made.nested(VSTE.STAGE1));
  let isReady = false;
  using _watch = made.events.watch(() => isReady = true);
  assertEquals(poller.step(0), 0);
  await nvme.enable(0x1_3000, COMPLETIONS.iova);
  nvme.ring();
  await until(() => nvme.isFatal, "failed");
  assertEquals([poller.step(5000), isReady], [1, true]);
  const [header, word0, word1, address, ipa] = eventWords(made.events);
  assertEquals(header, 0n, "flags, and sequence 0");
  assertEquals(word0 & 0xffn, 0x10n, "F_TRANSLATION");
  assertEquals(word0 >> 32n, BigInt(STREAM));
  assertEquals((word1 >> 35n) & 1n, 1n, "a read");
  assertEquals((word1 >> 39n) & 1n, 0n, "stage 1");
  assertEquals([address & ~0xfffn, ipa], [0x1_3000n, 0n]);
  assertEquals(eventWords(made.events), [], "one event");
});

Deno.test("a context descriptor that is not valid is an event too", async () => {
  const poller = new Poller();
  using rig = disk(poller);
  const { made, nvme } = rig;
  using _watch = made.events.watch(() => {});
  made.ram.view.setBigUint64(AT.CD, 0n, true);
  made.device.attach(made.nested(VSTE.STAGE1));
  assertEquals(made.command(0x05n | (BigInt(STREAM) << 32n), 1n), { errno: 0, handled: 1 });
  await nvme.enable(QUEUE.iova, COMPLETIONS.iova);
  nvme.ring();
  await until(() => nvme.isFatal, "failed");
  // The kernel's thread has the event a moment later than the disk has its abort.
  poller.step(5000);
  const [, word0] = eventWords(made.events);
  assertEquals([word0 & 0xffn, word0 >> 32n], [0x0an, BigInt(STREAM)], "C_BAD_CD");
});
