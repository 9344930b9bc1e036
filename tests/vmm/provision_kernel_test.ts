import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  chooseKernel,
  isKernelVersion,
  ownKernel,
  parseShowDepends,
} from "../../vmm/provision/kernel.ts";
import { kernelFormat } from "../../vmm/provision/kernel_image.ts";

function head(...parts: [offset: number, text: string][]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(64);
  for (const [offset, text] of parts) bytes.set(new TextEncoder().encode(text), offset);
  return bytes;
}

Deno.test("kernelFormat() knows what QEMU boots and says what else a file is", async (t) => {
  const gzip = new Uint8Array(64);
  gzip.set([0x1f, 0x8b, 0x08]);
  const cases = [
    { name: "Image", bytes: head([0, "MZ"], [0x38, "ARMd"]), is: { format: "Image" } },
    { name: "Image without EFI", bytes: head([0x38, "ARMd"]), is: { format: "Image" } },
    { name: "gzip", bytes: gzip, is: { format: "gzip" } },
    { name: "zboot", bytes: head([0, "MZ"], [4, "zimg"]), is: { format: "zboot" } },
    { name: "vmlinux", bytes: head([0, "\x7fELF"]), is: { instead: "an ELF file" } },
    {
      name: "bzImage",
      bytes: head([0, "MZ"]),
      is: { instead: "an EFI program for another machine" },
    },
    { name: "text", bytes: head([0, "hello"]), is: { instead: "an unknown format" } },
    { name: "empty", bytes: new Uint8Array(0), is: { instead: "too short" } },
  ];
  for (const { name, bytes, is } of cases) {
    await t.step(name, () => assertEquals<unknown>(kernelFormat(bytes), is));
  }
});

Deno.test("chooseKernel() takes the newest plain kernel whose version begins with what was asked for", async (t) => {
  const names = [
    "linux-image-6.12.9+deb13-arm64",
    "linux-image-6.12.117+deb13-arm64",
    "linux-image-6.12.117+deb13-arm64-16k",
    "linux-image-6.12.118+deb13-arm64-dbg",
    "linux-image-6.12.118+deb13-arm64-unsigned",
    "linux-image-6.12.118+deb13-rt-arm64",
    "linux-image-6.12.118+deb13-cloud-arm64",
    "linux-image-7.3.4+deb13-arm64",
    "linux-image-7.3.5+deb13-arm64-16k-unsigned",
    "linux-image-7.30.1+deb13-arm64",
    "linux-image-arm64",
    "linux-image-arm64-signed-template",
  ];
  const cases = [
    { asked: "6.12", chosen: "linux-image-6.12.117+deb13-arm64" },
    { asked: "6.12.9", chosen: "linux-image-6.12.9+deb13-arm64" },
    { asked: "6", chosen: "linux-image-6.12.117+deb13-arm64" },
    { asked: "7.3", chosen: "linux-image-7.3.4+deb13-arm64" },
    { asked: "7", chosen: "linux-image-7.30.1+deb13-arm64" },
    { asked: "6.12-16k", chosen: "linux-image-6.12.117+deb13-arm64-16k" },
    { asked: "6.12-rt", chosen: "linux-image-6.12.118+deb13-rt-arm64" },
  ];
  for (const { asked, chosen } of cases) {
    await t.step(asked, () => assertEquals(chooseKernel(names, asked), chosen));
  }
  await t.step("7.3-16k, which there is not", () => {
    assertThrows(
      () => chooseKernel(names, "7.3-16k"),
      Error,
      "Cannot find a Debian arm64 kernel 7.3-16k: the archive has 6.12",
    );
  });
  await t.step("6.1, which there is not", () => {
    assertThrows(
      () => chooseKernel(names, "6.1"),
      Error,
      "Cannot find a Debian arm64 kernel 6.1: the archive has 7.30, 7.3, 6.12",
    );
  });
});

Deno.test("isKernelVersion() tells a version from a path", () => {
  const versions = ["6.12", "7", "7.3.4", "7.3-16k", "6.12-rt"];
  assertEquals(versions.filter(isKernelVersion), versions);
  const paths = ["Image", "./6.12", "6.12-rc1", "", "1.2.3.4", "7.3-64k", "16k", "6.12-rt-16k"];
  assertEquals(paths.filter(isKernelVersion), []);
});

Deno.test("parseShowDepends() keeps the order of loading and each module once", () => {
  const text = [
    "builtin virtio_pci",
    "insmod /m/kernel/drivers/block/virtio_blk.ko.xz ",
    "insmod /m/kernel/lib/crc16.ko.xz ",
    "insmod /m/kernel/fs/ext4/ext4.ko.xz ",
    "insmod /m/kernel/lib/crc16.ko.xz ",
  ];
  assertEquals(parseShowDepends(text.join("\n")), [
    "/m/kernel/drivers/block/virtio_blk.ko.xz",
    "/m/kernel/lib/crc16.ko.xz",
    "/m/kernel/fs/ext4/ext4.ko.xz",
  ]);
});

Deno.test("ownKernel() takes an arm64 Image and names both sides otherwise", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, head([0x38, "ARMd"]));
    assertEquals(await ownKernel(path), { path, release: undefined, modulesPath: undefined });
    await Deno.writeFile(path, head([0, "\x7fELF"]));
    await assertRejects(
      () => ownKernel(path),
      Error,
      `Cannot boot ${path}: it is an ELF file; an arm64 Image, gzipped or EFI zboot kernel is needed`,
    );
  } finally {
    await Deno.remove(path);
  }
  await assertRejects(() => ownKernel(path), Error, `Cannot read the kernel ${path}: `);
});

Deno.test("parseShowDepends() keeps a path with spaces and drops a module's options", () => {
  assertEquals(
    parseShowDepends("insmod /my cache/a.ko.xz \ninsmod /my cache/b.ko debug=1\n"),
    ["/my cache/a.ko.xz", "/my cache/b.ko"],
  );
});
