import { assert, assertEquals } from "@std/assert";
import { joined, QEMU_CAPABILITIES, words } from "../support/vfio_user_client.ts";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

const SOCKETS = ["smmu.sock", "disk.sock", "dma.sock"] as const;

/** A message with its header; `sizeBytes` is what the header says. */
function message(
  command: number,
  payload: Uint8Array,
  sizeBytes = 16 + payload.length,
): Uint8Array {
  return joined(words(command << 16 | 1, sizeBytes, 0, 0), payload);
}

const VERSION = message(1, joined(words(0), new TextEncoder().encode(QEMU_CAPABILITIES)));
const agreedThen = (...more: readonly Uint8Array[]): Uint8Array => joined(VERSION, ...more);
const accessAt = (offset: bigint, region: number, count: number): Uint8Array =>
  message(9, words(offset, region, count));

/** What clients send before they leave, or are left. */
const CLIENTS: readonly { name: string; bytes: Uint8Array }[] = [
  { name: "garbage", bytes: new Uint8Array(300).fill(0xff) },
  { name: "half a header", bytes: VERSION.subarray(0, 7) },
  { name: "a message of 3 bytes", bytes: message(1, words(0), 3) },
  { name: "a message of 2 GiB", bytes: agreedThen(message(10, words(0n, 0, 8), 0x8000_0000)) },
  { name: "no VERSION", bytes: message(4, words(16, 0, 0, 0)) },
  { name: "capabilities that are no JSON", bytes: message(1, words(0, 0x7b7b_7b7b)) },
  {
    name: "an offset beyond everything",
    bytes: agreedThen(accessAt(0xffff_ffff_ffff_fff8n, 0, 8)),
  },
  { name: "a region that is not there", bytes: agreedThen(accessAt(0n, 0xffff_ffff, 8)) },
  { name: "a read of 4 GiB", bytes: agreedThen(accessAt(0n, 0, 0xffff_ffff)) },
  { name: "RAM without a file", bytes: agreedThen(message(2, words(32, 3, 0n, 0n, 1n << 62n))) },
  { name: "half a message", bytes: agreedThen(message(10, words(0n, 0, 400), 432)) },
];

async function send(path: string, bytes: Uint8Array): Promise<Deno.UnixConn> {
  const client = await Deno.connect({ transport: "unix", path });
  try {
    for (let at = 0; at < bytes.length;) at += await client.write(bytes.subarray(at));
  } catch {
    // The server has heard enough.
  }
  return client;
}

Deno.test({
  name: `whatever clients send and wherever they stop, the next QEMU has all it needs ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const { serve, qemu } = await sandbox.serve();
    const idle = serve.descriptors();
    using silent = new DisposableStack();
    for (const name of SOCKETS) {
      const path = sandbox.find(name);
      for (const { bytes } of CLIENTS) {
        using client = await send(path, bytes);
        // Either it ends the connection itself, or it sees that we send no more.
        await client.closeWrite();
        while (await client.read(new Uint8Array(4096)).catch(() => null) !== null);
      }
      silent.use(await send(path, VERSION.subarray(0, 7)));
    }
    const said = serve.err.matching(/^dma-test-device: /).slice(0, 8).map((line) => line.slice(17));
    assertEquals(said, [
      "A client connected",
      "The client is gone: it sent a message of 4294967295 bytes",
      "A client connected",
      "The client is gone: it left in the middle of a message",
      "A client connected",
      "The client is gone: it sent a message of 3 bytes",
      "A client connected",
      "The client is gone: it sent a message of 2147483648 bytes",
    ]);
    const guest = qemu();
    await guest.out.line(/vsmmu: done/);
    await serve.err.line(/^The guest has ended: power-off$/);
    await guest.end();
    await serve.expectDescriptors(idle);
    assertEquals(guest.out.matching(/vsmmu: FAIL|Kernel panic|I\/O error/), []);
    assertEquals(serve.err.matching(/mistake|bug/), []);
    // A burst of lines from each socket, and some more with the time.
    assert(serve.err.lines.length < 150, `${serve.err.lines.length} lines`);
    serve.kill("SIGINT");
    assertEquals(await serve.end(), { code: 0, signal: null });
    await sandbox.expectNothingLeft();
  },
});
