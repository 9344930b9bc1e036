import { assert, assertEquals, assertMatch } from "@std/assert";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

Deno.test({
  name: `an image cut short under its guest gives it I/O errors, and us a few lines ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm", "--run", "shell");
    await run.out.line(/vsmmu: run shell/);
    await Deno.truncate(sandbox.find("disk.img"), 1 << 20);
    await run.type(
      "dd if=/dev/vda of=/dev/null bs=4k iflag=direct skip=256 count=1; echo r''ead $?",
    );
    await run.out.line(/^read 1$/);
    await run.type("for i in $(seq 20); do cat /dev/vda > /dev/null; done; echo a''gain");
    await run.out.line(/^again$/);
    await run.type("poweroff -f");
    assertEquals(await run.end(), { code: 0, signal: null });
    const said = run.err.matching(/disk\.img/);
    assertMatch(said[0], /^virtio-blk: Cannot read \S+\/disk\.img: EIO$/);
    assert(said.length <= 10, `${said.length} lines`);
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `an image removed under its guest fails the checks of the image, one line each ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm");
    await run.out.line(/vsmmu: mount ok/);
    await Deno.remove(`${sandbox.cache}/runs`, { recursive: true });
    assertEquals(await run.end(), { code: 1, signal: null });
    const failed = run.out.matching(/^FAILED/);
    assertEquals(failed.length, 2);
    assertMatch(failed[0], /^FAILED +The file system of the image is clean: Cannot /);
    assertMatch(failed[1], /^FAILED +The file that the guest wrote is in the image: Cannot /);
    assertEquals(run.err.matching(/mistake|bug/), []);
    await sandbox.expectNothingLeft();
  },
});

const unshare = ["--map-root-user", "--mount"];
const canMount = mayMount();

Deno.test({
  name: "a host without room for the image gives the guest I/O errors, and us a few lines " +
    `${NEEDS} [needs unshare(1) with user namespaces]`,
  ignore: ignore || !canMount,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const image = `${sandbox.path}/small/disk.img`;
    await Deno.mkdir(`${sandbox.path}/small`);
    const script = `mount -t tmpfs -o size=8m none "$1" && shift && truncate -s 64M "$1" && shift &&
      exec "$@"`;
    const line = sandbox.commandLine("microvm", "--disk", image, "--run", "shell");
    const run = sandbox.start("unshare", [
      ...unshare,
      ...["sh", "-c", script, "sh", `${sandbox.path}/small`, image, ...line],
    ]);
    await run.out.line(/vsmmu: run shell/);
    await run.type("dd if=/dev/zero of=/dev/vda bs=1M count=32 oflag=direct; echo w''ritten $?");
    await run.out.line(/^written 1$/);
    // What is there can be read, and written again.
    await run.type("dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct; echo r''ead $?");
    await run.out.line(/^read 0$/);
    await run.type("poweroff -f");
    assertEquals(await run.end(), { code: 0, signal: null });
    const said = run.err.matching(/disk\.img: /);
    assertMatch(said[0], /^virtio-blk: Cannot write \S+\/disk\.img: ENOSPC$/);
    assert(said.length <= 10, `${said.length} lines`);
    await sandbox.expectNothingLeft();
  },
});

function mayMount(): boolean {
  if (ignore) return false;
  try {
    const args = [...unshare, "mount", "-t", "tmpfs", "none", "/mnt"];
    return new Deno.Command("unshare", { args, stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
