import { assertEquals, assertRejects } from "@std/assert";
import { MachineControl, type OnReboot } from "../../vmm/qemu/machine_control.ts";
import { LineServer } from "../support/line_server.ts";

const soon = { timeoutMs: 2000 };
const addresses = { ecam: 0x40_1000_0000, bar: 0x3ee0_0000 };

/** A QEMU made of its two sockets, which share a journal of what reached them. */
class FakeQemu implements AsyncDisposable {
  readonly journal: string[] = [];
  readonly qmp = new LineServer({
    greeting: ['{"QMP": {}}'],
    answer: (line) => this.#execute(JSON.parse(line)),
  });
  readonly qtest = new LineServer({ answer: (line) => [this.#access(line)] });
  /** What BAR and command registers read as. */
  readonly #words = new Map<number, number>();

  event(reason: string): Promise<void> {
    return this.qmp.say(`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "${reason}"}}`);
  }

  start(onReboot: OnReboot = "restart"): Promise<MachineControl> {
    const sockets = { qmp: this.qmp.path, qtest: this.qtest.path };
    return MachineControl.start(sockets, addresses, onReboot, soon);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.qmp[Symbol.asyncDispose]();
    await this.qtest[Symbol.asyncDispose]();
  }

  #execute(
    request: { execute: string; arguments?: { reboot?: string; id?: string }; id: number },
  ): string[] {
    const { execute, arguments: args, id } = request;
    this.journal.push(args ? `${execute} ${args.reboot ?? args.id}` : execute);
    const answer = `{"return": {}, "id": ${id}}`;
    if (execute !== "system_reset") return [answer];
    this.#words.clear();
    return [answer, '{"event": "RESET", "data": {"guest": false, "reason": "guest-reset"}}'];
  }

  #access(line: string): string {
    const [kind, at, value] = line.split(" ");
    if (kind?.startsWith("write")) {
      if (this.journal.at(-1) !== "program") this.journal.push("program");
      this.#words.set(Number(at), Number(value));
      return "OK";
    }
    return `OK ${this.#words.get(Number(at)) ?? 0x1b36}`;
  }
}

const STARTED = ["qmp_capabilities", "program", "cont"];

Deno.test("MachineControl programs the carriage before the guest runs", async () => {
  await using qemu = new FakeQemu();
  const control = await qemu.start();
  assertEquals(qemu.journal, STARTED);
  await control.quit();
  assertEquals(await control.ended, { cause: "stopped" });
  assertEquals(qemu.journal, [...STARTED, "quit"]);
});

Deno.test("MachineControl resets and programs again while a rebooting guest stands still", async () => {
  await using qemu = new FakeQemu();
  const control = await qemu.start();
  for (const reason of ["guest-reset", "host-qmp-system-reset"]) {
    qemu.journal.length = 0;
    const before = control.reboots;
    await qemu.event(reason);
    while (control.reboots === before) await new Promise((resolve) => setTimeout(resolve, 1));
    assertEquals(qemu.journal, [
      "set-action reset",
      "system_reset",
      "set-action shutdown",
      "program",
      "cont",
    ]);
  }
  await control.quit();
});

Deno.test("MachineControl asks for a function, and by force switches off the slot that it is in", async () => {
  await using qemu = new FakeQemu();
  const control = await qemu.start();
  qemu.journal.length = 0;
  await control.unplug(10, false);
  assertEquals(qemu.journal, ["device_del function10"]);
  await assertRejects(() => control.unplug(10, true), Error, "there is no root port");
  await control.quit();
});

Deno.test("MachineControl finishes one restart before it begins the next", async () => {
  await using qemu = new FakeQemu();
  const control = await qemu.start();
  qemu.journal.length = 0;
  await Promise.all([qemu.event("guest-reset"), qemu.event("guest-reset")]);
  while (control.reboots < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  const restart = ["set-action reset", "system_reset", "set-action shutdown", "program", "cont"];
  assertEquals(qemu.journal, [...restart, ...restart]);
  await control.quit();
});

Deno.test("MachineControl tells why a machine ended", async (t) => {
  const cases: { reason: string; onReboot: OnReboot; expected: unknown }[] = [
    { reason: "guest-shutdown", onReboot: "restart", expected: { cause: "power-off" } },
    { reason: "guest-reset", onReboot: "end", expected: { cause: "reboot" } },
    {
      reason: "host-signal",
      onReboot: "restart",
      expected: { cause: "failed", message: "QEMU was ended by a signal" },
    },
  ];
  for (const { reason, onReboot, expected } of cases) {
    await t.step(reason, async () => {
      await using qemu = new FakeQemu();
      const control = await qemu.start(onReboot);
      await qemu.event(reason);
      assertEquals(await control.ended, expected);
      await control.quit();
    });
  }
});

Deno.test("MachineControl notices that QEMU is gone", async () => {
  await using qemu = new FakeQemu();
  const control = await qemu.start();
  qemu.qmp.hangUp();
  assertEquals(await control.ended, {
    cause: "failed",
    message: "QEMU has closed its control socket",
  });
  await control.quit();
});

Deno.test("MachineControl leaves the guest stopped when the carriage does not answer", async () => {
  await using qemu = new FakeQemu();
  const silent = new LineServer({ answer: () => ["OK 0xffffffff"] });
  const sockets = { qmp: qemu.qmp.path, qtest: silent.path };
  await assertRejects(
    () => MachineControl.start(sockets, addresses, "restart", soon),
    Error,
    "Cannot find the root port of the SMMU",
  );
  assertEquals(qemu.journal, ["qmp_capabilities"]);
  await silent[Symbol.asyncDispose]();
});
