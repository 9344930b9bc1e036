import { assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { StructBuffer } from "../../uapi/struct.ts";
import { readCapabilities } from "../../uapi/vfio/capabilities.ts";
import { readDependents } from "../../uapi/vfio/dependent_devices.ts";
import { vfio_pci_hot_reset_info } from "../../uapi/vfio/device.ts";
import { irqSetBytes } from "../../uapi/vfio/irq.ts";
import { vfio_region_info } from "../../uapi/vfio/region.ts";
import { readRegionInfo } from "../../uapi/vfio/region_info.ts";
import { VfioDevice } from "../../uapi/vfio/vfio_device.ts";

Deno.test("interrupts are set by eventfds, by bools or all at once", async (t) => {
  const TRIGGER = 0x20;
  const cases = [
    {
      name: "eventfds",
      set: { index: 2, start: 1, action: TRIGGER, eventfds: [5, -1] },
      words: [28, 0x24, 2, 1, 2, 5, 0xffff_ffff],
    },
    {
      name: "bools",
      set: { index: 0, action: 8, bools: [true, false, true, true] },
      words: [24, 0x0a, 0, 0, 4, 0x0101_0001],
    },
    { name: "none", set: { index: 1, action: TRIGGER, count: 3 }, words: [20, 0x21, 1, 0, 3] },
    { name: "off", set: { index: 1, action: TRIGGER }, words: [20, 0x21, 1, 0, 0] },
  ];
  for (const { name, set, words } of cases) {
    await t.step(name, () => assertEquals([...new Uint32Array(irqSetBytes(set).buffer)], words));
  }
});

/** A region's answer with the words of its capabilities. */
function answer(...words: number[]): StructBuffer<typeof vfio_region_info.fields> {
  const made = new StructBuffer(vfio_region_info, words.length * 4);
  made.fill({ index: 3, flags: 0xf, cap_offset: 32, size: 0x4000n, offset: 3n << 40n });
  words.forEach((word, i) => made.view.setUint32(32 + i * 4, word, true));
  return made;
}

Deno.test("a region tells which parts can be mapped, and what it is", () => {
  const SPARSE = [0x1_0001, 80, 2, 0, 0, 0, 0x1000, 0, 0x3000, 0, 0x800, 0];
  const TYPE = [0x1_0002, 96, 0x8000_8086, 1];
  const region = readRegionInfo(answer(...SPARSE, ...TYPE, 0x1_0003, 0));
  assertEquals([region.index, region.flags, region.sizeBytes], [3, 0xf, 0x4000]);
  assertEquals(region.offset, 0x300_0000_0000);
  assertEquals(region.sparse, [{ offset: 0, sizeBytes: 0x1000 }, {
    offset: 0x3000,
    sizeBytes: 0x800,
  }]);
  assertEquals(region.type, { type: 0x8000_8086, subtype: 1 });
  assertEquals(region.isMsixMappable, true);
  assertEquals(region.capabilities.map(({ id, version }) => [id, version]), [[1, 1], [2, 1], [
    3,
    1,
  ]]);
});

Deno.test("a chain of capabilities ends where it goes back or leaves the answer", async (t) => {
  const cases = [
    { name: "to itself", words: [7, 32], ids: [7] },
    { name: "back", words: [7, 40, 8, 32], ids: [7, 8] },
    { name: "beyond the end", words: [7, 4096], ids: [7] },
    { name: "across the end", words: [7, 36], ids: [7] },
    { name: "none", words: [], ids: [] },
  ];
  for (const { name, words, ids } of cases) {
    await t.step(name, () => {
      const { view } = answer(...words);
      assertEquals(readCapabilities(view, 32).map(({ id }) => id), ids);
      assertEquals(readCapabilities(view, 0), []);
    });
  }
});

Deno.test("functions that are reset together are told by device", () => {
  const made = new StructBuffer(vfio_pci_hot_reset_info, 16).fill({ flags: 3, count: 2 });
  made.bytes.set([7, 0, 0, 0, 1, 0, 2, 0x19, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0x1a], 12);
  assertEquals(readDependents(made), {
    flags: 3,
    devices: [
      { devId: 7, segment: 1, bus: 2, devfn: 0x19 },
      { devId: 0xffff_ffff, segment: 0, bus: 2, devfn: 0x1a },
    ],
  });
});

Deno.test("what is no device refuses by name, and a closed one keeps nothing", () => {
  const missing = assertThrows(() => new VfioDevice("/dev/vfio/devices/none"), SystemError);
  assertEquals(missing.message, "Cannot open /dev/vfio/devices/none: ENOENT");
  const device = new VfioDevice("/dev/null");
  const stranger = assertThrows(() => device.info(), SystemError);
  assertEquals(stranger.call, "VFIO_DEVICE_GET_INFO on /dev/null");
  assertEquals(stranger.code, "ENOTTY");
  device[Symbol.dispose]();
  assertEquals(assertThrows(() => device.info(), SystemError).code, "EBADF");
});
