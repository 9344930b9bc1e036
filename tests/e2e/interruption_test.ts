import { assert, assertEquals } from "@std/assert";
import { FileLock } from "../../vmm/file_lock.ts";
import type { Program } from "./program.ts";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

const LINE = "Interrupted; everything that was started is gone";

/** Moments of a run, by the line that it prints then. */
const MOMENTS: readonly { name: string; reached: (run: Program) => Promise<string> }[] = [
  { name: "while QEMU starts", reached: (run) => run.err.line(/^Starting QEMU/) },
  { name: "while QEMU connects", reached: (run) => run.err.line(/A client connected/) },
  { name: "while the guest boots", reached: (run) => run.out.line(/Booting Linux/) },
  { name: "while the guest uses the disk", reached: (run) => run.out.line(/mount ok/) },
];

/** The signals that end a run, and how they come. */
const SIGNALS: readonly { name: string; send: (run: Program) => void }[] = [
  { name: "SIGINT", send: (run) => run.kill("SIGINT") },
  { name: "SIGTERM", send: (run) => run.kill("SIGTERM") },
  { name: "SIGHUP", send: (run) => run.kill("SIGHUP") },
  { name: "Ctrl-C of a terminal, which goes to all", send: (run) => run.killGroup("SIGINT") },
  {
    name: "SIGINT twice",
    send: (run) => {
      run.kill("SIGINT");
      run.kill("SIGINT");
    },
  },
];

async function expectInterrupted(sandbox: Sandbox, run: Program): Promise<void> {
  assertEquals(await run.end(), { code: 130, signal: null });
  assertEquals(run.err.matching(/Interrupted/), [LINE]);
  assertEquals(run.err.matching(/mistake|bug|Cannot|error/), []);
  await sandbox.expectNothingLeft();
}

for (const moment of MOMENTS) {
  Deno.test({
    name: `a signal ${moment.name} ends everything in one line and exit 130 ${NEEDS}`,
    ignore,
    async fn(t): Promise<void> {
      for (const { name, send } of SIGNALS) {
        await t.step(name, async () => {
          await using sandbox = new Sandbox();
          const run = sandbox.vsmmu("microvm");
          await moment.reached(run);
          send(run);
          await expectInterrupted(sandbox, run);
        });
      }
    },
  });
}

Deno.test({
  name: `a signal while another process fills the cache ends the wait ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    using _lock = FileLock.tryTake(`${sandbox.cache}/lock`);
    const run = sandbox.vsmmu("microvm");
    await run.err.line(/^Waiting for process \d+, which fills the cache$/);
    run.kill("SIGINT");
    await expectInterrupted(sandbox, run);
  },
});

Deno.test({
  name: `a reader that goes away ends the run, and nothing is left ${NEEDS}`,
  ignore,
  async fn(t): Promise<void> {
    for (const gone of [["out"], ["out", "err"]] as const) {
      await t.step(gone.join(" and "), async () => {
        await using sandbox = new Sandbox();
        const run = sandbox.vsmmu("microvm");
        await run.out.line(/Booting Linux/);
        for (const stream of gone) await run[stream].close();
        assertEquals(await run.end(), { code: 130, signal: null });
        assertEquals(run.err.matching(/mistake|bug|Uncaught/), []);
        await sandbox.expectNothingLeft();
      });
    }
  },
});

Deno.test({
  name: `a terminal that goes away ends the run, and nothing is left ${NEEDS} [needs script(1)]`,
  ignore: ignore || !hasScript(),
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const line = sandbox.commandLine("microvm").join(" ");
    const terminal = sandbox.start("script", ["-qfc", line, "/dev/null"]);
    await terminal.out.line(/Booting Linux/);
    terminal.kill("SIGKILL");
    await terminal.end();
    await sandbox.expectNothingLeft();
  },
});

Deno.test({
  name: `SIGKILL takes QEMU along, and the next run removes what was left and works ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const killed = sandbox.vsmmu("microvm");
    await killed.out.line(/vsmmu: mount ok/);
    killed.kill("SIGKILL");
    assertEquals((await killed.end()).signal, "SIGKILL");
    const left = sandbox.leftovers();
    assert(left.some((path) => path.endsWith("/smmu.sock")), "a killed process removes nothing");
    // QEMU takes its own sockets along when it has the time.
    await sandbox.expectNothingLeft(left, /\/(qmp|qtest)\.sock$/);
    const next = sandbox.vsmmu("microvm", "--quiet");
    assertEquals(await next.end(), { code: 0, signal: null });
    await sandbox.expectNothingLeft();
  },
});

function hasScript(): boolean {
  try {
    return new Deno.Command("script", { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}
