/**
 * Lines out of a stream of bytes, with a bound on how long a line may become.
 * @module
 */

/**
 * Yields the lines of `stream` as UTF-8 text without their ends (`\n` or `\r\n`). A line longer than `maxLength`
 * characters arrives in pieces of that length, so that a peer that never ends its line costs no memory. Text after the
 * last line end is a line too.
 */
export async function* lines(
  stream: AsyncIterable<Uint8Array<ArrayBuffer>>,
  maxLength: number,
): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = pieces.pop() ?? "";
    for (const piece of pieces) yield* bounded(piece.replace(/\r$/, ""), maxLength);
    while (rest.length > maxLength) {
      yield rest.slice(0, maxLength);
      rest = rest.slice(maxLength);
    }
  }
  rest += decoder.decode();
  if (rest !== "") yield* bounded(rest, maxLength);
}

function* bounded(line: string, maxLength: number): Generator<string, void> {
  if (line.length <= maxLength) {
    yield line;
    return;
  }
  for (let at = 0; at < line.length; at += maxLength) yield line.slice(at, at + maxLength);
}
