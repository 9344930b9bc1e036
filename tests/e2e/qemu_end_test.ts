import { assert, assertEquals } from "@std/assert";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

Deno.test({
  name: `a QEMU killed while its guest uses the disk ends the run in one line and exit 1 ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm");
    await run.out.line(/vsmmu: mount ok/);
    Deno.kill(sandbox.qemu(), "SIGKILL");
    assertEquals(await run.end(), { code: 1, signal: null });
    assertEquals(run.out.matching(/SIGKILL/), [
      "FAILED  The guest powered off: QEMU ended: signal SIGKILL",
    ]);
    assertEquals(run.out.matching(/^NOT all held/).length, 1);
    assertEquals(run.err.matching(/mistake|bug/), []);
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `a QEMU that stands still is ended by Ctrl-C ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm");
    await run.out.line(/Booting Linux/);
    Deno.kill(sandbox.qemu(), "SIGSTOP");
    run.kill("SIGINT");
    assertEquals(await run.end(), { code: 130, signal: null });
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `serve goes on when QEMU is killed, and the next QEMU has all it needs ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const { serve, qemu } = await sandbox.serve();
    const first = qemu();
    await first.out.line(/vsmmu: mount ok/);
    first.kill("SIGKILL");
    // In whatever order the sockets are seen to have ended.
    const allGone = async (from = 0): Promise<void> => {
      for (const name of ["smmu", "virtio-blk", "dma-test-device"]) {
        await serve.err.line(new RegExp(`^${name}: The client is gone: it left$`), from);
      }
    };
    await allGone();
    await serve.err.line(/^The guest has ended: QEMU has closed its control socket$/);
    assertEquals(serve.err.matching(/: The client is gone: it left$/).length, 3);
    const idle = serve.descriptors();
    assertEquals(idle.filter((target) => target.includes("memfd")), [], "guest RAM");
    const before = serve.err.lines.length;
    const second = qemu();
    await second.out.line(/vsmmu: done/);
    await serve.err.line(/^The guest has ended: power-off$/, before);
    await allGone(before);
    assertEquals(second.out.matching(/vsmmu: FAIL|Kernel panic|I\/O error/), []);
    assertEquals(second.out.matching(/vsmmu: (mount|reread|unmount) ok/).length, 3);
    await serve.expectDescriptors(idle);
    assert(!sandbox.leftovers().some((path) => path.endsWith("qmp.sock")));
    serve.kill("SIGINT");
    assertEquals(await serve.end(), { code: 0, signal: null });
    assertEquals(serve.err.matching(/mistake|bug|refused with/), []);
    await sandbox.expectNothingLeft();
  },
});
