import { assertEquals } from "@std/assert";
import { OwnFolder } from "../../vmm/own_folder.ts";

function make(parent: string, name: string, mode = 0o700): string {
  const path = `${parent}/${name}`;
  Deno.mkdirSync(path);
  Deno.chmodSync(path, mode);
  return path;
}

function names(path: string): string[] {
  return Array.from(Deno.readDirSync(path), ({ name }) => name).sort();
}

Deno.test("OwnFolder holds a lock, and goes with what is in it, also when it has gone before", () => {
  const parent = Deno.makeTempDirSync();
  const folder = OwnFolder.take(make(parent, "a"));
  Deno.writeTextFileSync(`${folder.path}/file`, "");
  assertEquals(names(folder.path), ["file", "lock"]);
  folder.remove();
  folder.remove();
  assertEquals(names(parent), []);
  Deno.removeSync(parent);
});

Deno.test("OwnFolder.removeAbandoned() takes what a killed process left, and nothing else", async (t) => {
  const cases = [
    { name: "a lock that nobody holds", isLeft: false, make: { name: "x-1", lock: true } },
    { name: "no lock: its process begins", isLeft: true, make: { name: "x-1", lock: false } },
    { name: "another name", isLeft: true, make: { name: "y-1", lock: true } },
    { name: "open to others", isLeft: true, make: { name: "x-1", lock: true, mode: 0o755 } },
  ];
  for (const { name, isLeft, make: { name: old, lock, mode } } of cases) {
    await t.step(name, () => {
      const parent = Deno.makeTempDirSync();
      {
        const path = make(parent, old, mode);
        if (lock) Deno.writeTextFileSync(`${path}/lock`, "1\n");
        using own = OwnFolder.take(make(parent, "x-own"));
        own.removeAbandoned("x-");
        assertEquals(names(parent), isLeft ? ["x-own", old].sort() : ["x-own"]);
      }
      Deno.removeSync(parent, { recursive: true });
    });
  }
  await t.step("a lock that somebody holds", () => {
    const parent = Deno.makeTempDirSync();
    {
      using one = OwnFolder.take(make(parent, "x-1"));
      using two = OwnFolder.take(make(parent, "x-2"));
      two.removeAbandoned("x-");
      one.removeAbandoned("x-");
      assertEquals(names(parent), ["x-1", "x-2"]);
    }
    Deno.removeSync(parent);
  });
  await t.step("a link to somewhere else", () => {
    const parent = Deno.makeTempDirSync();
    const elsewhere = make(parent, "elsewhere");
    Deno.writeTextFileSync(`${elsewhere}/lock`, "1\n");
    Deno.symlinkSync(elsewhere, `${parent}/x-1`);
    {
      using own = OwnFolder.take(make(parent, "x-own"));
      own.removeAbandoned("x-");
      assertEquals(names(parent), ["elsewhere", "x-1", "x-own"]);
    }
    Deno.removeSync(parent, { recursive: true });
  });
});
