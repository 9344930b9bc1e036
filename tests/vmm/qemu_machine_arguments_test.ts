import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { chooseBoard } from "../../vmm/qemu/board.ts";
import {
  dumpArguments,
  endpointSlots,
  kernelCommandLine,
  machineArguments,
  type MachineConfiguration,
} from "../../vmm/qemu/machine_arguments.ts";
import { parseQemuFeatures } from "../../vmm/qemu/qemu_features.ts";
import { shellWords } from "../../vmm/qemu/shell_words.ts";

const paths = { deviceTree: "/run/guest.dtb", qmp: "/run/qmp", qtest: "/run/qtest" };
const features = { canExitWithParent: true, hasSandbox: true };

function machine(changes: Partial<MachineConfiguration> = {}): MachineConfiguration {
  return {
    board: chooseBoard(2, "tcg"),
    cpuCount: 2,
    memoryMiB: 512,
    kernelPath: "/boot/Image",
    commandLine: "console=ttyAMA0",
    smmuSocketPath: "/run/smmu",
    endpoints: [],
    ...changes,
  };
}

/** The values that follow each `option` in `args`. */
function values(args: readonly string[], option: string): string[] {
  return args.filter((_, at) => args[at - 1] === option);
}

Deno.test("machineArguments() shares guest memory with the servers", () => {
  const args = machineArguments(machine({ memoryMiB: 3072 }), paths, features);
  assertEquals(values(args, "-object"), ["memory-backend-memfd,id=ram,size=3072M,share=on"]);
  assertEquals(values(args, "-m"), ["3072M"]);
  assertStringIncludes(values(args, "-machine")[0] ?? "", "memory-backend=ram");
});

Deno.test("machineArguments() takes the guest's memory from huge pages when told to", () => {
  const args = machineArguments(machine({ hugePages: true }), paths, features);
  assertEquals(values(args, "-object"), [
    "memory-backend-memfd,id=ram,size=512M,share=on,hugetlb=on,hugetlbsize=2M",
  ]);
});

Deno.test("machineArguments() places the SMMU behind the expander and endpoints on bus 0", () => {
  const endpoints = [{ slot: 1, socketPath: "/run/disk" }, {
    slot: 10,
    socketPath: '/run/a,b "c',
  }];
  const devices = values(machineArguments(machine({ endpoints }), paths, features), "-device");
  assertEquals(devices.slice(0, 2), [
    "pxb-pcie,id=smmu-bus,bus=pcie.0,addr=1f,bus_nr=128",
    "pcie-root-port,id=smmu-port,bus=smmu-bus,addr=3,chassis=1,slot=1",
  ]);
  const socket = (path: string): unknown => ({ type: "unix", path });
  const common = { driver: "vfio-user-pci", "x-msg-timeout": 30_000 };
  assertEquals(devices.slice(2).map((device) => JSON.parse(device)), [
    { ...common, bus: "smmu-port", addr: "0", socket: socket("/run/smmu") },
    { ...common, bus: "pcie.0", addr: "1", socket: socket("/run/disk") },
    { ...common, bus: "pcie.0", addr: "a", socket: socket('/run/a,b "c') },
  ]);
});

Deno.test("machineArguments() gives registers that are memory a function beside that of the SMMU", () => {
  const smmuMemorySocketPath = "/run/memory";
  const args = machineArguments(machine({ smmuMemorySocketPath }), paths, features);
  const [trapping, memory] = values(args, "-device").slice(2).map((device) => JSON.parse(device));
  assertEquals([trapping.addr, trapping.multifunction], ["0", true]);
  assertEquals([memory.addr, memory.socket.path], ["0.1", "/run/memory"]);
});

Deno.test("machineArguments() puts a root port before an endpoint that is to have one", () => {
  const endpoints = [{ slot: 10, socketPath: "/run/disk", behindPort: true }];
  const devices = values(machineArguments(machine({ endpoints }), paths, features), "-device");
  assertEquals(devices.slice(3), [
    "pcie-root-port,id=port10,bus=pcie.0,addr=a,chassis=2,slot=10",
    '{"driver":"vfio-user-pci","id":"function10","bus":"port10","addr":"0","socket":{"type":"unix","path":"/run/disk"},"x-msg-timeout":30000}',
  ]);
});

Deno.test("machineArguments() has QEMU wait, stop at the end, and keep to itself", () => {
  const args = machineArguments(machine(), paths, features);
  assert(args.includes("-S") && args.includes("-nodefaults") && args.includes("-no-user-config"));
  assertEquals(values(args, "-action"), ["reboot=shutdown,shutdown=pause"]);
  assertEquals(values(args, "-run-with"), ["exit-with-parent=on"]);
  assertEquals(values(args, "-qtest"), ["unix:/run/qtest,server=on,wait=off"]);
  assertEquals(values(args, "-qtest-log"), ["none"]);
  assertStringIncludes(values(args, "-sandbox")[0] ?? "", "on,");
});

Deno.test("machineArguments() leaves out what this QEMU cannot do", () => {
  const older = { canExitWithParent: false, hasSandbox: false };
  const args = machineArguments(machine(), paths, older);
  assertEquals([args.includes("-run-with"), args.includes("-sandbox")], [false, false]);
});

Deno.test("machineArguments() doubles the commas of paths in option lists only", () => {
  const args = machineArguments(
    machine({ kernelPath: "/a,b" }),
    { ...paths, qmp: "/q,p" },
    features,
  );
  assertEquals(values(args, "-qmp"), ["unix:/q,,p,server=on,wait=off"]);
  assertEquals(values(args, "-kernel"), ["/a,b"]);
});

Deno.test("machineArguments() refuses slots that cannot work", async (t) => {
  const cases = [
    { name: "the host bridge", slots: [0], says: "slots are 1 to 30" },
    { name: "the expander", slots: [31], says: "slots are 1 to 30" },
    { name: "the interrupt of the SMMU", slots: [7], says: "its interrupt is that of the SMMU" },
    { name: "twice the same", slots: [4, 5, 4], says: "it is taken" },
    { name: "half a slot", slots: [1.5], says: "slots are 1 to 30" },
  ];
  for (const { name, slots, says } of cases) {
    await t.step(name, () => {
      const endpoints = slots.map((slot) => ({ slot, socketPath: "/run/e" }));
      assertThrows(() => machineArguments(machine({ endpoints }), paths, features), Error, says);
    });
  }
});

Deno.test("endpointSlots() passes over every fourth slot", () => {
  assertEquals(endpointSlots(5), [1, 2, 4, 5, 6]);
  assertEquals(endpointSlots(23).at(-1), 30);
  assertThrows(() => endpointSlots(24), Error, "Cannot place 24 endpoints on one bus");
});

Deno.test("chooseBoard() takes a GICv2 as long as it has room, and KVM's own", async (t) => {
  const cases = [
    { cpuCount: 8, kind: "tcg", machine: "virt,gic-version=2", append: "x" },
    {
      cpuCount: 9,
      kind: "tcg",
      machine: "virt,gic-version=3,msi=gicv2m",
      append: "x irqchip.gicv3_nolpi=1",
    },
    {
      cpuCount: 2,
      kind: "kvm",
      machine: "virt,gic-version=host,msi=gicv2m",
      append: "x irqchip.gicv3_nolpi=1",
    },
  ] as const;
  for (const { cpuCount, kind, machine: expected, append } of cases) {
    await t.step(`${cpuCount} processors with ${kind}`, () => {
      const board = chooseBoard(cpuCount, kind);
      const configuration = machine({ board, cpuCount, commandLine: "x" });
      const args = dumpArguments(configuration, "/run/q.dtb");
      assertEquals(values(args, "-machine"), [`${expected},dumpdtb=/run/q.dtb`]);
      assertEquals(values(args, "-accel"), [kind === "kvm" ? "kvm" : "tcg,thread=multi"]);
      assertEquals(kernelCommandLine(configuration), append);
    });
  }
});

Deno.test("parseQemuFeatures() reads -help", async (t) => {
  const cases = [
    {
      name: "Debian's 11.1",
      help: "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\n" +
        "-run-with [async-teardown=on|off][,chroot=dir]\n          [,exit-with-parent=on|off]\n" +
        "-sandbox on[,obsolete=allow|deny]\n",
      expected: { canExitWithParent: true, hasSandbox: true },
    },
    {
      name: "a bare 10.1",
      help: "QEMU emulator version 10.1.0\n-run-with [async-teardown=on|off]\n",
      expected: { canExitWithParent: false, hasSandbox: false },
    },
  ];
  for (const { name, help, expected } of cases) {
    await t.step(name, () => assertEquals(parseQemuFeatures(help), expected));
  }
});

Deno.test("shellWords() quotes what a shell would take apart", () => {
  assertEquals(
    shellWords(["-m", "512M", "-append", "a b", '{"x":1}', "it's", ""]),
    `-m 512M -append 'a b' '{"x":1}' 'it'\\''s' ''`,
  );
});
