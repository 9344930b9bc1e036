import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { machineTool, run } from "../../vmm/tool.ts";

const shell = machineTool("sh");

Deno.test("run() gives input, tells lines as they come and returns the output", async () => {
  const lines: string[] = [];
  const output = await run(shell, ["-c", "cat; printf 'c\\nd'"], {
    doing: "try",
    input: "a\nb\n",
    onLine: (line) => lines.push(line),
  });
  assertEquals(output, "a\nb\nc\nd");
  assertEquals(lines, ["a", "b", "c"]);
});

Deno.test("run() need not be read by the program that it gives input", async () => {
  const input = "x".repeat(1 << 20);
  assertEquals(await run(shell, ["-c", "cat"], { doing: "try", input }), input);
  assertEquals(await run(shell, ["-c", "exit 0"], { doing: "try", input }), "");
});

Deno.test("run() fails in one line and keeps the program's last lines", async (t) => {
  const cases = [
    {
      name: "what it said as an error",
      script: "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i >&2; done; echo other; exit 3",
      message: "Cannot count: sh ended with exit status 3",
      lines: ["3", "4", "5", "6", "7", "8", "9", "10"].map((line) => `line ${line}`),
    },
    {
      name: "what it said at all",
      script: "echo one; echo; echo two; exit 1",
      message: "Cannot count: sh ended with exit status 1",
      lines: ["one", "two"],
    },
    {
      name: "nothing",
      script: "kill -9 $$",
      message: "Cannot count: sh ended with signal SIGKILL",
      lines: [],
    },
  ];
  for (const { name, script, message, lines } of cases) {
    await t.step(name, async () => {
      const attempt = (): Promise<string> => run(shell, ["-c", script], { doing: "count" });
      const error = await assertRejects(attempt, EnvironmentError);
      assertEquals([error.message, error.toolLines], [message, lines]);
    });
  }
});

Deno.test("run() names a program that is not there", async () => {
  await assertRejects(
    () => run(machineTool("/nonexistent/tool"), [], { doing: "start it" }),
    Error,
    "Cannot start it: /nonexistent/tool is not on this machine",
  );
});

Deno.test("run() ends the program when it is aborted and throws the reason", async () => {
  const controller = new AbortController();
  const pids: number[] = [];
  await assertRejects(
    () =>
      run(shell, ["-c", "echo $$; exec sleep 60"], {
        doing: "wait",
        signal: controller.signal,
        onLine: (line) => {
          pids.push(Number(line));
          controller.abort(new Error("Interrupted"));
        },
      }),
    Error,
    "Interrupted",
  );
  assert(pids[0] > 0);
  assertThrows(() => Deno.kill(pids[0], "SIGCONT"), Deno.errors.NotFound);
});
