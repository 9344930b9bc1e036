/** Capability lists: lengths of all kinds, and lists that lead astray. @module */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  type CapabilityChain,
  findExpress,
  readExtendedChain,
  readStandardChain,
} from "../../hw/pci/capability_chain.ts";
import { type ConfigSketch, draw, expressRegisters } from "../support/config_sketch.ts";

/** `[offset, id, size, measured]` of each capability. */
function shape(chain: CapabilityChain): [number, number, number, boolean][] {
  return chain.capabilities.map((c) => [c.offset, c.id, c.sizeBytes, c.measured]);
}

function extended(sketch: Omit<ConfigSketch, "name">): CapabilityChain {
  const space = draw({ name: "", ...sketch });
  return readExtendedChain(space, findExpress(readStandardChain(space))?.offset ?? 0);
}

Deno.test("a standard capability is as long as its registers say", async (t) => {
  // deno-fmt-ignore
  const cases: [name: string, id: number, registers: Record<number, number>, size: number | "open"][] = [
    ["Null", 0x00, {}, 4],
    ["Power Management", 0x01, {}, 8],
    ["Vital Product Data", 0x03, {}, 8],
    ["Slot Identification", 0x04, {}, 4],
    ["MSI of 32 bits", 0x05, { 0: 0x0000_0000 }, 12],
    ["MSI of 64 bits", 0x05, { 0: 0x0080_0000 }, 16],
    ["MSI of 32 bits with masks", 0x05, { 0: 0x0100_0000 }, 20],
    ["MSI of 64 bits with masks", 0x05, { 0: 0x0180_0000 }, 24],
    ["PCI-X", 0x07, {}, 8],
    ["PCI-X 2.0 with error correction", 0x07, { 0: 0x2000_0000 }, 24],
    ["HyperTransport slave", 0x08, { 0: 0x0000_0000 }, 28],
    ["HyperTransport host", 0x08, { 0: 0x2000_0000 }, 24],
    ["HyperTransport MSI mapping", 0x08, { 0: 0xa800_0000 }, 12],
    ["HyperTransport MSI mapping, fixed", 0x08, { 0: 0xa802_0000 }, 4],
    ["HyperTransport of another type", 0x08, { 0: 0x8800_0000 }, "open"],
    ["Vendor-Specific of 20 bytes", 0x09, { 0: 0x0014_0000 }, 20],
    ["Vendor-Specific of 9 bytes", 0x09, { 0: 0x0009_0000 }, 12],
    ["Vendor-Specific of no length", 0x09, {}, "open"],
    ["Subsystem ID", 0x0d, {}, 8],
    ["Secure Device", 0x0f, {}, "open"],
    ["PCI Express 1, endpoint", 0x10, expressRegisters({ version: 1, type: 0 }), 0x14],
    ["PCI Express 1, root port", 0x10, expressRegisters({ version: 1, type: 4 }), 0x24],
    ["PCI Express 1, downstream port", 0x10, expressRegisters({ version: 1, type: 6 }), 0x1c],
    ["PCI Express 1, integrated endpoint", 0x10, expressRegisters({ version: 1, type: 9 }), 0x0c],
    ["PCI Express 2, endpoint", 0x10, expressRegisters({ version: 2, type: 0 }), 0x3c],
    ["PCI Express 2, integrated endpoint", 0x10, expressRegisters({ version: 2, type: 9 }), 0x3c],
    ["MSI-X", 0x11, {}, 12],
    ["SATA with an index elsewhere", 0x12, { 4: 0x04 }, 8],
    ["SATA with its data in place", 0x12, { 4: 0x0f }, 16],
    ["Advanced Features", 0x13, {}, 8],
    ["Enhanced Allocation of entries of 12 and 20 bytes", 0x14, { 0: 0x0002_0000, 4: 2, 16: 4 }, 36],
    ["an unknown ID", 0x2a, {}, "open"],
  ];
  for (const [name, id, registers, size] of cases) {
    await t.step(name, () => {
      const chain = readStandardChain(draw({
        name,
        standard: [[0x50, id, registers], [0xe0, 0x01]],
      }));
      assertEquals(chain.broken, undefined);
      const open = size === "open";
      assertEquals(shape(chain), [[0x50, id, open ? 0x90 : size, !open], [0xe0, 0x01, 8, true]]);
    });
  }
});

Deno.test("an extended capability is as long as its registers and its function say", async (t) => {
  const prefixes = { deviceCapabilities2: 1 << 21 };
  // deno-fmt-ignore
  const cases: [name: string, id: number, version: number, registers: Record<number, number>,
    size: number | "open", express?: Parameters<typeof expressRegisters>[0]][] = [
    ["Null", 0x0000, 0, {}, "open"],
    ["Advanced Error Reporting", 0x0001, 1, {}, 0x2c],
    ["Advanced Error Reporting of a root port", 0x0001, 1, {}, 0x38, { type: 4 }],
    ["Advanced Error Reporting with a prefix log", 0x0001, 1, { 0x18: 0x800 }, 0x48],
    ["Advanced Error Reporting where prefixes can be", 0x0001, 1, {}, 0x48, prefixes],
    ["Advanced Error Reporting 2", 0x0001, 2, {}, 0x48],
    ["Advanced Error Reporting 3", 0x0001, 3, {}, 0x60],
    ["Virtual Channel", 0x0002, 1, {}, 0x1c],
    ["Virtual Channel of three", 0x0002, 1, { 4: 0x2 }, 0x34],
    ["Virtual Channel with 64 phases at 0x40", 0x0002, 1, { 8: 0x0400_0004 }, 0x60],
    ["Virtual Channel with 256 phases of 2 bits at 0x20", 0x0009, 1, { 4: 0x400, 0x10: 0x0200_0020 }, 0x60],
    ["Device Serial Number", 0x0003, 1, {}, 12],
    ["Power Budgeting", 0x0004, 1, {}, 16],
    ["Power Budgeting of a later version", 0x0004, 2, {}, "open"],
    ["Root Complex Link Declaration of two", 0x0005, 1, { 4: 0x0200 }, 0x30],
    ["Root Complex Event Collector", 0x0007, 1, {}, 8],
    ["Root Complex Event Collector 2", 0x0007, 2, {}, 12],
    ["Multi-Function Virtual Channel", 0x0008, 1, {}, 0x1c],
    ["Vendor-Specific of 0x24", 0x000b, 1, { 4: 0x0241_0001 }, 0x24],
    ["Vendor-Specific of 10 bytes", 0x000b, 1, { 4: 0x00a1_0003 }, 12],
    ["Vendor-Specific of no length", 0x000b, 1, {}, "open"],
    ["Access Control Services", 0x000d, 1, {}, 8],
    ["Access Control Services, vector of 8", 0x000d, 1, { 4: 0x0820 }, 12],
    ["Access Control Services, vector of 256", 0x000d, 1, { 4: 0x0020 }, 40],
    ["ARI", 0x000e, 1, {}, 8],
    ["ATS", 0x000f, 1, {}, 8],
    ["SR-IOV", 0x0010, 1, {}, 0x40],
    ["MR-IOV", 0x0011, 1, {}, "open"],
    ["Multicast", 0x0012, 1, {}, 0x30],
    ["Page Request Interface", 0x0013, 1, {}, 16],
    ["Resizable BAR of three", 0x0015, 1, { 8: 0x60 }, 28],
    ["Dynamic Power Allocation of 32", 0x0016, 1, { 4: 0x1f }, 48],
    ["TPH Requester", 0x0017, 1, { 4: 0x000f_0400 }, 12],
    ["TPH Requester with 64 tags", 0x0017, 1, { 4: 0x003f_0200 }, 140],
    ["Latency Tolerance Reporting", 0x0018, 1, {}, 8],
    ["Secondary PCI Express of 16 lanes", 0x0019, 1, {}, 44, { lanes: 16 }],
    ["Secondary PCI Express without a link", 0x0019, 1, {}, 76, { lanes: 0 }],
    ["PASID", 0x001b, 1, {}, 8],
    ["Downstream Port Containment", 0x001d, 1, {}, 12],
    ["Downstream Port Containment, a log of 5", 0x001d, 1, { 4: 0x0520 }, 52],
    ["Downstream Port Containment, a log of 18", 0x001d, 1, { 4: 0x2220 }, 104],
    ["L1 PM Substates", 0x001e, 1, {}, 16],
    ["L1 PM Substates 2", 0x001e, 2, {}, 20],
    ["Precision Time Measurement", 0x001f, 1, {}, 12],
    ["Readiness Time Reporting", 0x0022, 1, {}, 12],
    ["Designated Vendor-Specific of 0x38", 0x0023, 1, { 4: 0x0380_1e98 }, 0x38],
    ["VF Resizable BAR of six", 0x0024, 1, { 8: 0xc0 }, 52],
    ["Data Link Feature", 0x0025, 1, {}, 12],
    ["Physical Layer 16.0 GT/s of 4 lanes", 0x0026, 1, {}, 36],
    ["Lane Margining of 4 lanes", 0x0027, 1, {}, 24],
    ["Native PCIe Enclosure Management", 0x0029, 1, {}, 16],
    ["Physical Layer 32.0 GT/s of 8 lanes", 0x002a, 1, {}, 40, { lanes: 8 }],
    ["Data Object Exchange", 0x002e, 1, {}, 24],
    ["Device 3", 0x002f, 1, {}, 16],
    ["Encryption of two links and one selective stream with two blocks", 0x0030, 1,
      { 4: 0x0000_2003, 28: 2 }, 72],
    ["an unknown ID", 0x0147, 1, {}, "open"],
  ];
  for (const [name, id, version, registers, size, express] of cases) {
    await t.step(name, () => {
      const chain = extended({
        standard: [[0x60, 0x10, expressRegisters(express)]],
        extended: [[0x100, 0x0003, 1], [0x200, id, version, registers], [0x400, 0x0018, 1]],
      });
      assertEquals(chain.broken, undefined);
      const open = size === "open";
      assertEquals(shape(chain)[1], [0x200, id, open ? 0x200 : size, !open]);
    });
  }
});

Deno.test("what has no known length reaches the next capability by address, or the end", () => {
  const chain = extended({
    extended: [[0x100, 0x0147, 1], [0x300, 0x0148, 1], [0x200, 0x000e, 1]],
  });
  assertEquals(shape(chain), [
    [0x100, 0x0147, 0x100, false],
    [0x300, 0x0148, 0xd00, false],
    [0x200, 0x000e, 8, true],
  ]);
});

Deno.test("a length beyond the end is cut there", () => {
  const chain = extended({
    extended: [[0x100, 0x000e, 1], [0xff0, 0x000b, 1, { 4: 0xfff0_0000 }]],
  });
  assertEquals(shape(chain)[1], [0xff0, 0x000b, 16, true]);
});

Deno.test("a list that leads astray is followed to the last good capability, and both ends are named", async (t) => {
  const cases: [name: string, space: Uint8Array, good: number[], says: string][] = [
    [
      "a loop",
      draw({
        name: "",
        extended: [[0x100, 1, 1], [0x150, 0xe, 1]],
        hidden: { 0x150: 0x1000_0000 },
      }),
      [0x100, 0x150],
      "ARI at 0x150 points back to Advanced Error Reporting at 0x100",
    ],
    [
      "itself",
      draw({ name: "", extended: [[0x100, 0xe, 1]], hidden: { 0x100: 0x1000_0000 } }),
      [0x100],
      "ARI at 0x100 points back to ARI at 0x100",
    ],
    [
      "the standard half",
      draw({ name: "", extended: [[0x100, 0xe, 1]], hidden: { 0x100: 0x0400_0000 } }),
      [0x100],
      "ARI at 0x100 points to 0x040, outside 0x100-0xfff",
    ],
    [
      "all ones",
      draw({
        name: "",
        extended: [[0x100, 0xe, 1]],
        hidden: { 0x100: 0x2000_0000, 0x200: 0xffff_ffff },
      }),
      [0x100],
      "ARI at 0x100 points to 0x200, where there is no capability, it reads 0xffffffff",
    ],
  ];
  for (const [name, space, good, says] of cases) {
    await t.step(name, () => {
      const chain = readExtendedChain(space);
      assertEquals(chain.capabilities.map(({ offset }) => offset), good);
      assertStringIncludes(chain.broken ?? "", says);
    });
  }
  await t.step("a loop of standard capabilities", () => {
    const chain = readStandardChain(
      draw({ name: "", standard: [[0x40, 1], [0x50, 5]], hidden: { 0x50: 0x4000 } }),
    );
    assertEquals(chain.capabilities.map(({ offset }) => offset), [0x40, 0x50]);
    assertEquals(chain.broken, "MSI at 0x050 points back to Power Management at 0x040");
  });
  await t.step("a standard pointer into the header", () => {
    const chain = readStandardChain(draw({ name: "", standard: [[0x10, 1]] }));
    assertEquals(chain.broken, "The header points to 0x010, outside 0x040-0x0ff");
  });
});

Deno.test("the two low bits of a pointer are ignored, as software does", () => {
  const space = draw({ name: "", extended: [[0x100, 1, 1], [0x150, 0xe, 1]] });
  space[0x102] |= 0x30;
  space[0x34] |= 3;
  assertEquals(readExtendedChain(space).capabilities.map(({ offset }) => offset), [0x100, 0x150]);
  assertEquals(readStandardChain(space).capabilities.map(({ offset }) => offset), [0x60]);
});

Deno.test("a pointer to zeros ends the list well", () => {
  const chain = extended({ extended: [[0x100, 0xe, 1]], hidden: { 0x100: 0x2000_0000 } });
  assertEquals(chain, {
    capabilities: [{
      offset: 0x100,
      id: 0xe,
      version: 1,
      next: 0x200,
      name: "ARI",
      sizeBytes: 8,
      measured: true,
    }],
  });
});

Deno.test("there is no extended list without a word at 0x100", async (t) => {
  for (const header of [0, 0xffff_ffff, 0x0000_ffff, 0x0001_0000]) {
    await t.step(header.toString(16), () => {
      assertEquals(extended({ hidden: { 0x100: header } }).capabilities, []);
    });
  }
  await t.step("in 256 bytes", () => {
    assertEquals(readExtendedChain(draw({ name: "", sizeBytes: 256 })).capabilities, []);
  });
  await t.step("but a Null that points on begins one", () => {
    const chain = extended({ extended: [[0x100, 0, 0], [0x150, 0xe, 1]] });
    assertEquals(shape(chain), [[0x100, 0, 0x50, false], [0x150, 0xe, 8, true]]);
  });
});

Deno.test("a list that fills all of extended space is read in full", () => {
  const all = Array.from({ length: 960 }, (_, i) => [0x100 + 4 * i, 0xf00 + i, 1] as const);
  const chain = extended({ extended: all });
  assertEquals(chain.capabilities.length, 960);
  assert(chain.broken === undefined);
});
