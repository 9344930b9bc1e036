import { assert, assertEquals, assertRejects } from "@std/assert";
import { checkFileSystem, readBack } from "../../vmm/provision/disk.ts";
import { provision, workingDisk } from "../../vmm/provision/provision.ts";

const FETCHES = Deno.env.get("VSMMU_TEST_PROVISION") === "1";

Deno.test("provision() looks at the user's own files before it makes anything", async (t) => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/text`, "not a kernel, a disk or an initramfs");
  await Deno.writeTextFile(`${folder}/empty`, "");
  const cases = [
    {
      name: "no kernel",
      options: { kernel: `${folder}/text` },
      message: "it is too short; an arm64 Image, gzipped or EFI zboot kernel is needed",
    },
    { name: "no disk", options: { disk: `${folder}/text` }, message: "it has 36 bytes" },
    {
      name: "an empty initramfs",
      options: { initrd: `${folder}/empty` },
      message: `Cannot use the initramfs ${folder}/empty: it is empty`,
    },
    {
      name: "an absent initramfs",
      options: { initrd: `${folder}/absent` },
      message: `Cannot read the initramfs ${folder}/absent: `,
    },
    {
      name: "an absent QEMU",
      options: { qemu: `${folder}/qemu-system-aarch64` },
      message: `${folder}/qemu-system-aarch64 is not on this machine`,
    },
  ];
  for (const { name, options, message } of cases) {
    await t.step(name, async () => {
      const cacheDir = `${folder}/cache`;
      await assertRejects(() => provision({ ...options, cacheDir }), Error, message);
      await assertRejects(() => Deno.stat(cacheDir), Deno.errors.NotFound);
    });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test({
  name: `provision() fetches and makes everything once${
    FETCHES ? "" : " (skipped: it downloads 140 MiB; set VSMMU_TEST_PROVISION=1)"
  }`,
  ignore: !FETCHES,
  fn: async () => {
    const cacheDir = await Deno.makeTempDir();
    try {
      const parts = await provision({ cacheDir });
      const lines: string[] = [];
      assertEquals(await provision({ cacheDir, progress: (line) => lines.push(line) }), parts);
      assertEquals(lines, []);
      assert(parts.kernel.release?.endsWith("-arm64"));
      using disk = await workingDisk(parts);
      await checkFileSystem(parts.tools, disk.path);
      assertEquals(await readBack(parts.tools, disk.path, "/data/input.bin"), {
        sha256: "6a8dc0764ebded26567d4631cc37bd6f48ed53cb1f8a6bbacfb1100fa2fd7b1c",
        sizeBytes: 67108864,
      });
      await assertRejects(
        () => readBack(parts.tools, disk.path, "/data/absent"),
        Error,
        `Cannot find /data/absent in ${disk.path}`,
      );
      await Deno.truncate(disk.path, 1 << 20);
      await assertRejects(() => checkFileSystem(parts.tools, disk.path), Error, "find");
    } finally {
      await Deno.remove(cacheDir, { recursive: true });
    }
  },
});
