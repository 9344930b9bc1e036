/**
 * A program at the other end of a Unix socket that speaks in lines, as its script says.
 * @module
 */
import { lines } from "../../vmm/qemu/lines.ts";

/** What the server does. */
export interface Script {
  /** Sent when somebody connects. */
  readonly greeting?: readonly string[];
  /** The lines to send for a line that came, none to stay silent, `undefined` to close. */
  readonly answer: (line: string) => readonly string[] | undefined;
}

/** A server for one client at a time, in a directory of its own. */
export class LineServer implements AsyncDisposable {
  /** Where it listens. */
  readonly path: string;
  /** What came. */
  readonly received: string[] = [];

  readonly #directory: string;
  readonly #script: Script;
  readonly #listener: Deno.Listener<Deno.UnixConn>;
  readonly #serving: Promise<void>;
  #client: Deno.UnixConn | undefined;

  /** Listens until it is disposed of. */
  constructor(script: Script) {
    this.#directory = Deno.makeTempDirSync();
    this.path = `${this.#directory}/socket`;
    this.#script = script;
    this.#listener = Deno.listen({ transport: "unix", path: this.path });
    this.#serving = this.#serve();
  }

  /** Sends lines that nobody asked for. */
  async say(...said: string[]): Promise<void> {
    const bytes = new TextEncoder().encode(said.map((line) => line + "\n").join(""));
    await this.#client?.write(bytes);
  }

  /** Hangs up. */
  hangUp(): void {
    try {
      this.#client?.close();
    } catch {
      // The client was first.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hangUp();
    this.#listener.close();
    await this.#serving;
    await Deno.remove(this.#directory, { recursive: true });
  }

  async #serve(): Promise<void> {
    for await (const client of this.#listener) {
      this.#client = client;
      try {
        await this.#converse(client);
      } catch {
        // The client or we have closed.
      }
      this.hangUp();
    }
  }

  async #converse(client: Deno.UnixConn): Promise<void> {
    await this.say(...this.#script.greeting ?? []);
    for await (const line of lines(client.readable, 1 << 16)) {
      this.received.push(line);
      const answer = this.#script.answer(line);
      if (answer === undefined) return;
      if (answer.length > 0) await this.say(...answer);
    }
  }
}
