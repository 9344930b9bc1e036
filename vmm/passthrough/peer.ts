/**
 * The other end of a guest's network: sends to whoever connects to one port, takes at another.
 * @module
 */
import { sha256 } from "../provision/manifest.ts";

/** What went over the network. */
export interface PeerSummary {
  /** SHA-256 of what was sent, each time it was sent whole. */
  readonly sent: readonly string[];
  /** Bytes and SHA-256 of what each client of the taking port sent. */
  readonly taken: readonly { readonly sizeBytes: number; readonly sha256: string }[];
}

/** The peer, until it is disposed. */
export class Peer implements Disposable {
  readonly #content: Uint8Array<ArrayBuffer>;
  readonly #digest: string;
  readonly #sender: Deno.TcpListener;
  readonly #taker: Deno.TcpListener;
  readonly #sent: string[] = [];
  readonly #taken: { sizeBytes: number; sha256: string }[] = [];

  private constructor(address: string, content: Uint8Array<ArrayBuffer>, digest: string) {
    this.#content = content;
    this.#digest = digest;
    this.#sender = Deno.listen({ hostname: address, port: 0 });
    this.#taker = Deno.listen({ hostname: address, port: 0 });
    void this.#serve(this.#sender, (client) => this.#send(client));
    void this.#serve(this.#taker, (client) => this.#take(client));
  }

  /** Listens at an IP address of this machine, to send `content`. */
  static async listen(address: string, content: Uint8Array<ArrayBuffer>): Promise<Peer> {
    return new Peer(address, content, await sha256(content));
  }

  /** Where it sends, and where it takes. */
  get ports(): { readonly sends: number; readonly takes: number } {
    return { sends: this.#sender.addr.port, takes: this.#taker.addr.port };
  }

  /** SHA-256 of what it sends. */
  get digest(): string {
    return this.#digest;
  }

  /** What went over it until now. */
  get summary(): PeerSummary {
    return { sent: [...this.#sent], taken: [...this.#taken] };
  }

  /** Listens no more. */
  [Symbol.dispose](): void {
    this.#sender.close();
    this.#taker.close();
  }

  async #serve(
    listener: Deno.TcpListener,
    answer: (client: Deno.TcpConn) => Promise<void>,
  ): Promise<void> {
    for await (const client of listener) {
      // A client that leaves early has said nothing, and is no failure of ours.
      answer(client).catch(() => {}).finally(() => client.close());
    }
  }

  async #send(client: Deno.TcpConn): Promise<void> {
    for (let at = 0; at < this.#content.length;) {
      at += await client.write(this.#content.subarray(at, at + 0x1_0000));
    }
    await client.closeWrite();
    this.#sent.push(this.#digest);
    // Until the client has taken all of it, and leaves.
    while (await client.read(new Uint8Array(1)) !== null);
  }

  async #take(client: Deno.TcpConn): Promise<void> {
    const into = new Uint8Array(0x1_0000);
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    for (;;) {
      const count = await client.read(into);
      if (count === null) break;
      pieces.push(into.slice(0, count));
      sizeBytes += count;
    }
    const whole = new Uint8Array(sizeBytes);
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    this.#taken.push({ sizeBytes, sha256: await sha256(whole) });
  }
}
