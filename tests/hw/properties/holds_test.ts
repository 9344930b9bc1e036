/**
 * All properties, held against the device. `deno test … -- SEED PATH` tries one scenario again; what fails prints the
 * command.
 */
import { mappedGuest } from "../../support/mapped_guest.ts";
import { MAPPED_PROPERTIES, PROPERTIES } from "./all.ts";
import { type MakeGuest, type Property, tryOut } from "./property.ts";

const [seed, path] = Deno.args;

for (const property of PROPERTIES) holds(property, property.name);
for (const property of MAPPED_PROPERTIES) {
  holds(property, `registers that are memory: ${property.name}`, mappedGuest);
}

function holds(property: Property, name: string, make?: MakeGuest): void {
  Deno.test(name, () => {
    const where = seed === undefined ? {} : { seed: Number(seed), path: path ?? "" };
    const failure = tryOut(property, make, where);
    if (failure === undefined) return;
    const file = "tests/hw/properties/holds_test.ts";
    const again = `deno test ${file} --filter "${name}" -- ${failure.seed} ${failure.path}`;
    throw new Error(`${failure.report}\n\nAgain: ${again}`);
  });
}
