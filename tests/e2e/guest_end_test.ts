import { assertEquals, assertMatch } from "@std/assert";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

Deno.test({
  name: `a guest that panics fails the run at once, with its own words ${NEEDS}`,
  ignore,
  async fn(t): Promise<void> {
    const cases = [
      { name: "and stands still", append: "rdinit=/nonexistent" },
      { name: "and would reboot", append: "rdinit=/nonexistent panic=-1" },
      { name: "of its own accord", append: "rdinit=/bin/busybox -- true" },
    ];
    for (const { name, append } of cases) {
      await t.step(name, async () => {
        await using sandbox = new Sandbox();
        const run = sandbox.vsmmu("microvm", "--quiet", "--append", append);
        assertEquals(await run.end(), { code: 1, signal: null });
        assertMatch(
          run.out.matching(/The guest powered off/)[0],
          /^FAILED +The guest powered off: Kernel panic: /,
        );
        assertEquals(run.err.matching(/mistake|bug/), []);
        await sandbox.expectNothingLeft();
      });
    }
  },
});

Deno.test({
  name: `a guest that reboots for ever ends at --timeout, and the line says how often ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const append = "rdinit=/bin/busybox -- reboot -f";
    const run = sandbox.vsmmu("microvm", "--quiet", "--append", append, "--timeout", "30");
    assertEquals(await run.end(), { code: 1, signal: null });
    assertMatch(
      run.out.matching(/The guest powered off/)[0],
      /^FAILED +The guest powered off: The guest did not end within 30 seconds; it rebooted (once|\d+ times)$/,
    );
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `a guest that reboots while it uses the disk comes up again and works ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm", "--run", "disk,shell");
    await run.out.line(/vsmmu: run shell/);
    const first = run.out.lines.length;
    await run.type("dd if=/dev/vda of=/dev/null bs=1M iflag=direct count=200 & echo s''tarted");
    await run.out.line(/^started/, first);
    await run.type("reboot -f");
    await run.out.line(/vsmmu: run shell/, first);
    await run.type("poweroff -f");
    assertEquals(await run.end(), { code: 0, signal: null });
    assertEquals(run.out.matching(/vsmmu: unmount ok|Booting Linux/).length, 4);
    // Linux breaks its disk on the way down; after that nothing may fail.
    const booted = run.out.lines.findLastIndex((line) => line.includes("Booting Linux"));
    const wrong = /I\/O error|CMD_SYNC timeout|vsmmu: FAIL/;
    assertEquals(run.out.lines.slice(booted).filter((line) => wrong.test(line)), []);
    assertEquals(
      run.out.matching(/^Commands refused +0$|^Events +0; 0 dropped$|, 0 faults$/).length,
      3,
    );
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name:
    `a second client of each socket is refused in one line, and the guest does not notice ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm");
    await run.out.line(/vsmmu: mount ok/);
    for (const name of ["smmu.sock", "disk.sock", "dma.sock"]) {
      using client = await Deno.connect({ transport: "unix", path: sandbox.find(name) });
      assertEquals(await client.read(new Uint8Array(16)), null, name);
    }
    assertEquals(await run.end(), { code: 0, signal: null });
    assertEquals(run.err.matching(/second client/), [
      "smmu: Turned a second client away",
      "virtio-blk: Turned a second client away",
      "dma-test-device: Turned a second client away",
    ]);
    assertEquals(run.out.matching(/^All held/).length, 1);
    await sandbox.expectNothingLeft();
  },
});
