/** A function of the Host VM that its host takes back while a client has it: who lets go of it when, and who goes on. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { EventFd } from "../../uapi/eventfd.ts";
import type { Fd } from "../../uapi/fd.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Poller } from "../../uapi/poll.ts";
import { Counters } from "../../vmm/counters.ts";
import type { BarChoice } from "../../vmm/device_configuration.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { DeviceMachine } from "../../vmm/machine.ts";
import { PCI_CLASS, vfioPath } from "../support/kernel_guest.ts";
import { openDescriptors } from "../support/own_process.ts";
import { realize, VfioUserClient, words } from "../support/vfio_user_client.ts";

const RAM = { gpa: 0x4000_0000n, sizeBytes: 0x20_0000n };
const REQUEST = 4;
const DRIVER = "/sys/bus/pci/drivers/vfio-pci";

/** Both VFs, in one machine; the first is taken back. */
class Host implements Disposable {
  readonly folder = Deno.makeTempDirSync();
  readonly poller = new Poller();
  readonly lines: string[] = [];
  readonly counters = new Counters();
  readonly paths = [0, 1].map((index) => vfioPath(PCI_CLASS.ETHERNET, index));
  readonly address: string;
  readonly machine: DeviceMachine;
  readonly ram = createMemfd("ram", Number(RAM.sizeBytes));
  readonly clients: VfioUserClient[];

  constructor(bars: BarChoice) {
    const name = this.paths[0].slice(this.paths[0].lastIndexOf("/") + 1);
    this.address = Deno.realPathSync(`/sys/class/vfio-dev/${name}/device`).split("/").at(-1)!;
    this.machine = new DeviceMachine({
      smmuSocketPath: `${this.folder}/smmu.sock`,
      iommufd: "kernel",
      endpoints: this.paths.map((devicePath, at) => ({
        kind: "vfio" as const,
        devicePath,
        socketPath: `${this.folder}/${at}.sock`,
        streamId: 8 + 8 * at,
        bars,
      })),
    }, {
      poller: this.poller,
      counters: this.counters,
      log: (line) => void this.lines.push(line),
      ask: () => {},
      unplug: () => {},
    });
    this.clients = this.paths.map((_, at) => this.client(at));
    for (const client of this.clients) realize(client, { ram: { ...RAM, fd: this.ram } });
    this.lines.length = 0;
  }

  client(at: number): VfioUserClient {
    const client = new VfioUserClient(`${this.folder}/${at}.sock`, this.poller);
    this.poller.step(0);
    return client;
  }

  /** Vendor and device, as a client reads them. */
  ids(at: number): number {
    const { payload } = this.clients[at].request(9, words(0n, 7, 4), { room: 36 });
    return new DataView(payload.buffer).getUint32(16, true);
  }

  /** The first client is told of requests. */
  hear(event: EventFd): void {
    const payload = words(20, 0x24, REQUEST, 0, 1);
    assertEquals(this.clients[0].request(8, payload, { fds: [event.fd] }).errno, 0);
  }

  /** Begins to take it back: a write that returns when it is closed everywhere. */
  takeBack(): { isDone: boolean } {
    const taken = { isDone: false };
    sysfs(`${DRIVER}/unbind`, this.address).then(() => taken.isDone = true);
    return taken;
  }

  /** Serves until something holds, at most so long. */
  async until(holds: () => boolean, timeoutMs: number): Promise<boolean> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      if (holds()) return true;
      if (performance.now() > end) return false;
      this.poller.step(1);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** What somebody else finds then: a function for anybody. */
  async assertFree(): Promise<void> {
    await sysfs(`${DRIVER}/bind`, this.address);
    const name = [...Deno.readDirSync(`/sys/bus/pci/devices/${this.address}/vfio-dev`)][0].name;
    using iommufd = KernelIommufd.open();
    using device = iommufd.bindVfio(`/dev/vfio/devices/${name}`);
    const command = new Uint8Array(2);
    device.vfio.read(7, 4, command);
    assertEquals(command[0] & 4, 0, "no bus master");
  }

  [Symbol.dispose](): void {
    for (const client of this.clients) client[Symbol.dispose]();
    this.machine[Symbol.dispose]();
    this.ram[Symbol.dispose]();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** In a process of its own: the write may take long. */
async function sysfs(path: string, text: string): Promise<void> {
  const args = ["-c", `echo ${text} > ${path}`];
  const { success } = await new Deno.Command("sh", { args }).output();
  assert(success, `${text} > ${path}`);
}

Deno.test("a VMM that is asked and leaves gives the function back, and the other function goes on", async () => {
  const before = openDescriptors();
  {
    using host = new Host("trapped");
    using event = EventFd.create();
    host.hear(event);
    const taken = host.takeBack();
    assert(await host.until(() => event.drain() > 0, 5000), `the VMM hears of it: ${host.lines}`);
    assertEquals([taken.isDone, host.ids(0) === 0xffff_ffff], [false, false]);
    host.clients[0].leave();
    assert(await host.until(() => taken.isDone, 5000), "the write returns");
    assertEquals(host.lines.map((line) => line.replace(/^vfio\d+: /, "")), [
      "The host wants the function back: the VMM is asked to unplug it",
      "The client is gone: it left",
      "The VMM has let go of the function; it is given back, and the guest reads ones from it",
    ]);
    await host.assertFree();
    assert(host.ids(1) !== 0xffff_ffff);
    const { calls } = host.counters.summary().iommufd;
    assertEquals(calls["VFIO_DEVICE_DETACH_IOMMUFD_PT"], 1);
    assertThrows(() => host.client(0), SystemError);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a VMM that does not unplug it reads ones, when nobody was asked or at the kernel's fourth request", async () => {
  for (const isAsked of [false, true]) {
    using host = new Host("trapped");
    using event = EventFd.create();
    if (isAsked) host.hear(event);
    const began = performance.now();
    const taken = host.takeBack();
    assert(await host.until(() => taken.isDone, 35_000));
    const seconds = (performance.now() - began) / 1000;
    assert(isAsked ? seconds > 29 : seconds < 5, `${seconds} s`);
    assertEquals(host.ids(0), 0xffff_ffff);
    assert(host.ids(1) !== 0xffff_ffff);
    assertEquals(host.clients[0].request(13, new Uint8Array(0)).errno, 0, "a reset is nothing");
    await host.assertFree();
  }
});

Deno.test("what a VMM has mapped it holds, and the log says so", async () => {
  using host = new Host("mapped");
  host.clients[0].request(5, words(256, 0, 0, 0, 0n, 0n), { room: 256 });
  const held: Fd[] = host.clients[0].fds;
  assertEquals(held.length, 1);
  const taken = host.takeBack();
  assert(await host.until(() => host.lines.length === 2, 5000));
  assertEquals(host.lines.map((line) => line.replace(/^vfio\d+: /, "")), [
    "The host wants the function back, and nobody can unplug it; it is given back, and the guest reads ones from it",
    "The VMM still has its registers mapped: the host waits until the VMM ends",
  ]);
  assertEquals([await host.until(() => taken.isDone, 500), host.ids(0)], [false, 0xffff_ffff]);
  for (const fd of held.splice(0)) fd[Symbol.dispose]();
  assert(await host.until(() => taken.isDone, 5000));
  await host.assertFree();
});
