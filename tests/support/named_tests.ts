/**
 * Tests by name: whether what a list says is there.
 * @module
 */
import { assertStringIncludes } from "@std/assert";

/** Names of tests, or of properties, by file below tests/. */
export type NamedTests = Readonly<Record<string, readonly string[]>>;

/** Checks that each file has what is named. */
export async function assertNamed(tests: NamedTests): Promise<void> {
  for (const [file, names] of Object.entries(tests)) {
    const text = await Deno.readTextFile(new URL(`../${file}`, import.meta.url));
    for (const name of names) assertStringIncludes(text, `"${name}"`, file);
  }
}
