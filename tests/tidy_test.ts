/**
 * What holds for the sources as a whole. Needs to read the repository.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("..", import.meta.url);
const ROOMS = ["hw", "uapi", "vmm", "tests", "examples"] as const;
const MOST_LINES = { sources: 400, tests: 600 } as const;

/** All TypeScript files below a folder of the repository, as paths from its root. */
function* sources(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* sources(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** Specifiers of a file's imports and re-exports. */
function imports(text: string): string[] {
  const statements =
    /^(?:import|export)\b[^;"'`]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm;
  return [...text.matchAll(statements)].map((match) => match[1] ?? match[2] ?? match[3]);
}

/** The text without comments: what is left is code, and strings. */
function code(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "$1");
}

/** Resolves an import of `path` to a path from the root, or leaves a package's name as it is. */
function resolve(path: string, specifier: string): string {
  if (!specifier.startsWith(".")) return specifier;
  return new URL(specifier, new URL(path, "file:///")).pathname.slice(1);
}

Deno.test("hw imports nothing from outside hw: not uapi, not vmm, no package", () => {
  const wrong = [...sources("hw")].flatMap((path) =>
    imports(read(path)).map((specifier) => resolve(path, specifier))
      .filter((target) => !target.startsWith("hw/")).map((target) => `${path} -> ${target}`)
  );
  assertEquals(wrong, []);
});

Deno.test("uapi imports nothing from outside uapi: not hw, not vmm, no package", () => {
  const wrong = [...sources("uapi")].flatMap((path) =>
    imports(read(path)).map((specifier) => resolve(path, specifier))
      .filter((target) => !target.startsWith("uapi/")).map((target) => `${path} -> ${target}`)
  );
  assertEquals(wrong, []);
});

Deno.test("hw names no Deno, no clock, no randomness", () => {
  const impure =
    /\bDeno\.|\bDate\b|\bperformance\b|Math\.random|\bcrypto\b|\bsetTimeout\b|\bprocess\./;
  const wrong = [...sources("hw")].filter((path) => impure.test(code(read(path))));
  assertEquals(wrong, []);
});

Deno.test("Deno.dlopen is called in uapi/libc.ts and nowhere else", () => {
  const callers = [...sources("hw"), ...sources("uapi"), ...sources("vmm")]
    .filter((path) => /\bDeno\.dlopen\(/.test(code(read(path))));
  assertEquals(callers, ["uapi/libc.ts"]);
});

Deno.test("only the main module imports from all rooms, and nothing imports tests or examples", () => {
  const wrong = ["hw", "uapi", "vmm"].flatMap((room) => [...sources(room)]).flatMap((path) =>
    imports(read(path)).map((specifier) => resolve(path, specifier))
      .filter((target) => /^(tests|examples)\/|^mod\.ts$/.test(target))
      .map((target) => `${path} -> ${target}`)
  );
  assertEquals(wrong, []);
});

Deno.test("every source file says what it is, a test by its name, and is not crowded", async (t) => {
  for (const room of ROOMS) {
    await t.step(room, () => {
      const paths = [...sources(room)];
      const most = room === "tests" ? MOST_LINES.tests : MOST_LINES.sources;
      assert(paths.length > 0);
      const bare = paths.filter((path) =>
        !path.endsWith("_test.ts") && !/^\/\*\*[\s\S]*?@module[\s\S]*?\*\//.test(read(path))
      );
      assertEquals(bare, [], "without a module comment");
      const crowded = paths.filter((path) => read(path).split("\n").length > most);
      assertEquals(crowded, [], `longer than ${most} lines`);
    });
  }
});

Deno.test("no unfinished business, no focused test, no path of one machine, no registry's host", () => {
  // Split, so that this file does not find itself.
  const forbidden = [
    new RegExp(["TO" + "DO", "FIX" + "ME", "XX" + "X\\b"].join("|")),
    new RegExp("Deno\\.test\\." + "only"),
    new RegExp(["[\"'`\\s]/ro" + "ot/", "[\"'`\\s]/wo" + "rk/", "/ho" + "me/[a-z]+/"].join("|")),
    new RegExp("https?://[a-z0-9.-]*(debian|npm)[a-z.-]*\\.(org|com)"),
  ];
  const paths = [...ROOMS.flatMap((room) => [...sources(room)]), "mod.ts", "README.md"];
  const wrong = paths.flatMap((path) =>
    forbidden.filter((pattern) => pattern.test(read(path))).map((pattern) => `${path}: ${pattern}`)
  );
  assertEquals(wrong, []);
});
