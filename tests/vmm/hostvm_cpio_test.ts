/** The archive, field by field after Linux's buffer-format.rst. */
import { assertEquals } from "@std/assert";
import { newc } from "../../vmm/hostvm/cpio.ts";

interface Entry {
  name: string;
  mode: string;
  bytes: string;
}

/** Reads an archive as Linux does: header, name and contents each up to a multiple of four bytes. */
function entriesOf(archive: Uint8Array): Entry[] {
  const text = new TextDecoder("latin1").decode(archive);
  const entries: Entry[] = [];
  for (let at = 0; at < text.length;) {
    const field = (index: number): string => text.slice(at + 6 + 8 * index, at + 14 + 8 * index);
    const sizeBytes = parseInt(field(6), 16);
    const nameBytes = parseInt(field(11), 16);
    assertEquals(text.slice(at, at + 6), "070701");
    const name = text.slice(at + 110, at + 110 + nameBytes);
    const contents = (at + 110 + nameBytes + 3) & ~3;
    entries.push({
      name,
      mode: field(1),
      bytes: text.slice(contents, contents + sizeBytes),
    });
    at = (contents + sizeBytes + 3) & ~3;
  }
  return entries;
}

Deno.test("newc() has each folder once, before the files in it, and ends with the trailer", () => {
  const archive = newc([
    ["kernel/firmware/acpi/iort.aml", new TextEncoder().encode("IORT!")],
    ["kernel/firmware/acpi/b", new TextEncoder().encode("")],
    ["c", new TextEncoder().encode("12345678")],
  ]);
  assertEquals(entriesOf(archive), [
    { name: "kernel\0", mode: "000041ed", bytes: "" },
    { name: "kernel/firmware\0", mode: "000041ed", bytes: "" },
    { name: "kernel/firmware/acpi\0", mode: "000041ed", bytes: "" },
    { name: "kernel/firmware/acpi/iort.aml\0", mode: "000081a4", bytes: "IORT!" },
    { name: "kernel/firmware/acpi/b\0", mode: "000081a4", bytes: "" },
    { name: "c\0", mode: "000081a4", bytes: "12345678" },
    { name: "TRAILER!!!\0", mode: "00000000", bytes: "" },
  ]);
  assertEquals(archive.length % 4, 0);
});
