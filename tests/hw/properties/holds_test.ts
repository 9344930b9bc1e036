/**
 * All properties, held against the device. `deno test … -- SEED PATH` tries one scenario again; what fails prints the
 * command.
 */
import { PROPERTIES } from "./all.ts";
import { tryOut } from "./property.ts";

const [seed, path] = Deno.args;

for (const property of PROPERTIES) {
  Deno.test(property.name, () => {
    const where = seed === undefined ? {} : { seed: Number(seed), path: path ?? "" };
    const failure = tryOut(property, undefined, where);
    if (failure === undefined) return;
    const file = "tests/hw/properties/holds_test.ts";
    const again =
      `deno test ${file} --filter "${property.name}" -- ${failure.seed} ${failure.path}`;
    throw new Error(`${failure.report}\n\nAgain: ${again}`);
  });
}
