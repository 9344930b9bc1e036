/**
 * Regions that a client maps.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { openDescriptors } from "../support/own_process.ts";
import { words } from "../support/vfio_user_client.ts";
import { TestMachine } from "../support/vfio_user_machine.ts";

const GET_REGION_INFO = 5;
const areas = [{ offset: 0x1000, sizeBytes: 0x1000 }, { offset: 0x3000, sizeBytes: 0x5000 }];

Deno.test("a region that can be mapped comes with its file and its parts", () => {
  const before = openDescriptors();
  {
    using file = createMemfd("bar", 0x2_0000);
    using machine = new TestMachine({
      mapped: new Map([[0, { fd: file, offset: 0x1_0000, areas }]]),
    });
    using client = machine.agreed();
    const ask = (argsz: number): DataView => {
      const reply = client.request(GET_REGION_INFO, words(argsz, 0, 0, 0, 0n, 0n), {
        room: argsz + 16,
      });
      assertEquals(reply.errno, 0);
      return new DataView(reply.payload.buffer);
    };
    // QEMU asks without room for more, and looks for a place of the capability all the same.
    const short = ask(32);
    assertEquals([0, 4, 8, 12].map((at) => short.getUint32(at, true)), [80, 0xf, 0, 32]);
    assertEquals([short.byteLength, client.fds.length], [32, 0]);
    const long = ask(80);
    assertEquals([0, 4, 8, 12].map((at) => long.getUint32(at, true)), [80, 0xf, 0, 32]);
    assertEquals([16, 24].map((at) => long.getBigUint64(at, true)), [0x1_0000n, 0x1_0000n]);
    assertEquals([32, 34].map((at) => long.getUint16(at, true)), [1, 1]);
    assertEquals([36, 40, 44].map((at) => long.getUint32(at, true)), [0, 2, 0]);
    const found = [48, 64].map((at) => ({
      offset: Number(long.getBigUint64(at, true)),
      sizeBytes: Number(long.getBigUint64(at + 8, true)),
    }));
    assertEquals(found, areas);
    // The descriptor is the file: what is written through one mapping is seen through the other.
    const place = { offset: 0x1_1000, sizeBytes: 0x1000, writable: true };
    using ours = new Mapping(file, place);
    using theirs = new Mapping(client.fds[0], place);
    new Uint8Array(theirs.buffer)[5] = 7;
    assertEquals([client.fds.length, new Uint8Array(ours.buffer)[5]], [1, 7]);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("other regions stay as they were, and what is not mapped still traps", () => {
  using file = createMemfd("bar", 0x2_0000);
  using machine = new TestMachine({ mapped: new Map([[0, { fd: file, offset: 0, areas }]]) });
  using client = machine.agreed();
  const { payload } = client.request(GET_REGION_INFO, words(96, 0, 2, 0, 0n, 0n), { room: 112 });
  const view = new DataView(payload.buffer);
  assertEquals([0, 4, 8, 12].map((at) => view.getUint32(at, true)), [32, 3, 2, 0]);
  assertEquals(client.fds.length, 0);
  client.request(10, words(0x10n, 0, 4, 9), { room: 32 });
  assertEquals(machine.pci.log, ["bar0 write 16: 9 0 0 0"]);
});
