import { assertEquals, assertRejects } from "@std/assert";
import { checkOwnDisk, pseudoRandomBytes, WorkingDisk } from "../../vmm/provision/disk.ts";

async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    await body(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

function names(path: string): string[] {
  return Array.from(Deno.readDirSync(path), ({ name }) => name);
}

Deno.test("pseudoRandomBytes() gives the same bytes for the same seed", () => {
  // The first two numbers of Marsaglia's xorshift32 (13, 17, 5) from 2463534242.
  assertEquals(
    [...new Uint32Array(pseudoRandomBytes(8, 2463534242).buffer)],
    [723471715, 2497366906],
  );
  assertEquals(pseudoRandomBytes(64, 7), pseudoRandomBytes(64, 7));
});

Deno.test("WorkingDisk leaves the pristine image as it was and goes at the end of its block", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/pristine`, "pristine");
    {
      using disk = await WorkingDisk.copy(`${folder}/pristine`, `${folder}/runs`);
      await Deno.writeTextFile(disk.path, "spoiled");
      assertEquals(await Deno.readTextFile(`${folder}/pristine`), "pristine");
    }
    assertEquals(names(`${folder}/runs`), []);
  }));

Deno.test("WorkingDisk.copy() removes copies whose owner is gone and no others", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/pristine`, "pristine");
    await Deno.mkdir(`${folder}/runs/1-killed`, { recursive: true, mode: 0o700 });
    await Deno.writeTextFile(`${folder}/runs/1-killed/disk.img`, "left behind");
    await Deno.writeTextFile(`${folder}/runs/1-killed/lock`, "1\n");
    using first = await WorkingDisk.copy(`${folder}/pristine`, `${folder}/runs`);
    using second = await WorkingDisk.copy(`${folder}/pristine`, `${folder}/runs`);
    assertEquals(names(`${folder}/runs`).length, 2);
    assertEquals(await Deno.readTextFile(first.path), "pristine");
    assertEquals(await Deno.readTextFile(second.path), "pristine");
  }));

Deno.test("checkOwnDisk() takes whole sectors only", () =>
  inFolder(async (folder) => {
    const path = `${folder}/disk`;
    const cases = [{ sizeBytes: 0 }, { sizeBytes: 1000 }];
    for (const { sizeBytes } of cases) {
      await Deno.writeFile(path, new Uint8Array(sizeBytes));
      await assertRejects(
        () => checkOwnDisk(path),
        Error,
        `Cannot use the disk ${path}: it has ${sizeBytes} bytes; a raw image is a positive multiple of 512`,
      );
    }
    await Deno.writeFile(path, new Uint8Array(1024));
    await checkOwnDisk(path);
    await assertRejects(
      () => checkOwnDisk(`${path}2`),
      Error,
      `Cannot open the disk ${path}2: `,
    );
  }));
