import { assertEquals, assertThrows } from "@std/assert";
import { s32, sizeOf, struct, StructBuffer, u16, u32, u64, u8 } from "../../uapi/struct.ts";

const MIXED = struct(32, {
  byte: u8(0),
  half: u16(2),
  word: u32(4),
  signed: s32(8),
  pair: u64(16, 2),
});

Deno.test("fields are stored where they were declared, little-endian", () => {
  const buffer = new StructBuffer(MIXED).fill({
    byte: 0x11,
    half: 0x2233,
    word: 0xf4f5_f6f7,
    signed: -2,
    pair: 0x0102_0304_0506_0708n,
  });
  buffer.set("pair", 0xffff_ffff_ffff_fffen, 1);
  // deno-fmt-ignore
  assertEquals([...buffer.bytes], [
    0x11, 0, 0x33, 0x22, 0xf7, 0xf6, 0xf5, 0xf4,
    0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    8, 7, 6, 5, 4, 3, 2, 1,
    0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
  ]);
  assertEquals(buffer.get("word"), 0xf4f5_f6f7);
  assertEquals(buffer.get("signed"), -2);
  assertEquals(buffer.get("half"), 0x2233);
  assertEquals(buffer.get("pair", 1), 0xffff_ffff_ffff_fffen);
});

Deno.test("fill() forgets what was there, and passes over what is undefined", () => {
  const buffer = new StructBuffer(MIXED, 4).fill({ byte: 1, word: 7 });
  buffer.bytes[35] = 9;
  buffer.fill({ half: 5, word: undefined });
  assertEquals(buffer.bytes.length, 36);
  assertEquals([...buffer.bytes].filter((byte) => byte !== 0), [5]);
});

Deno.test("struct() refuses what no C compiler would lay out", () => {
  assertThrows(() => struct(8, { word: u32(2) }), RangeError, "word is misaligned");
  assertThrows(() => struct(8, { pair: u64(0, 2) }), RangeError, "pair crosses the end");
  assertEquals(sizeOf(u16(0, 3)), 6);
  assertEquals(sizeOf(u64(8, 0)), 0);
});
