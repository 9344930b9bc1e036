/**
 * A program for guests, against instructions assembled by hand and the headers that Linux reads.
 * @module
 */
import { assertEquals } from "@std/assert";
import { DMA_MAP_BENCHMARK, structIoctl } from "../../vmm/provision/struct_ioctl.ts";

/** From the encoding tables of DDI 0487 C6.2. */
const CODE = [
  [0xf940_0be1, "ldr x1, [sp, #16]"],
  [0x9280_0c60, "mov x0, #-100"],
  [0xd280_0042, "mov x2, #2"],
  [0xd280_0708, "mov x8, #56"],
  [0xd400_0001, "svc #0"],
  [0xaa00_03f3, "mov x19, x0"],
  [0xd102_43ff, "sub sp, sp, #144"],
  [0xd280_0000, "mov x0, #0"],
  [0x9100_03e1, "mov x1, sp"],
  [0xd280_1102, "mov x2, #136"],
  [0xd280_07e8, "mov x8, #63"],
  [0xd400_0001, "svc #0"],
  [0xaa13_03e0, "mov x0, x19"],
  [0xd28c_8021, "mov x1, #0x6401"],
  [0xf2b8_1101, "movk x1, #0xc088, lsl #16"],
  [0x9100_03e2, "mov x2, sp"],
  [0xd280_03a8, "mov x8, #29"],
  [0xd400_0001, "svc #0"],
  [0xb7f8_00e0, "tbnz x0, #63, .+28"],
  [0xd280_0020, "mov x0, #1"],
  [0x9100_03e1, "mov x1, sp"],
  [0xd280_1102, "mov x2, #136"],
  [0xd280_0808, "mov x8, #64"],
  [0xd400_0001, "svc #0"],
  [0xd280_0000, "mov x0, #0"],
  [0xd280_0ba8, "mov x8, #93"],
  [0xd400_0001, "svc #0"],
] as const;

Deno.test("the program is the one that a person would have assembled", () => {
  const bytes = structIoctl(DMA_MAP_BENCHMARK);
  const view = new DataView(bytes.buffer);
  const words = Array.from(
    { length: (bytes.length - 120) / 4 },
    (_, i) => view.getUint32(120 + i * 4, true),
  );
  assertEquals(words, CODE.map(([word]) => word));
});

Deno.test("its file is an arm64 ELF executable of one segment that holds all of it", () => {
  const bytes = structIoctl(DMA_MAP_BENCHMARK);
  const view = new DataView(bytes.buffer);
  assertEquals(new TextDecoder().decode(bytes.subarray(1, 4)), "ELF");
  assertEquals([bytes[4], bytes[5], view.getUint16(16, true), view.getUint16(18, true)], [
    2,
    1,
    2,
    183,
  ]);
  const address = view.getUint32(64 + 16, true);
  assertEquals(view.getUint32(24, true), address + 120);
  assertEquals([view.getUint32(64 + 32, true), view.getUint32(64 + 40, true)], [
    bytes.length,
    bytes.length,
  ]);
});
