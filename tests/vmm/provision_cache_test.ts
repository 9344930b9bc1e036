import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Cache, defaultCachePath, type Recipe } from "../../vmm/provision/cache.ts";

async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    await body(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

function greeting(made: string[], options: Partial<Recipe> = {}): Recipe {
  return {
    name: "greeting",
    title: "a greeting",
    inputs: "1",
    make: async (path) => {
      made.push("made");
      await Deno.mkdir(`${path}/in`);
      await Deno.writeTextFile(`${path}/in/file`, "hello");
      await Deno.symlink("in/file", `${path}/link`);
      return { language: "English" };
    },
    ...options,
  };
}

Deno.test("defaultCachePath() follows the XDG specification", async (t) => {
  const cases = [
    { name: "XDG_CACHE_HOME", set: { XDG_CACHE_HOME: "/x", HOME: "/h" }, path: "/x/vsmmu" },
    {
      name: "not a relative one",
      set: { XDG_CACHE_HOME: "x", HOME: "/h" },
      path: "/h/.cache/vsmmu",
    },
    { name: "HOME", set: { HOME: "/h" }, path: "/h/.cache/vsmmu" },
  ];
  for (const { name, set, path } of cases) {
    await t.step(name, () => {
      assertEquals(defaultCachePath((variable) => (set as Record<string, string>)[variable]), path);
    });
  }
  assertThrows(() => defaultCachePath(() => undefined), Error, "neither XDG_CACHE_HOME nor HOME");
});

Deno.test("Cache.artefact() makes an artefact once and says what it does", () =>
  inFolder(async (folder) => {
    const made: string[] = [];
    const lines: string[] = [];
    for (let run = 0; run < 2; run++) {
      using cache = await Cache.open(`${folder}/cache`, { progress: (line) => lines.push(line) });
      const { path, facts } = await cache.artefact(greeting(made));
      assertEquals(facts, { language: "English" });
      assertEquals(await Deno.readTextFile(`${path}/link`), "hello");
    }
    assertEquals(made, ["made"]);
    assertEquals(lines, ["Making a greeting"]);
    assertEquals((await Deno.stat(`${folder}/cache`)).mode! & 0o777, 0o700);
  }));

Deno.test("Cache.artefact() makes an artefact again that is not what the manifest says", async (t) => {
  const cases = [
    {
      name: "a truncated file",
      spoil: (path: string) => Deno.truncate(`${path}/in/file`, 2),
      why: "in/file has 2 bytes instead of 5",
    },
    {
      name: "a missing file",
      spoil: (path: string) => Deno.remove(`${path}/in/file`),
      why: "in/file is missing",
    },
    {
      name: "a file written to",
      // The kernel's clock for files is too coarse to tell two writes in a row apart.
      spoil: (path: string) => Deno.utime(`${path}/in/file`, 1, 1),
      why: "in/file was changed since it was made",
    },
    {
      name: "a missing link",
      spoil: (path: string) => Deno.remove(`${path}/link`),
      why: "link no longer points to in/file",
    },
  ];
  for (const { name, spoil, why } of cases) {
    await t.step(name, () =>
      inFolder(async (folder) => {
        const made: string[] = [];
        const lines: string[] = [];
        using cache = await Cache.open(folder, { progress: (line) => lines.push(line) });
        await spoil((await cache.artefact(greeting(made))).path);
        const { path } = await cache.artefact(greeting(made));
        assertEquals(made, ["made", "made"]);
        assertEquals(lines[1], `Cannot reuse a greeting: ${why}; making it again`);
        assertEquals(await Deno.readTextFile(`${path}/link`), "hello");
      }));
  }
});

Deno.test("Cache.artefact() compares contents when asked to verify", () =>
  inFolder(async (folder) => {
    const made: string[] = [];
    const lines: string[] = [];
    const progress = (line: string): number => lines.push(line);
    {
      using cache = await Cache.open(folder, { progress });
      const { path } = await cache.artefact(greeting(made));
      const { mtime } = await Deno.stat(`${path}/in/file`);
      await Deno.writeTextFile(`${path}/in/file`, "HELLO");
      await Deno.utime(`${path}/in/file`, mtime!, mtime!);
      await cache.artefact(greeting(made));
    }
    assertEquals(made.length, 1);
    using cache = await Cache.open(folder, { progress, verify: true });
    await cache.artefact(greeting(made));
    assertEquals(made.length, 2);
    assert(lines[1].includes("in/file has another SHA-256 than recorded"), lines[1]);
  }));

Deno.test("Cache.artefact() makes an artefact again from other inputs, on refresh, and without a whole manifest", () =>
  inFolder(async (folder) => {
    const made: string[] = [];
    const progress = (): void => {};
    {
      using cache = await Cache.open(folder, { progress });
      const { path } = await cache.artefact(greeting(made));
      await cache.artefact(greeting(made, { inputs: "2" }));
      assertEquals(made.length, 2);
      await Deno.truncate(`${path}/manifest.json`, 20);
      await cache.artefact(greeting(made, { inputs: "2" }));
      assertEquals(made.length, 3);
    }
    using cache = await Cache.open(folder, { progress, refresh: true });
    await cache.artefact(greeting(made, { inputs: "2" }));
    assertEquals(made.length, 4);
  }));

Deno.test("Cache.artefact() counts nothing that a killed or failed run left unfinished", () =>
  inFolder(async (folder) => {
    const made: string[] = [];
    using cache = await Cache.open(folder, { progress: () => {} });
    await Deno.mkdir(`${folder}/greeting.unfinished/in`, { recursive: true });
    await Deno.writeTextFile(`${folder}/greeting.unfinished/in/other`, "half");
    const { path } = await cache.artefact(greeting(made));
    assertEquals(Array.from(Deno.readDirSync(`${path}/in`), ({ name }) => name), ["file"]);

    const fails = greeting(made, { inputs: "2", make: () => Promise.reject(new Error("No")) });
    await assertRejects(() => cache.artefact(fails), Error, "No");
    assertEquals(await Deno.readTextFile(`${path}/link`), "hello");
    assertEquals(
      Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(),
      ["greeting", "lock"],
    );
  }));

Deno.test("Cache.artefact() makes nothing once it is aborted", () =>
  inFolder(async (folder) => {
    const made: string[] = [];
    const controller = new AbortController();
    using cache = await Cache.open(folder, { progress: () => {}, signal: controller.signal });
    controller.abort(new Error("Interrupted"));
    await assertRejects(() => cache.artefact(greeting(made)), Error, "Interrupted");
    assertEquals(made, []);
  }));

Deno.test("Cache.open() says which folder it could not make", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(
      () => Cache.open(`${folder}/file/cache`, { progress: () => {} }),
      Error,
      `Cannot make the cache folder ${folder}/file/cache: `,
    );
  }));
