import { assertEquals } from "@std/assert";
import { exitCodeOf, lastMessages, reasonOf } from "../../vmm/hostvm/task_end.ts";

Deno.test("exitCodeOf() takes a whole line of the control port, or nothing", async (t) => {
  const cases = [
    { control: "exit 0\n", code: 0 },
    { control: "exit 143\n", code: 143 },
    { control: "", code: undefined },
    { control: "exit \n", code: undefined },
    { control: "exit 1x\n", code: undefined },
  ];
  for (const { control, code } of cases) {
    await t.step(JSON.stringify(control), () => assertEquals(exitCodeOf(control), code));
  }
});

const PANIC = [
  "Freeing unused kernel memory: 2560K",
  "Run /init as init process",
  "first",
  "second",
  "third",
  "fourth",
  "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
  "CPU: 0 UID: 0 PID: 1 Comm: init",
  "Call trace:",
].join("\r\n");

Deno.test("reasonOf() prefers the kernel's panic to how QEMU ended", async (t) => {
  const cases = [
    {
      name: "a panic",
      console: PANIC,
      reason: "its kernel panicked: Attempted to kill init! exitcode=0x00000100",
    },
    { name: "no panic", console: "Booting Linux\r\n", reason: "QEMU ended with signal SIGKILL" },
    { name: "no message", console: "", reason: "QEMU ended with signal SIGKILL" },
  ];
  for (const { name, console, reason } of cases) {
    await t.step(name, () => {
      assertEquals(reasonOf(console, "QEMU ended with signal SIGKILL"), reason);
    });
  }
});

Deno.test("lastMessages() shows what led to a panic, else the last twelve lines", () => {
  assertEquals(lastMessages(PANIC), PANIC.split("\r\n").slice(2));
  assertEquals(lastMessages(PANIC.split("\r\n").slice(6).join("\n")).length, 3);
  const lines = Array.from({ length: 20 }, (_, index) => `line ${index}`);
  assertEquals(lastMessages(lines.join("\r\n") + "\r\n"), lines.slice(8));
  assertEquals(lastMessages(""), []);
});
