/**
 * Arguments as a person would type them.
 * @module
 */

/** `words` as one line for a POSIX shell, each quoted only when it has to be. */
export function shellWords(words: readonly string[]): string {
  return words.map(quote).join(" ");
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
