import { assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { linkTarget, listDirectory, readWhole, readWriteAccess } from "../../uapi/kernel_files.ts";

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

Deno.test("files of /proc are read whole, whatever length they claim", () => {
  assertEquals(text(readWhole("/proc/sys/kernel/ostype")), "Linux\n");
  assertEquals(text(readWhole("/proc/sys/kernel/ostype", 3)), "Lin");
  assertEquals(readWhole("/proc/self/mem", 0).length, 0);
});

Deno.test("a file of more than one piece comes back in order", () => {
  const path = Deno.makeTempFileSync();
  const bytes = Uint8Array.from({ length: 200_001 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  Deno.writeFileSync(path, bytes);
  assertEquals(readWhole(path), bytes);
  assertEquals(readWhole(path, 70_000), bytes.slice(0, 70_000));
  Deno.removeSync(path);
});

Deno.test("a directory is listed, sorted, however many names it has", () => {
  const path = Deno.makeTempDirSync();
  assertEquals(listDirectory(path), []);
  const names = Array.from(
    { length: 3000 },
    (_, i) => `${String(i).padStart(4, "0")}-a-longer-name-ä`,
  );
  for (const name of names.toReversed()) Deno.writeTextFileSync(`${path}/${name}`, "");
  assertEquals(listDirectory(path), names);
  Deno.removeSync(path, { recursive: true });
});

Deno.test("links are read, not followed, and access is told", () => {
  const path = Deno.makeTempDirSync();
  Deno.symlinkSync("../../bus/pci/drivers/vfio-pci", `${path}/driver`);
  Deno.writeTextFileSync(`${path}/iommu`, "");
  assertEquals(linkTarget(`${path}/driver`), "../../bus/pci/drivers/vfio-pci");
  assertEquals([readWriteAccess(`${path}/iommu`), readWriteAccess(`${path}/none`)], [0, 2]);
  Deno.removeSync(path, { recursive: true });
});

Deno.test("what is not there is a SystemError with its path", async (t) => {
  const calls: [does: string, code: string, call: () => void][] = [
    ["open /proc/none", "ENOENT", () => readWhole("/proc/none")],
    ["open /proc/none", "ENOENT", () => listDirectory("/proc/none")],
    ["list /proc/version", "ENOTDIR", () => listDirectory("/proc/version")],
    ["read /proc/self", "EISDIR", () => readWhole("/proc/self")],
    ["read the link /proc/version", "EINVAL", () => linkTarget("/proc/version")],
  ];
  for (const [does, code, call] of calls) {
    await t.step(`${does}: ${code}`, () => {
      assertEquals(assertThrows(call, SystemError).message, `Cannot ${does}: ${code}`);
    });
  }
});
