/** The IORT override: bytes written out by hand after DEN0049E §3.1 and ACPI 6.5 §5.2.6. */
import { assertEquals, assertThrows } from "@std/assert";
import { withCanwbs } from "../../vmm/hostvm/iort.ts";
import { EnvironmentError } from "../../vmm/environment_error.ts";

// A group of 24 bytes in front, then an SMMUv3 cut to 24 bytes, then a root complex of 36.
const HEADER = [
  ...[0x49, 0x4f, 0x52, 0x54], // "IORT"
  ...[0x6c, 0, 0, 0], // 108 bytes
  ...[5, 0], // revision; checksum, see table()
  ...[0x42, 0x4f, 0x43, 0x48, 0x53, 0x20], // "BOCHS "
  ...[0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20], // "BXPC    "
  ...[0x01, 0, 0, 0], // OEM revision
  ...[0x42, 0x58, 0x50, 0x43, 1, 0, 0, 0], // creator
  ...[2, 0, 0, 0], // nodes
  ...[0x30, 0, 0, 0], // the first node
  ...[0, 0, 0, 0],
];
const SMMU = [4, 24, 0, ...Array(21).fill(0)];
const ROOT_COMPLEX = [
  ...[2, 36, 0, 3], // type, length, revision
  ...[0, 0, 0, 0], // identifier
  ...[0, 0, 0, 0, 36, 0, 0, 0], // mappings
  ...[1, 0, 0, 0], // CCA
  ...[0, 0, 0], // allocation hints, reserved
  ...[3], // CPM and DACS
  ...Array(12).fill(0),
];

/** The table with its checksum at byte 9. */
function table(...parts: number[][]): Uint8Array {
  const bytes = Uint8Array.from(parts.flat());
  bytes[9] = 256 - (bytes.reduce((sum, byte) => sum + byte, 0) & 0xff);
  return bytes;
}

Deno.test("withCanwbs() changes the root complex, the OEM revision and the checksum only", () => {
  const before = table(HEADER, SMMU, ROOT_COMPLEX);
  const after = withCanwbs(before);
  const changed = [...after.keys()].filter((at) => before[at] !== after[at]);
  assertEquals(changed, [9, 24, 95]);
  assertEquals([before[95], after[95]], [0x3, 0x7]);
  assertEquals([before[24], after[24]], [1, 2]);
  assertEquals(after.reduce((sum, byte) => (sum + byte) & 0xff, 0), 0);
});

Deno.test("withCanwbs() sets the flag of each root complex", () => {
  const header = HEADER.with(4, 0x78).with(36, 2);
  const after = withCanwbs(table(header, ROOT_COMPLEX, ROOT_COMPLEX));
  assertEquals([after[71], after[107]], [7, 7]);
});

Deno.test("withCanwbs() refuses what is no whole IORT", async (t) => {
  const cases: { name: string; bytes: Uint8Array; message: string }[] = [
    { name: "nothing", bytes: new Uint8Array(), message: 'it begins with ""' },
    {
      name: "another table",
      bytes: table(HEADER.with(0, 0x53), SMMU, ROOT_COMPLEX),
      message: 'it begins with "SORT"',
    },
    {
      name: "a wrong checksum",
      bytes: table(HEADER, SMMU, ROOT_COMPLEX).with(9, 0),
      message: "its length or checksum is wrong (108 bytes)",
    },
    {
      name: "a tail that is missing",
      bytes: table(HEADER, SMMU),
      message: "its length or checksum is wrong (72 bytes)",
    },
    {
      name: "a node beyond the end",
      bytes: table(HEADER, SMMU, ROOT_COMPLEX.with(1, 37)),
      message: "a node at 72 is cut short",
    },
    {
      name: "a node without a length",
      bytes: table(HEADER, SMMU.with(1, 0), ROOT_COMPLEX),
      message: "a node at 48 is cut short",
    },
    {
      name: "more nodes than there are",
      bytes: table(HEADER.with(36, 3), SMMU, ROOT_COMPLEX),
      message: "a node at 108 is cut short",
    },
    {
      name: "no root complex",
      bytes: table(HEADER, SMMU, ROOT_COMPLEX.with(0, 1)),
      message: "no root complex",
    },
  ];
  for (const { name, bytes, message } of cases) {
    await t.step(name, () => {
      assertThrows(() => withCanwbs(bytes), EnvironmentError, message);
    });
  }
});
