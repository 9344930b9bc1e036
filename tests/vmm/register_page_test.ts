/**
 * Registers as memory of two sides: what a client is given, and what comes of its writes.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { MmioDevice } from "../../hw/device.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { libc } from "../../uapi/libc.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { F_SEAL, sealsOf } from "../../uapi/memfd.ts";
import { Counters } from "../../vmm/counters.ts";
import { RegisterPage } from "../../vmm/register_page.ts";
import { WatchedRegisters } from "../../vmm/watched_registers.ts";

Deno.test("what a client writes through its own mapping reaches the SMMU by the door, and is answered there", () => {
  using page = new RegisterPage();
  const { fd, offset, areas } = page.mapped.get(0)!;
  assertEquals(areas, [{ offset: 0, sizeBytes: 0x2_0000 }]);
  using theirs = new Mapping(fd, { offset, sizeBytes: 0x2_0000, writable: true });
  const words = new Uint32Array(theirs.buffer);
  const smmu = new SmmuV3({ memory: new GuestRam(), page: page.buffer });
  const log: string[] = [];
  const door: MmioDevice = {
    read: (at, into) => smmu.read(at, into),
    write: (at, from) => {
      log.push(`${at.toString(16)}: ${from.join(" ")}`);
      smmu.write(at, from);
    },
  };
  const counters = new Counters();
  const watched = new WatchedRegisters(smmu, door, { isConnected: true }, counters);
  assertEquals([watched.isUsed, watched.look()], [true, false]);
  assertEquals(words[0], smmu.read32(0));
  words[0x50 / 4] = 0x0000_0105;
  assertEquals(watched.look(), true);
  assertEquals(log, ["50: 5 1 0 0"]);
  assertEquals([words[0x50 / 4], words[0x54 / 4]], [5, 5]);
  assertEquals(counters.summary().mmio.noticed, 1);
  assertEquals(counters.summary().mmio.writes, 0);
});

Deno.test("a client cannot make the file shorter", () => {
  using page = new RegisterPage();
  const { fd } = page.mapped.get(0)!;
  assertEquals(sealsOf(fd) & (F_SEAL.SHRINK | F_SEAL.SEAL), F_SEAL.SHRINK | F_SEAL.SEAL);
  assertEquals(libc().ftruncate(fd.number, 0n), -1);
});
