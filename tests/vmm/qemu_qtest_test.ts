import { assertEquals, assertRejects } from "@std/assert";
import { Qtest } from "../../vmm/qemu/qtest.ts";
import { LineServer } from "../support/line_server.ts";

const soon = { timeoutMs: 1000 };

Deno.test("Qtest reads and writes guest physical addresses in QEMU's words", async () => {
  const answers: Record<string, string> = {
    "readl 0x4010000000": "OK 0x00000000001b36aa",
    "readw 0x10": "OK 0x1b36",
    "writel 0x3ee00000 0xdeadbeef": "OK",
    "writew 0x4018118004 0x6": "OK",
  };
  await using server = new LineServer({ answer: (line) => [answers[line] ?? "ERR"] });
  const qtest = await Qtest.connect(server.path, soon);
  assertEquals(await qtest.readl(0x40_1000_0000), 0x001b_36aa);
  assertEquals(await qtest.readw(0x10), 0x1b36);
  await qtest.writel(0x3ee0_0000, 0xdead_beef);
  await qtest.writew(0x40_1811_8004, 6);
  await qtest.close();
  assertEquals(server.received, Object.keys(answers));
});

Deno.test("Qtest gives each of several commands its own answer", async () => {
  await using server = new LineServer({ answer: (line) => [`OK ${line.split(" ")[1]}`] });
  const qtest = await Qtest.connect(server.path, soon);
  assertEquals(await Promise.all([1, 2, 3].map((gpa) => qtest.readl(gpa))), [1, 2, 3]);
  await qtest.close();
});

Deno.test("Qtest.batch() has commands done in order, and says which one was refused", async () => {
  const answers: Record<string, string> = { "readl 0x4": "OK 0x4", "writeq 0x8 0x1": "OK" };
  await using server = new LineServer({ answer: (line) => [answers[line] ?? "FAIL Unknown"] });
  const qtest = await Qtest.connect(server.path, soon);
  const commands = ["readl 0x4", "writeq 0x8 0x1", "readl 0x4"];
  assertEquals(await qtest.batch(commands), ["0x4", "", "0x4"]);
  assertEquals(await qtest.batch([]), []);
  assertEquals(server.received, commands);
  await assertRejects(
    () => qtest.batch(["readl 0x4", "leap 1"]),
    Error,
    'Cannot leap 1 through qtest: QEMU answered "FAIL Unknown"',
  );
  assertEquals(await qtest.batch(["readl 0x4"]), ["0x4"]);
  await qtest.close();
  await assertRejects(() => qtest.batch(["readl 0x4"]), Error, "the connection is closed");
});

Deno.test("Qtest passes over interrupts that QEMU reports", async () => {
  await using server = new LineServer({ answer: () => ["IRQ raise 3", "OK 0x7", "IRQ lower 3"] });
  const qtest = await Qtest.connect(server.path, soon);
  assertEquals([await qtest.readl(0), await qtest.readl(4)], [7, 7]);
  await qtest.close();
});

Deno.test("Qtest says what QEMU did not do", async (t) => {
  const cases = [
    { name: "a refusal", answer: "FAIL Unknown", says: 'QEMU answered "FAIL Unknown"' },
    { name: "no number", answer: "OK", says: 'QEMU answered ""' },
    { name: "not a number", answer: "OK zero", says: 'QEMU answered "zero"' },
    { name: "a hang-up", answer: undefined, says: "the connection is closed" },
  ];
  for (const { name, answer, says } of cases) {
    await t.step(name, async () => {
      await using server = new LineServer({
        answer: () => answer === undefined ? undefined : [answer],
      });
      const qtest = await Qtest.connect(server.path, soon);
      const message = `Cannot readl 0x40 through qtest: ${says}`;
      const error = await assertRejects(() => qtest.readl(0x40));
      assertEquals((error as Error).message, message);
      await qtest.close();
    });
  }
});

Deno.test("Qtest.close() fails what is under way and what comes after", async () => {
  await using server = new LineServer({ answer: () => [] });
  const qtest = await Qtest.connect(server.path, soon);
  const reading = assertRejects(() => qtest.readl(0), Error, "the connection is closed");
  await qtest.close();
  await reading;
  await assertRejects(() => qtest.readl(0), Error, "the connection is closed");
  await qtest.close();
});

Deno.test("Qtest.connect() waits for a socket, and names it when it does not come", async () => {
  const path = `${await Deno.makeTempDir()}/none`;
  await assertRejects(
    () => Qtest.connect(path, { timeoutMs: 30 }),
    Error,
    `Cannot connect to QEMU's qtest at ${path}`,
  );
  const reason = new Error("Interrupted");
  await assertRejects(
    () => Qtest.connect(path, { timeoutMs: 10_000, signal: AbortSignal.abort(reason) }),
    Error,
    "Interrupted",
  );
});

Deno.test("an answer that comes too late is not that of the next command", async () => {
  await using server = new LineServer({
    answer: (line) =>
      line === "readl 0x4" ? ["OK 0x4"] : line === "readl 0x8" ? ["OK 0x1", "OK 0x8"] : [],
  });
  const qtest = await Qtest.connect(server.path, { timeoutMs: 2000 }, 50);
  assertEquals(await qtest.readl(4), 4);
  await assertRejects(() => qtest.readl(1), Error, "no answer in 0.05 s");
  assertEquals(await qtest.readl(8), 8);
  await assertRejects(() => qtest.batch(["leap 1"]), Error, "no answer in 0.05 s");
  assertEquals(await qtest.readl(8), 8);
  await qtest.close();
});
