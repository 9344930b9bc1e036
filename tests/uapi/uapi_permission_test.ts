import { assertEquals } from "@std/assert";

const run = (await Deno.permissions.query({ name: "run" })).state === "granted";
const uapi = new URL("../../uapi/", import.meta.url).href;

/** What a program prints that may load the C library, and do nothing else. */
async function restricted(program: string): Promise<string> {
  const directory = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${directory}/main.ts`, program);
    const libraries = ["x86_64", "aarch64"].map((arch) => `/lib/${arch}-linux-gnu/libc.so.6`);
    const args = [
      "run",
      "--no-prompt",
      "--no-check",
      `--allow-ffi=${libraries}`,
      `${directory}/main.ts`,
    ];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test({
  name: "everything but a Mapping works with the permission for the C library alone",
  ignore: !run,
  fn: async () => {
    const program = `
      import { EventFd } from "${uapi}eventfd.ts";
      import { createMemfd } from "${uapi}memfd.ts";
      import { Mapping } from "${uapi}mapping.ts";
      import { Pinned } from "${uapi}pinned.ts";
      import { Poller } from "${uapi}poll.ts";
      import { Receiver, Sender, socketPair } from "${uapi}socket.ts";
      import { statusOf } from "${uapi}stat.ts";
      using event = EventFd.create();
      event.signal();
      const poller = new Poller();
      poller.watch(event.fd, 1, () => console.log("ready", event.drain()));
      poller.step(0);
      const [left, right] = socketPair();
      const fd = createMemfd("ram", 4096);
      const fds = [];
      const receiver = new Receiver(1);
      console.log(new Sender().send(left, new Pinned(1), [fd]), receiver.receive(right, 0, 1, fds));
      console.log(statusOf(fds[0]).sizeBytes, receiver.receive(right, 0, 1, fds));
      try {
        new Mapping(fd, { offset: 0, sizeBytes: 4096, writable: true });
      } catch (error) {
        console.log(error.name);
      }`;
    assertEquals(await restricted(program), "ready 1\n1 1\n4096 -11\nNotCapable\n");
  },
});
