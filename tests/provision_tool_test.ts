import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { hostArchitecture, machineTool, run } from "../vmm/provision/tool.ts";

const shell = machineTool("sh");

Deno.test("hostArchitecture() knows Debian's names of the two hosts and refuses others", () => {
  assertEquals(hostArchitecture("x86_64"), "amd64");
  assertEquals(hostArchitecture("aarch64"), "arm64");
  assertThrows(() => hostArchitecture("riscv64"), Error, "Cannot provision on riscv64");
});

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

Deno.test("run() fails in one line with the tool's last lines beneath", async () => {
  const script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i >&2; done; exit 3";
  const error = await assertRejects(() => run(shell, ["-c", script], { doing: "count" }), Error);
  const shown = ["3", "4", "5", "6", "7", "8", "9", "10"].map((line) => `  line ${line}`);
  assertEquals(error.message, ["Cannot count: sh ended with code 3", ...shown].join("\n"));
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
