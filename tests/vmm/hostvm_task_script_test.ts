import { assertEquals } from "@std/assert";
import { isVariable, shellScript, taskScript } from "../../vmm/hostvm/task_script.ts";

Deno.test("taskScript() runs a task of deno.json with its arguments and environment", async (t) => {
  const cases = [
    { words: ["check"], environment: [], script: "exec deno task -q check\n" },
    { words: ["test"], environment: [], script: "exec deno task -q test:hostvm\n" },
    {
      words: ["test", "--filter", "it's"],
      environment: [],
      script: "exec deno task -q test:hostvm --filter 'it'\\''s'\n",
    },
    {
      words: ["bench"],
      environment: ["SEED=1", "WORDS=two words"],
      script: "export SEED=1\nexport 'WORDS=two words'\nexec deno task -q bench:hostvm\n",
    },
  ];
  for (const { words, environment, script } of cases) {
    await t.step(words.join(" "), () => assertEquals(taskScript(words, environment), script));
  }
  await t.step("with our SMMU", () => {
    const scripts = ["test", "probe"].map((task) => taskScript([task], [], "ours"));
    assertEquals(scripts, ["exec deno task -q test:hostvm:ours\n", "exec deno task -q probe\n"]);
  });
});

Deno.test("shellScript() is one command line, and a shell runs it as it is", async () => {
  const words = ["printf '%s\\n' \"$NAME\"", "| tr a-z A-Z;", "exit 7"];
  const { code, stdout } = await new Deno.Command("sh", {
    args: ["-c", shellScript(words, ["NAME=$HOME; it's"])],
  }).output();
  assertEquals([code, new TextDecoder().decode(stdout)], [7, "$HOME; IT'S\n"]);
});

Deno.test("isVariable() takes NAME=VALUE with a name for a shell", () => {
  const words = ["A=1", "_a1=", "A=b=c", "A", "=1", "1A=1", "A-B=1", ""];
  assertEquals(words.map(isVariable), [true, true, true, false, false, false, false, false]);
});
