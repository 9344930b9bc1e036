import { assert, assertEquals } from "@std/assert";
import { gzipSync } from "node:zlib";
import { LineWriter, type Operation } from "../../vmm/trace/format.ts";
import { openTrace } from "../../vmm/trace/trace_file.ts";

const CORPUS = new URL("../traces/", import.meta.url).pathname;
const PROGRAM = new URL("../../vmm/cli.ts", import.meta.url).pathname;
const OPERATIONS = 10_000_000;
const MOST_BYTES = 300e6;
const PIECE_BYTES = 2 ** 20;

/** Writes a trace of what a real guest did, again and again: each time begins with a reset. */
async function repeat(from: string, to: string, operations: number): Promise<void> {
  const { header, operations: once } = await openTrace(from);
  const bodies: string[] = [];
  for await (const { operation } of once) {
    bodies.push(JSON.stringify(operation as Operation).slice(0, -1));
  }
  assert(bodies[0].includes('"op":"reset"'), bodies[0]);
  using file = Deno.openSync(to, { write: true, create: true });
  const writer = new LineWriter();
  let text = writer.line(header);
  const flush = (): void => {
    const member = gzipSync(text, { level: 1 });
    for (let done = 0; done < member.length;) done += file.writeSync(member.subarray(done));
    text = "";
  };
  for (let i = 0; i < operations; i++) {
    text += writer.close(bodies[i % bodies.length]);
    if (text.length > PIECE_BYTES) flush();
  }
  text += writer.line({ end: true, operations });
  flush();
}

/** The most memory that a process has had, in bytes. */
function peakBytes(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

Deno.test({
  name: "ten million operations replay in less than 300 MB (VSMMU_LONG=1 runs it: a minute)",
  ignore: !Deno.env.has("VSMMU_LONG"),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/long.jsonl.gz`;
      await repeat(`${CORPUS}linux-7.3-strict.jsonl.gz`, path, OPERATIONS);
      const began = performance.now();
      const process = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", PROGRAM, "replay", "--json", path],
        stdout: "piped",
      }).spawn();
      let peak = 0;
      const timer = setInterval(() => peak = Math.max(peak, peakBytes(process.pid)), 100);
      const { stdout, code } = await process.output().finally(() => clearInterval(timer));
      const seconds = (performance.now() - began) / 1000;
      assertEquals(code, 0, new TextDecoder().decode(stdout));
      const rate = Math.round(OPERATIONS / seconds);
      const text = `${rate} operations a second, at most ${Math.round(peak / 1e6)} MB`;
      assert(peak > 0 && peak < MOST_BYTES, text);
      Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
