import { assertEquals } from "@std/assert";

const run = (await Deno.permissions.query({ name: "run" })).state === "granted";
const here = import.meta.url;

/** Prints what a server does when it cannot have another descriptor, and when it can again. */
const PROGRAM = `
  import { createMemfd } from "${new URL("../../uapi/memfd.ts", here)}";
  import { VfioUserClient, words } from "${new URL("../support/vfio_user_client.ts", here)}";
  import { TestMachine } from "${new URL("../support/vfio_user_machine.ts", here)}";
  const machine = new TestMachine();
  const late = [1, 2].map(() => new VfioUserClient(machine.path, machine.poller));
  const files = [];
  try {
    for (;;) files.push(createMemfd("file", 1));
  } catch (error) {
    console.log(error.code);
  }
  let steps = 0;
  while (machine.poller.step(0) > 0 && steps < 100) steps++;
  console.log(steps, late.map((client) => client.isClosed()).join(), machine.lines.splice(0).join());
  for (const file of files) file[Symbol.dispose]();
  const next = machine.agreed();
  console.log(next.request(4, words(16, 0, 0, 0)).errno);
  next.leave();
  machine[Symbol.dispose]();
`;

Deno.test({
  name: "a client for whom no descriptor is left is turned away, and the next one is served",
  ignore: !run,
  fn: async () => {
    const directory = Deno.makeTempDirSync();
    try {
      Deno.writeTextFileSync(`${directory}/main.ts`, PROGRAM);
      const deno = `${Deno.execPath()} run -A --no-check ${directory}/main.ts`;
      const args = ["-c", `ulimit -n 128 && exec ${deno}`];
      const { stdout, stderr } = await new Deno.Command("sh", { args }).output();
      const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      const line = "recorder: Cannot accept a client: EMFILE";
      assertEquals(output, `EMFILE\n2 true,true ${line},${line}\n0\n`);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
