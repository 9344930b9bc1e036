import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { describeEnd, QemuProcess, tiedToUs } from "../../vmm/qemu/qemu_process.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import type { Tool } from "../../vmm/tool.ts";

/** A stand-in for QEMU: a shell script. */
function shell(script: string): Tool {
  return { name: "qemu", command: "sh", args: ["-c", script, "sh"], env: { WORD: "hello" } };
}

Deno.test("QemuProcess streams the console and ends", async () => {
  const process = QemuProcess.start(shell('echo "$WORD $1"; printf "last"'), ["world"]);
  assertEquals(await Array.fromAsync(process.console), ["hello world", "last"]);
  const status = await process.exited;
  assertEquals([status.success, process.lastWords], [true, ""]);
  process.kill("SIGTERM");
});

Deno.test("QemuProcess types at the console, until QEMU has ended", async () => {
  const process = QemuProcess.start(shell('read line; echo "$line?"'), []);
  await process.type("are you there");
  assertEquals(await Array.fromAsync(process.console), ["are you there?"]);
  await process.exited;
  await process.type("nobody is");
});

Deno.test("QemuProcess keeps the last words of a QEMU that fails", async () => {
  const script = "for i in $(seq 100); do echo line $i >&2; done; exit 3";
  const process = QemuProcess.start(shell(script), []);
  const status = await process.exited;
  assertEquals(
    describeEnd(process, status),
    "exit status 3: line 97; line 98; line 99; line 100",
  );
});

Deno.test("QemuProcess does not take a warning for the reason", async () => {
  const script = "echo 'qemu: bad' >&2; echo 'qemu: -device x: warning: odd' >&2; exit 1";
  const process = QemuProcess.start(shell(script), []);
  assertEquals(describeEnd(process, await process.exited), "exit status 1: qemu: bad");
});

Deno.test("QemuProcess tells by which signal QEMU ended", async () => {
  const process = QemuProcess.start(shell("exec sleep 60"), []);
  process.kill("SIGKILL");
  assertEquals(describeEnd(process, await process.exited), "signal SIGKILL");
});

Deno.test("QemuProcess reads a console that nobody listens to", async () => {
  const process = QemuProcess.start(shell("seq 100000"), []);
  assert((await process.exited).success);
  assertEquals(process.console.dropped, 100_000 - 4096);
});

Deno.test("QemuProcess.start() names a QEMU that is not there", () => {
  const absent = { name: "qemu", command: "/nonexistent/qemu", args: [], env: {} };
  assertThrows(() => QemuProcess.start(absent, []), Error, "Cannot start QEMU: ");
});

Deno.test("tiedToUs() leaves a QEMU alone that ends with its parent by itself", async () => {
  const qemu = { name: "qemu", command: "qemu", args: ["-x"], env: {} };
  const features = { canExitWithParent: true, hasSandbox: true };
  assertEquals(await tiedToUs(qemu, features), qemu);
});

Deno.test("RuntimeDirectory is private, short enough, and goes", async () => {
  const parent = await Deno.makeTempDir();
  let path;
  {
    using directory = await RuntimeDirectory.make(parent);
    path = directory.path;
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o700);
    assertMatch(directory.file("qmp.sock"), /^\/.*\/vsmmu-[^/]*\/qmp\.sock$/);
    await Deno.writeTextFile(directory.file("something"), "");
    assertThrows(() => directory.file("x".repeat(25)), Error, "it is too long");
  }
  await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
  const deep = `${parent}/${"d".repeat(100)}`;
  await Deno.mkdir(deep);
  await assertRejects(
    () => RuntimeDirectory.make(deep),
    Error,
    "is too long for the address of a socket",
  );
  assertEquals(await Array.fromAsync(Deno.readDir(deep)), []);
  await Deno.remove(parent, { recursive: true });
});
