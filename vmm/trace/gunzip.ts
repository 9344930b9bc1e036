/**
 * The bytes of a file that is compressed with gzip, or not, in constant memory; of a damaged one everything before the
 * damage, to the byte.
 * @module
 */
import { setImmediate } from "node:timers";
import { createGunzip } from "node:zlib";

/** Compressed bytes that are taken at once: they become at most a thousand times as many. */
const PIECE_BYTES = 2 ** 14;
/** What a damaged piece is taken in, again and again, as all that a broken piece would have given is lost. */
const FINER_BYTES = [PIECE_BYTES / 128, 1];

/**
 * Yields the uncompressed bytes, and returns whether that was all: false when the compressed data is changed or cut. A file
 * that does not begin like gzip is taken as it is. Throws what the file refuses.
 */
export async function* uncompressed(
  file: Deno.FsFile,
): AsyncGenerator<Uint8Array<ArrayBuffer>, boolean> {
  const first = await read(file, PIECE_BYTES);
  if (first[0] === 0x1f && first[1] === 0x8b) return yield* inflated(file, first);
  for (let piece = first; piece.length > 0; piece = await read(file, PIECE_BYTES)) yield piece;
  return true;
}

/** Where a pass over the compressed data broke: at a piece, or not before the end. */
type Break = { readonly at: number } | "at the end";

async function* inflated(
  file: Deno.FsFile,
  first: Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, boolean> {
  const progress = { yieldedBytes: 0 };
  let broken = yield* pass(file, first, { at: Infinity }, PIECE_BYTES, progress);
  for (const finer of FINER_BYTES) {
    if (broken === undefined || broken === "at the end") break;
    try {
      await file.seek(0, Deno.SeekMode.Start);
    } catch {
      break;
    }
    const again = await read(file, Math.min(PIECE_BYTES, broken.at || finer));
    broken = yield* pass(file, again, broken, finer, progress);
  }
  return broken === undefined;
}

/** Yields what was not yielded before; pieces from `exact` on have `finer` bytes. */
async function* pass(
  file: Deno.FsFile,
  first: Uint8Array<ArrayBuffer>,
  exact: { readonly at: number },
  finer: number,
  progress: { yieldedBytes: number },
): AsyncGenerator<Uint8Array<ArrayBuffer>, Break | undefined> {
  using inflater = new Inflater();
  let skipBytes = progress.yieldedBytes;
  let piece = first;
  for (let at = 0;;) {
    const isEnd = piece.length === 0;
    const isGood = await (isEnd ? inflater.end() : inflater.feed(piece));
    for (const bytes of inflater.take()) {
      const fresh = bytes.subarray(Math.min(skipBytes, bytes.length));
      skipBytes -= bytes.length - fresh.length;
      progress.yieldedBytes += fresh.length;
      if (fresh.length > 0) yield fresh;
    }
    if (isEnd) return isGood ? undefined : "at the end";
    if (!isGood) return { at };
    at += piece.length;
    piece = await read(file, at < exact.at ? Math.min(PIECE_BYTES, exact.at - at) : finer);
  }
}

/** Reads up to so many bytes; none at the end. */
async function read(file: Deno.FsFile, mostBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const buffer = new Uint8Array(mostBytes);
  return buffer.subarray(0, await file.read(buffer) ?? 0);
}

/** Takes gzip and gives what it was, one piece after the other. */
class Inflater implements Disposable {
  readonly #gunzip = createGunzip({ chunkSize: 2 ** 16 });
  #taken: Uint8Array<ArrayBuffer>[] = [];
  /** How the stream ended, as soon as it has. */
  #isWhole: boolean | undefined;
  #settle: (isGood: boolean) => void = () => {};

  constructor() {
    const over = (isWhole: boolean) => (): void => this.#settle(this.#isWhole ??= isWhole);
    this.#gunzip.on("data", (bytes: Uint8Array<ArrayBuffer>) => this.#taken.push(bytes));
    this.#gunzip.on("error", over(false));
    this.#gunzip.on("end", over(true));
    this.#gunzip.on("close", over(false));
  }

  /** Takes a piece; resolves to false when it is broken. */
  feed(piece: Uint8Array): Promise<boolean> {
    // Deno calls back first and says afterwards that the piece was broken.
    return this.#settled((resolve) =>
      this.#gunzip.write(piece, () => setImmediate(() => resolve(this.#isWhole !== false)))
    );
  }

  /** Nothing more comes; resolves to false when that is too early. */
  end(): Promise<boolean> {
    return this.#settled(() => this.#gunzip.end());
  }

  /** What has come out since. */
  take(): Uint8Array<ArrayBuffer>[] {
    return this.#taken.splice(0);
  }

  [Symbol.dispose](): void {
    this.#gunzip.destroy();
  }

  /** A stream that is over calls nobody back: what comes behind its end is broken. */
  #settled(act: (resolve: (isGood: boolean) => void) => void): Promise<boolean> {
    if (this.#isWhole !== undefined) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#settle = resolve;
      act(resolve);
    });
  }
}
