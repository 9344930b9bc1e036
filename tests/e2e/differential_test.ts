import { assert, assertEquals, assertMatch } from "@std/assert";
import { campaign } from "../../vmm/differential/campaign.ts";
import { Duel } from "../../vmm/differential/duel.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import { BROKEN_DEVICES } from "../support/broken_devices.ts";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

Deno.test({
  name: `200 programs: our SMMUv3 does what QEMU's does, but for what is known ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("differential", "--ours", "process", "--count", "200");
    const { code } = await run.end(120);
    assertEquals(code, 0, `${run.out.tail()}\n${run.err.tail()}`);
    assertMatch(run.out.lines.at(-1)!, /^200 programs, \d+ % of \d+ steps compared, 0 differences/);
    await sandbox.expectNothingLeft();
  },
});

for (const registers of ["trapped", "mapped"]) {
  Deno.test({
    name: `20 programs on both in the same QEMU, ours over vfio-user, ${registers} ${NEEDS}`,
    ignore,
    async fn(): Promise<void> {
      await using sandbox = new Sandbox();
      const flags = ["--registers", registers, "--count", "20", "--json"];
      const run = sandbox.vsmmu("differential", ...flags);
      const { code } = await run.end(180);
      assertEquals(code, 0, `${run.out.tail()}\n${run.err.tail()}`);
      const { ok, programs, differences } = JSON.parse(run.out.lines.join("\n"));
      assertEquals({ ok, programs, differences }, { ok: true, programs: 20, differences: [] });
      await sandbox.expectNothingLeft();
    },
  });
}

Deno.test({
  name: `Ctrl-C ends a comparison, and nothing of it is left ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("differential", "--count", "100000");
    await run.err.line(/ of 100000 programs/, 60);
    run.kill("SIGINT");
    assertEquals(await run.end(20), { code: 130, signal: null });
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `a QEMU killed meanwhile ends a comparison in one line and exit 3 ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("differential", "--ours", "process", "--count", "100000");
    await run.err.line(/ of 100000 programs/, 60);
    Deno.kill(sandbox.qemu(), "SIGKILL");
    assertEquals(await run.end(20), { code: 3, signal: null });
    assertEquals(run.err.matching(/QEMU ended: signal SIGKILL/).length, 1);
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `a device with a mistake differs from QEMU's too ${NEEDS}`,
  ignore,
  async fn(t): Promise<void> {
    for (const [mistake, make] of Object.entries(BROKEN_DEVICES)) {
      await t.step(mistake, async () => {
        using directory = await RuntimeDirectory.make();
        await using duel = await Duel.start({
          directory,
          where: "process",
          make,
          parts: {},
          progress: () => {},
          signal: new AbortController().signal,
        });
        const { differences } = await campaign({ sides: duel.sides, seed: 1, count: 500, most: 1 });
        assert(differences.length === 1, "not found");
      });
    }
  },
});
