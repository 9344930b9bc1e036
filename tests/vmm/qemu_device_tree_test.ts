import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { chooseBoard } from "../../vmm/qemu/board.ts";
import {
  carriageSpi,
  endpointsOnly,
  makeDeviceTree,
  parsePciHost,
  smmuSource,
} from "../../vmm/qemu/device_tree.ts";
import { run } from "../../vmm/tool.ts";
import { provisioned } from "../support/provisioned.ts";

/** One row a slot and pin, as QEMU 11.1 writes them with a GIC that has two address cells. */
const MAP = [
  "0x00 0x00 0x00 0x01 0x8003 0x00 0x00 0x00 0x03 0x04",
  "0x00 0x00 0x00 0x02 0x8003 0x00 0x00 0x00 0x04 0x04",
  "0x00 0x00 0x00 0x03 0x8003 0x00 0x00 0x00 0x05 0x04",
  "0x00 0x00 0x00 0x04 0x8003 0x00 0x00 0x00 0x06 0x04",
  "0x800 0x00 0x00 0x01 0x8003 0x00 0x00 0x00 0x04 0x04",
  "0x800 0x00 0x00 0x02 0x8003 0x00 0x00 0x00 0x05 0x04",
  "0x800 0x00 0x00 0x03 0x8003 0x00 0x00 0x00 0x06 0x04",
  "0x800 0x00 0x00 0x04 0x8003 0x00 0x00 0x00 0x03 0x04",
  "0x1000 0x00 0x00 0x01 0x8003 0x00 0x00 0x00 0x05 0x04",
  "0x1000 0x00 0x00 0x02 0x8003 0x00 0x00 0x00 0x06 0x04",
  "0x1000 0x00 0x00 0x03 0x8003 0x00 0x00 0x00 0x03 0x04",
  "0x1000 0x00 0x00 0x04 0x8003 0x00 0x00 0x00 0x04 0x04",
  "0x1800 0x00 0x00 0x01 0x8003 0x00 0x00 0x00 0x06 0x04",
  "0x1800 0x00 0x00 0x02 0x8003 0x00 0x00 0x00 0x03 0x04",
  "0x1800 0x00 0x00 0x03 0x8003 0x00 0x00 0x00 0x04 0x04",
  "0x1800 0x00 0x00 0x04 0x8003 0x00 0x00 0x00 0x05 0x04",
].join(" ");

const QEMU = `/dts-v1/;

/ {
	interrupt-parent = <0x8003>;
	#address-cells = <0x02>;
	#size-cells = <0x02>;

	pcie@10000000 {
		interrupt-map-mask = <0x1800 0x00 0x00 0x07>;
		interrupt-map = <${MAP}>;
		ranges = <0x1000000 0x00 0x00 0x00 0x3eff0000 0x00 0x10000 0x2000000 0x00 0x10000000 0x00 0x10000000 0x00 0x2eff0000 0x3000000 0x80 0x00 0x80 0x00 0x80 0x00>;
		reg = <0x40 0x10000000 0x00 0x10000000>;
		bus-range = <0x00 0xff>;
		msi-map = <0x00 0x8004 0x00 0x10000>;
	};

	intc@8000000 {
		phandle = <0x8003>;
		#address-cells = <0x02>;
		#interrupt-cells = <0x03>;
		interrupt-controller;
		reg = <0x00 0x8000000 0x00 0x10000>;
	};
};
`;

Deno.test("parsePciHost() reads QEMU's PCI host", () => {
  const { reg, ranges, interruptMap } = parsePciHost(QEMU);
  assertEquals(reg, [0x40, 0x1000_0000, 0, 0x1000_0000]);
  assertEquals([ranges.length, interruptMap.length], [21, 160]);
});

Deno.test("parsePciHost() names what is missing", () => {
  assertThrows(
    () => parsePciHost("/ {\n};\n"),
    Error,
    "Cannot find reg of the PCI host in QEMU's device tree",
  );
});

Deno.test("carriageSpi() is the interrupt of INTA in slot 3", () => {
  assertEquals(carriageSpi(parsePciHost(QEMU).interruptMap), 6);
  assertThrows(() => carriageSpi([]), Error, "Cannot find the interrupt of the SMMU");
});

Deno.test("smmuSource() describes the SMMU and takes its address out of the window", () => {
  const { source, addresses } = smmuSource(parsePciHost(QEMU), "tcg");
  assertEquals(addresses, { ecam: 0x40_1000_0000, bar: 0x3ee0_0000 });
  for (
    const line of [
      "smmu: iommu@3ee00000 {",
      'compatible = "arm,smmu-v3";',
      "reg = <0 0x3ee00000 0 0x20000>;",
      "interrupts = <0 6 1>;",
      "bus-range = <0 0x7f>;",
      "iommu-map = <0x0 &smmu 0x0 0x8000>;",
      "0x2000000 0x0 0x10000000 0x0 0x10000000 0x0 0x2ee00000 0x3000000",
    ]
  ) assertStringIncludes(source, line);
});

Deno.test("smmuSource() has KVM's guests take a level and others an edge", () => {
  const interrupt = (kind: "kvm" | "tcg"): string | undefined =>
    smmuSource(parsePciHost(QEMU), kind).source.match(/interrupts = <(.*)>/)?.[1];
  assertEquals([interrupt("tcg"), interrupt("kvm")], ["0 6 1", "0 6 4"]);
});

Deno.test("endpointsOnly() leaves all other functions without an IOMMU", () => {
  const at = (slot: number): { slot: number; socketPath: string } => ({ slot, socketPath: "" });
  assertStringIncludes(
    endpointsOnly([at(1), at(18)]),
    "iommu-map = <0x8 &smmu 0x8 1>, <0x90 &smmu 0x90 1>;",
  );
});

Deno.test("smmuSource() says where messages go, for Linux to prefer them to the wire", () => {
  const { source } = smmuSource(parsePciHost(QEMU), "tcg", [], true);
  assertStringIncludes(source, 'interrupt-names = "eventq"; msi-parent = <0x8004>;');
  assertEquals(smmuSource(parsePciHost(QEMU), "tcg").source.includes("msi-parent"), false);
});

Deno.test("smmuSource() says whether functions may translate for themselves", () => {
  const { source } = smmuSource(parsePciHost(QEMU), "tcg", [], false, true);
  assertStringIncludes(source, "\n\tats-supported;\n};");
  assertEquals(smmuSource(parsePciHost(QEMU), "tcg").source.includes("ats-supported"), false);
});

Deno.test("smmuSource() keeps root ports out of the SMMU, and finds functions behind them", () => {
  const direct = { base: 0x800_0000, sizeBytes: 0x10_0000 };
  const endpoint = { slot: 4, socketPath: "", direct };
  const of = (behindPort: boolean): string[] =>
    smmuSource(parsePciHost(QEMU), "tcg", [{ ...endpoint, behindPort }]).source
      .split("\n").map((line) => line.trim());
  const [alone, behind] = [of(false), of(true)];
  assertEquals(alone.includes("iommu-map = <0x0 &smmu 0x0 0x8000>;"), true);
  assertEquals(behind.includes("iommu-map = <0x100 &smmu 0x100 0x7f00>;"), true);
  const at = (lines: readonly string[], line: string): number => lines.indexOf(line);
  assertEquals(at(alone, "function4: pci@4,0 {") > 0, true);
  assertEquals(at(alone, "pci@4,0 {"), -1);
  assertEquals(at(behind, "function4: pci@0,0 {") > at(behind, "pci@4,0 {"), true);
  assertEquals(at(behind, "pci@4,0 {") > 0, true);
});

const parts = provisioned();

Deno.test({
  name: "makeDeviceTree() adds the SMMU to the tree of a real QEMU [needs a provisioned QEMU]",
  ignore: parts === undefined,
  async fn(t): Promise<void> {
    if (parts === undefined) return;
    const directory = await Deno.makeTempDir();
    for (const [cpuCount, messages] of [[1, false], [12, false], [2, true], [12, true]] as const) {
      await t.step(`${cpuCount} processors${messages ? ", messages" : ""}`, async () => {
        const machine = {
          board: chooseBoard(cpuCount, "tcg"),
          cpuCount,
          memoryMiB: 256,
          kernelPath: "",
          commandLine: "",
          smmuSocketPath: "",
          endpoints: [],
          messages,
        };
        const path = `${directory}/guest.dtb`;
        const addresses = await makeDeviceTree(parts, machine, path);
        assertEquals(addresses, { ecam: 0x40_1000_0000, bar: 0x3ee0_0000 });
        const args = ["-q", "-q", "-I", "dtb", "-O", "dts", path];
        const text = await run(parts.dtc, args, { doing: "read the tree back" });
        assertEquals(parsePciHost(text).ranges.slice(7, 14), [
          ...[0x200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2ee0_0000],
        ]);
        const frame = text.match(/v2m@8020000 \{[^}]*phandle = <(\w+)>/)?.[1];
        assertEquals(text.includes(`msi-parent = <${frame}>;`), messages);
        const phandle = text.match(/iommu@3ee00000 \{[^}]*phandle = <(\w+)>/)?.[1];
        assertStringIncludes(text, `iommu-map = <0x00 ${phandle} 0x00 0x8000>;`);
      });
    }
    await Deno.remove(directory, { recursive: true });
  },
});
