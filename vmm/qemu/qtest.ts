/**
 * A client of QEMU's qtest socket: the guest's physical address space, without the guest. QEMU `system/qtest.c`.
 * @module
 */
import { deadline } from "@std/async/deadline";
import { type ConnectOptions, LineSocket } from "./line_socket.ts";
import { EnvironmentError } from "../environment_error.ts";

const ANSWER_MS = 10_000;

interface Waiter {
  resolve(answer: string): void;
  reject(error: Error): void;
}

/**
 * A connected qtest socket. Commands are answered in the order in which they were given, also those that nobody waits for any
 * more: a machine that stood still is reached again.
 */
export class Qtest {
  readonly #socket: LineSocket;
  readonly #answerMs: number;
  readonly #waiters: Waiter[] = [];
  readonly #reading: Promise<void>;
  #isClosed = false;

  private constructor(socket: LineSocket, answerMs: number) {
    this.#socket = socket;
    this.#answerMs = answerMs;
    this.#reading = this.#read();
  }

  /**
   * Connects to the qtest socket at `path`; throws an `EnvironmentError` when nobody listens in time. An answer may take
   * `answerMs`.
   */
  static async connect(
    path: string,
    options: ConnectOptions,
    answerMs: number = ANSWER_MS,
  ): Promise<Qtest> {
    return new Qtest(await LineSocket.connect("QEMU's qtest", path, options), answerMs);
  }

  /** Reads 16 bits at guest physical address `gpa`. */
  readw(gpa: number): Promise<number> {
    return this.#number(`readw ${hex(gpa)}`);
  }

  /** Reads 32 bits at guest physical address `gpa`; what is not there reads as zero or as all ones. */
  readl(gpa: number): Promise<number> {
    return this.#number(`readl ${hex(gpa)}`);
  }

  /** Writes 16 bits at guest physical address `gpa`. */
  async writew(gpa: number, value: number): Promise<void> {
    await this.#command(`writew ${hex(gpa)} ${hex(value)}`);
  }

  /** Writes 32 bits at guest physical address `gpa`. */
  async writel(gpa: number, value: number): Promise<void> {
    await this.#command(`writel ${hex(gpa)} ${hex(value)}`);
  }

  /**
   * Has QEMU do commands of its protocol in order, sent in one piece; returns what it said to each after `OK`. Throws an
   * `EnvironmentError` when it refuses one, or does not answer in time.
   */
  async batch(commands: readonly string[]): Promise<string[]> {
    if (commands.length === 0) return [];
    if (this.#isClosed) {
      throw new EnvironmentError(`Cannot ${commands[0]} through qtest: the connection is closed`);
    }
    const answers: string[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const take = (answer: string): void => {
      answers.push(answer);
      if (answers.length === commands.length) resolve();
    };
    for (let i = 0; i < commands.length; i++) this.#waiters.push({ resolve: take, reject });
    try {
      await Promise.all([
        deadline(promise, this.#answerMs),
        this.#socket.send(commands.join("\n")),
      ]);
    } catch (error) {
      promise.catch(() => {});
      const at = commands[Math.min(answers.length, commands.length - 1)];
      throw new EnvironmentError(`Cannot ${at} through qtest: ${this.#reason(error)}`);
    }
    return answers.map((answer, i) => {
      const [status, ...values] = answer.split(" ");
      if (status === "OK") return values.join(" ");
      throw new EnvironmentError(`Cannot ${commands[i]} through qtest: QEMU answered "${answer}"`);
    });
  }

  /** Closes the socket; commands under way fail. Safe to repeat. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#socket.close();
    await this.#reading;
  }

  async #number(command: string): Promise<number> {
    const answer = await this.#command(command);
    const value = Number(answer);
    if (answer === "" || !Number.isSafeInteger(value)) {
      throw new EnvironmentError(`Cannot ${command} through qtest: QEMU answered "${answer}"`);
    }
    return value;
  }

  async #command(command: string): Promise<string> {
    const [answer] = await this.batch([command]);
    return answer;
  }

  #reason(error: unknown): string {
    if (error instanceof DOMException) return `no answer in ${this.#answerMs / 1000} s`;
    return error instanceof Error ? error.message : String(error);
  }

  async #read(): Promise<void> {
    for await (const line of this.#socket.lines()) {
      if (!line.startsWith("IRQ ")) this.#waiters.shift()?.resolve(line);
    }
    this.#isClosed = true;
    this.#socket.close();
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(new EnvironmentError("the connection is closed"));
    }
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
