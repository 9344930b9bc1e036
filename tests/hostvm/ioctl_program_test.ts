/** The program that makes ioctls for a guest's shell, on this arm64 kernel. */
import { assertEquals } from "@std/assert";
import { ioctlProgram } from "../../vmm/provision/ioctl_program.ts";

/** What the program says with these words for a new iommufd, and how it ends. */
async function run(...words: number[]): Promise<{ code: number; answer: number[] }> {
  const folder = await Deno.makeTempDir();
  await Deno.writeFile(`${folder}/ioctl`, ioctlProgram(), { mode: 0o755 });
  await Deno.writeFile(`${folder}/request`, new Uint8Array(Uint32Array.from(words).buffer));
  const { code, stdout } = await new Deno.Command("sh", {
    args: [
      "-c",
      "exec 3<>/dev/iommu; ./ioctl 3 < request > answer; code=$?; cat answer; exit $code",
    ],
    cwd: folder,
  }).output();
  await Deno.remove(folder, { recursive: true });
  return { code, answer: [...new Uint32Array(stdout.slice().buffer)] };
}

Deno.test("an ioctl of a shell returns its structure, or ends with its error", async () => {
  const IOMMU_IOAS_ALLOC = 0x3b81;
  assertEquals(await run(IOMMU_IOAS_ALLOC, 0, 12, 0, 0), { code: 0, answer: [12, 0, 1] });
  assertEquals(await run(IOMMU_IOAS_ALLOC, 0, 12, 1, 0), { code: 256 - 95, answer: [] }, "a flag");
});
