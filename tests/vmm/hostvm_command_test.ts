import { assertEquals } from "@std/assert";
import { main } from "../../vmm/cli.ts";
import { parseFlags } from "../../vmm/commands/command.ts";
import { hostvm } from "../../vmm/commands/hostvm.ts";

Deno.test("vsmmu hostvm refuses a wrong command line in one sentence, and starts nothing", async (t) => {
  const cases = [
    {
      args: [],
      note: "Cannot use nothing: it needs TASK …; vsmmu hostvm --help lists the flags",
    },
    {
      args: ["--smmu", "ours", "--stock-iort", "test"],
      note: "Cannot use --stock-iort with --smmu ours: there is no IORT",
    },
    {
      args: ["--smmu", "mine", "test"],
      note: "Cannot use --smmu mine: it is qemu or ours",
    },
    {
      args: ["--env", "A=1,2", "test"],
      note: "Cannot use --env 2: it is NAME=VALUE",
    },
    {
      args: ["--timeout", "0", "test"],
      note: "Cannot use --timeout 0: it is a whole number from 1 to 86400",
    },
    {
      args: ["--filter", "x", "test"],
      note: "Cannot use --filter: no such flag; vsmmu hostvm --help lists the flags",
    },
  ];
  for (const { args, note } of cases) {
    await t.step(args.join(" ") || "nothing", async () => {
      const notes: string[] = [];
      const code = await main(["hostvm", ...args], {
        out: () => {},
        note: (line) => notes.push(line),
        signal: new AbortController().signal,
      });
      assertEquals({ code, notes }, { code: 2, notes: [note] });
    });
  }
});

Deno.test("flags after the task are the task's", () => {
  const values = parseFlags(hostvm, ["--console", "test", "--console", "--filter", "x", "", "-q"]);
  assertEquals(values.operands, ["test", "--console", "--filter", "x", "", "-q"]);
  assertEquals(values.on("console"), true);
});
