import { assertEquals, assertRejects } from "@std/assert";
import { FileLock } from "../../vmm/file_lock.ts";

async function withLockPath(body: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(`${folder}/lock`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Another process that takes the lock, says so, and keeps it until it is killed. */
async function otherOwner(path: string): Promise<Deno.ChildProcess> {
  const module = new URL("../../vmm/file_lock.ts", import.meta.url);
  const code = `import { FileLock } from "${module}";
    const lock = FileLock.tryTake(${JSON.stringify(path)});
    Deno.stdout.writeSync(new TextEncoder().encode(lock ? "taken" : "busy"));
    setInterval(() => lock, 1000);`;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-q",
      "-A",
      "--config",
      config,
      `data:application/typescript,${encodeURIComponent(code)}`,
    ],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value), "taken");
  await reader.cancel();
  return child;
}

Deno.test("FileLock has one owner at a time", () =>
  withLockPath(async (path) => {
    const first = FileLock.tryTake(path)!;
    assertEquals(FileLock.tryTake(path), undefined);
    const waits: string[] = [];
    const second = FileLock.take(path, { onWait: (owner) => waits.push(owner) });
    first.release();
    using _lock = await second;
    assertEquals(waits, [String(Deno.pid)]);
  }));

Deno.test("FileLock.take() stops waiting when it is aborted", () =>
  withLockPath(async (path) => {
    using _lock = FileLock.tryTake(path)!;
    const controller = new AbortController();
    const waiting = FileLock.take(path, {
      signal: controller.signal,
      onWait: () => controller.abort(new Error("Interrupted")),
    });
    await assertRejects(() => waiting, Error, "Interrupted");
  }));

Deno.test("FileLock of a process that was killed is taken over", () =>
  withLockPath(async (path) => {
    const owner = await otherOwner(path);
    assertEquals(FileLock.tryTake(path), undefined);
    assertEquals((await Deno.readTextFile(path)).trim(), String(owner.pid));
    owner.kill("SIGKILL");
    await owner.status;
    using lock = FileLock.tryTake(path);
    assertEquals(lock instanceof FileLock, true);
  }));
