/**
 * A minimal client of the QEMU Machine Protocol. QEMU `docs/interop/qmp-spec.rst`.
 * @module
 */
import { deadline } from "@std/async/deadline";
import { type ConnectOptions, LineSocket } from "./line_socket.ts";
import { EnvironmentError } from "../environment_error.ts";

/** What QEMU tells unasked, such as `SHUTDOWN` or `RESET`. */
export interface QmpEvent {
  readonly event: string;
  /** As QEMU's schema has it; empty when the event carries none. */
  readonly data: Readonly<Record<string, unknown>>;
}

interface Waiter {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Message {
  readonly QMP?: unknown;
  readonly id?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly desc?: unknown };
  readonly event?: unknown;
  readonly data?: Readonly<Record<string, unknown>>;
}

const ANSWER_MS = 30_000;

/** A connected QMP socket, past the greeting and the negotiation of capabilities. */
export class Qmp {
  /** Resolves when either side has closed; never rejects. */
  readonly closed: Promise<void>;

  readonly #socket: LineSocket;
  readonly #waiters = new Map<number, Waiter>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #greeted = Promise.withResolvers<void>();
  #nextId = 0;
  #isClosed = false;

  private constructor(socket: LineSocket) {
    this.#socket = socket;
    this.#greeted.promise.catch(() => {});
    this.closed = this.#read();
  }

  /**
   * Connects to the QMP socket at `path`, waits for the greeting and negotiates. Throws an `EnvironmentError` when QEMU does not listen
   * or does not greet in time: it greets only after all its devices are made.
   */
  static async connect(path: string, options: ConnectOptions): Promise<Qmp> {
    const end = performance.now() + options.timeoutMs;
    const qmp = new Qmp(await LineSocket.connect("QEMU's QMP", path, options));
    const leftMs = Math.max(1, end - performance.now());
    try {
      await deadline(qmp.#greeted.promise, leftMs, options.signal && { signal: options.signal });
      await qmp.execute("qmp_capabilities");
      return qmp;
    } catch (error) {
      await qmp.close();
      options.signal?.throwIfAborted();
      throw new EnvironmentError(
        `Cannot speak with QEMU at ${path}: ${reason(error, options.timeoutMs)}`,
      );
    }
  }

  /** Executes `command`; returns what QEMU returns, throws an `EnvironmentError` with QEMU's description otherwise. */
  async execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#isClosed) {
      throw new EnvironmentError(`Cannot execute ${command}: the connection is closed`);
    }
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiters.set(id, { resolve, reject });
    try {
      const text = JSON.stringify({ execute: command, ...(args && { arguments: args }), id });
      const sent = this.#socket.send(text);
      return (await Promise.all([deadline(promise, ANSWER_MS), sent]))[0];
    } catch (error) {
      promise.catch(() => {});
      throw new EnvironmentError(`Cannot execute ${command}: ${reason(error, ANSWER_MS)}`);
    } finally {
      this.#waiters.delete(id);
    }
  }

  /** Calls `listener` for each event until the returned function is called. */
  listen(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Waits for the next event called `name`; throws an `EnvironmentError` when it does not come in time or QEMU closes. */
  async next(name: string, timeoutMs: number): Promise<QmpEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    const stop = this.listen((event) => event.event === name && resolve(event));
    this.closed.then(() => reject(new EnvironmentError("the connection is closed")));
    try {
      return await deadline(promise, timeoutMs);
    } catch (error) {
      promise.catch(() => {});
      throw new EnvironmentError(`Cannot wait for QEMU's ${name}: ${reason(error, timeoutMs)}`);
    } finally {
      stop();
    }
  }

  /** Closes the socket; commands under way fail. QEMU goes on. Safe to repeat. */
  async close(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }

  async #read(): Promise<void> {
    for await (const line of this.#socket.lines()) {
      const message = parse(line);
      if (message === undefined) break;
      this.#handle(message);
    }
    this.#isClosed = true;
    this.#socket.close();
    const error = new EnvironmentError("the connection is closed");
    this.#greeted.reject(error);
    for (const waiter of this.#waiters.values()) waiter.reject(error);
  }

  #handle(message: Message): void {
    if (message.QMP !== undefined) this.#greeted.resolve();
    if (typeof message.event === "string") {
      const event = { event: message.event, data: message.data ?? {} };
      for (const listener of [...this.#listeners]) listener(event);
    }
    if (typeof message.id !== "number") return;
    const waiter = this.#waiters.get(message.id);
    if (message.error) {
      waiter?.reject(new EnvironmentError(String(message.error.desc ?? "no reason given")));
    } else waiter?.resolve(message.return);
  }
}

function parse(line: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function reason(error: unknown, timeoutMs: number): string {
  if (error instanceof DOMException) return `no answer in ${timeoutMs / 1000} s`;
  return error instanceof Error ? error.message : String(error);
}
