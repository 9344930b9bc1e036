/** A function of the Host VM served over vfio-user: what a client finds, and what is left when somebody goes. */
import { assert, assertEquals } from "@std/assert";
import { createMemfd } from "../../uapi/memfd.ts";
import { Poller } from "../../uapi/poll.ts";
import { VFIO_PCI } from "../../uapi/vfio/region.ts";
import { Counters } from "../../vmm/counters.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { DeviceMachine } from "../../vmm/machine.ts";
import { PCI_CLASS, vfioPath } from "../support/kernel_guest.ts";
import { openDescriptors } from "../support/own_process.ts";
import { realize, VfioUserClient, words } from "../support/vfio_user_client.ts";

const CONFIG = VFIO_PCI.CONFIG_REGION_INDEX;
const BUS_MASTER = 4;
const RAM = { gpa: 0x4000_0000n, sizeBytes: 0x20_0000n };

/** A machine with the `index`-th VF, in a folder of its own. */
class Served implements Disposable {
  readonly folder = Deno.makeTempDirSync();
  readonly poller = new Poller();
  readonly lines: string[] = [];
  readonly counters = new Counters();
  readonly socketPath = `${this.folder}/vf.sock`;
  readonly machine: DeviceMachine;

  constructor(readonly devicePath: string) {
    this.machine = new DeviceMachine({
      smmuSocketPath: `${this.folder}/smmu.sock`,
      iommufd: "kernel",
      endpoints: [{ kind: "vfio", devicePath, socketPath: this.socketPath, streamId: 8 }],
    }, {
      poller: this.poller,
      counters: this.counters,
      log: (line) => void this.lines.push(line),
      ask: () => {},
      unplug: () => {},
    });
  }

  client(): VfioUserClient {
    const client = new VfioUserClient(this.socketPath, this.poller);
    this.poller.step(0);
    return client;
  }

  [Symbol.dispose](): void {
    this.machine[Symbol.dispose]();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** The command register of a device that nobody has. */
function commandOf(devicePath: string): number {
  using iommufd = KernelIommufd.open();
  using device = iommufd.bindVfio(devicePath);
  const into = new Uint8Array(2);
  device.vfio.read(CONFIG, 4, into);
  return into[0] | into[1] << 8;
}

/** The ID of the MSI-X capability as the client sees it. */
function msixId(client: VfioUserClient, at: number): number {
  return client.request(9, words(BigInt(at), 7, 1), { room: 33 }).payload[16];
}

Deno.test("a VF has its own BARs and an MSI-X that appears with the first reset", () => {
  const before = openDescriptors();
  {
    using served = new Served(vfioPath(PCI_CLASS.ETHERNET));
    using ram = createMemfd("ram", Number(RAM.sizeBytes));
    using client = served.client();
    const { regionSizes, config, intxCount } = realize(client, { ram: { ...RAM, fd: ram } });
    assertEquals(regionSizes, [0x4000, 0, 0, 0x4000, 0, 0, 0x1000]);
    // The line is there, but the function has no pin for it.
    assertEquals([intxCount, config[0x3d]], [1, 0]);
    let at = config[0x34];
    while (at !== 0 && config[at] !== 0x09) at = config[at + 1];
    assert(at !== 0, "the MSI-X capability is in disguise at first");
    assertEquals(msixId(client, at), 0x11);
    assertEquals(served.counters.summary().iommufd.calls["IOMMU_IOAS_MAP_FILE"], 1);
    assert(served.lines.some((line) => line.includes("No PASID capability: the host's SMMU")));
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a client that leaves takes its DMA along, and the next one finds a fresh function", () => {
  using served = new Served(vfioPath(PCI_CLASS.ETHERNET));
  for (let turn = 0; turn < 2; turn++) {
    using ram = createMemfd("ram", Number(RAM.sizeBytes));
    const client = served.client();
    const { config } = realize(client, { ram: { ...RAM, fd: ram } });
    assertEquals(config[4] & BUS_MASTER, 0);
    client.request(10, words(4n, 7, 2, 6).subarray(0, 18), { room: 32 });
    const { payload } = client.request(9, words(4n, 7, 2), { room: 34 });
    assertEquals(payload[16] & BUS_MASTER, BUS_MASTER);
    client.leave();
    const { calls } = served.counters.summary().iommufd;
    assertEquals([calls["IOMMU_IOAS_MAP_FILE"], calls["IOMMU_IOAS_UNMAP"]], [turn + 1, turn + 1]);
  }
});

Deno.test("RAM that the VMM adds is shown to the function, and taken away when it goes", () => {
  using served = new Served(vfioPath(PCI_CLASS.ETHERNET));
  using ram = createMemfd("ram", Number(RAM.sizeBytes));
  using more = createMemfd("more", 0x10_0000);
  using client = served.client();
  realize(client, { ram: { ...RAM, fd: ram } });
  const calls = (): (number | undefined)[] => {
    const { calls } = served.counters.summary().iommufd;
    return [calls["IOMMU_IOAS_MAP_FILE"], calls["IOMMU_IOAS_UNMAP"]];
  };
  const gpa = 0x8000_0000n;
  client.request(2, words(32, 3, 0n, gpa, 0x10_0000n), { fds: [more] });
  assertEquals(calls(), [2, undefined]);
  const { errno } = client.request(3, words(24, 0, gpa, 0x10_0000n));
  assertEquals([errno, calls()], [0, [2, 1]]);
});

Deno.test("a process that is killed leaves a quiet function, which the next one can have", async () => {
  const devicePath = vfioPath(PCI_CLASS.ETHERNET);
  const folder = Deno.makeTempDirSync();
  const script = new URL("../support/assigned_process.ts", import.meta.url).pathname;
  for (let turn = 0; turn < 2; turn++) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "-A", script, devicePath, `${folder}/smmu`, `${folder}/vf`],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    assertEquals(commandOf(devicePath) & BUS_MASTER, 0);
  }
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("two functions of one host share its SMMU; a second owner of one is refused in a sentence", () => {
  const [first, second] = [0, 1].map((index) => vfioPath(PCI_CLASS.ETHERNET, index));
  using served = new Served(first);
  using other = new Served(second);
  assertEquals(other.devicePath === served.devicePath, false);
  let message = "";
  try {
    using _third = new Served(first);
  } catch (error) {
    message = (error as Error).message;
  }
  assert(message.startsWith("Cannot VFIO_DEVICE_BIND_IOMMUFD on /dev/vfio/devices/"), message);
});
