import { assertEquals, assertRejects } from "@std/assert";
import { Qmp, type QmpEvent } from "../../vmm/qemu/qmp.ts";
import { LineServer } from "../support/line_server.ts";

const soon = { timeoutMs: 1000 };
const GREETING = '{"QMP": {"version": {"qemu": {"major": 11, "minor": 1}}, "capabilities": []}}';

interface Request {
  readonly execute: string;
  readonly arguments?: unknown;
  readonly id: number;
}

type Answers = (request: Request) => readonly string[] | undefined;

/** A QEMU that agrees to capabilities and answers the rest as `answers` says. */
function qemu(answers: Answers = () => []): LineServer {
  const answer: Answers = (request) =>
    request.execute === "qmp_capabilities"
      ? [`{"return": {}, "id": ${request.id}}`]
      : answers(request);
  return new LineServer({ greeting: [GREETING], answer: (line) => answer(JSON.parse(line)) });
}

Deno.test("Qmp negotiates and executes commands", async () => {
  await using server = qemu(({ id }) => [`{"return": {"status": "prelaunch"}, "id": ${id}}`]);
  const qmp = await Qmp.connect(server.path, soon);
  assertEquals(await qmp.execute("query-status"), { status: "prelaunch" });
  await qmp.execute("set-action", { reboot: "shutdown" });
  await qmp.close();
  assertEquals(server.received, [
    '{"execute":"qmp_capabilities","id":0}',
    '{"execute":"query-status","id":1}',
    '{"execute":"set-action","arguments":{"reboot":"shutdown"},"id":2}',
  ]);
});

Deno.test("Qmp gives answers out of order to those who asked", async () => {
  const held: string[] = [];
  await using server = qemu(({ id, execute }) => {
    held.unshift(`{"return": "${execute}", "id": ${id}}`);
    return held.length === 2 ? held : [];
  });
  const qmp = await Qmp.connect(server.path, soon);
  assertEquals(await Promise.all([qmp.execute("a"), qmp.execute("b")]), ["a", "b"]);
  await qmp.close();
});

Deno.test("Qmp hands events to listeners and to those who wait for one", async () => {
  const shutdown = '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}';
  await using server = qemu(({ id }) => [
    '{"event": "STOP", "timestamp": {"seconds": 1}}',
    shutdown,
    `{"return": {}, "id": ${id}}`,
  ]);
  const qmp = await Qmp.connect(server.path, soon);
  const heard: QmpEvent[] = [];
  const stop = qmp.listen((event) => heard.push(event));
  const waited = qmp.next("SHUTDOWN", 1000);
  await qmp.execute("anything");
  const expected = { event: "SHUTDOWN", data: { guest: true, reason: "guest-reset" } };
  assertEquals(heard, [{ event: "STOP", data: {} }, expected]);
  assertEquals(await waited, expected);
  stop();
  await qmp.execute("anything");
  assertEquals(heard.length, 2);
  await qmp.close();
});

Deno.test("Qmp says why a command failed", async (t) => {
  const cases: { name: string; answers: Answers; says: string }[] = [
    {
      name: "a refusal",
      answers: ({ id }) => [`{"error": {"class": "GenericError", "desc": "No"}, "id": ${id}}`],
      says: "Cannot execute cont: No",
    },
    {
      name: "a hang-up",
      answers: () => undefined,
      says: "Cannot execute cont: the connection is closed",
    },
    {
      name: "what is not JSON",
      answers: () => ["{"],
      says: "Cannot execute cont: the connection is closed",
    },
  ];
  for (const { name, answers, says } of cases) {
    await t.step(name, async () => {
      await using server = qemu(answers);
      const qmp = await Qmp.connect(server.path, soon);
      const error = await assertRejects(() => qmp.execute("cont"));
      assertEquals((error as Error).message, says);
      await qmp.close();
    });
  }
});

Deno.test("Qmp.next() ends when the event does not come or QEMU goes", async () => {
  await using server = qemu(() => undefined);
  const qmp = await Qmp.connect(server.path, soon);
  await assertRejects(
    () => qmp.next("RESET", 20),
    Error,
    "Cannot wait for QEMU's RESET: no answer",
  );
  const waiting = assertRejects(() => qmp.next("RESET", 5000), Error, "the connection is closed");
  server.hangUp();
  await waiting;
  await qmp.closed;
  await assertRejects(() => qmp.execute("cont"), Error, "the connection is closed");
});

Deno.test("Qmp.connect() gives up on a QEMU that does not greet, or when told to", async () => {
  await using server = new LineServer({ answer: () => [] });
  await assertRejects(
    () => Qmp.connect(server.path, { timeoutMs: 30 }),
    Error,
    `Cannot speak with QEMU at ${server.path}: no answer in 0.03 s`,
  );
  const stop = new AbortController();
  const connecting = Qmp.connect(server.path, { timeoutMs: 10_000, signal: stop.signal });
  stop.abort(new Error("Interrupted"));
  await assertRejects(() => connecting, Error, "Interrupted");
});
