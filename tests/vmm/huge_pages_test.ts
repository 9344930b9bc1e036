import { assertRejects } from "@std/assert";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { checkHugePages } from "../../vmm/huge_pages.ts";

Deno.test("checkHugePages() wants as many free pages as the guest's memory has", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/free_hugepages`, "384\n");
    await checkHugePages(768, folder);
    await assertRejects(
      () => checkHugePages(769, folder),
      EnvironmentError,
      `Cannot take 769 MiB of guest memory from huge pages: 385 of 2 MiB are needed, the host has 384 free; ` +
        `echo 385 > ${folder}/nr_hugepages reserves them`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("checkHugePages() finds none where the kernel has no huge pages", async () => {
  const folder = "/nonexistent/hugepages";
  await assertRejects(() => checkHugePages(2, folder), EnvironmentError, "the host has 0 free");
});
