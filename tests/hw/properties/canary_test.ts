/**
 * Devices that are broken on purpose, each in a way that some emulation once was or could be: the properties have to
 * notice, and those of the right groups.
 */
import { assert, assertEquals } from "@std/assert";
import { CANARIES } from "./canaries.ts";
import { PROPERTIES } from "./all.ts";
import { tryOut } from "./property.ts";

for (const { name, groups, make } of CANARIES) {
  Deno.test(`canary: ${name} breaks ${groups}`, () => {
    const wanted = PROPERTIES.filter((property) => property.name.startsWith(`${groups}:`));
    assertEquals(wanted.length, 1, groups);
    const failure = tryOut({ ...wanted[0], runs: 2000 }, make, { endOnFailure: true });
    if (failure === undefined) throw new Error("It was not noticed");
    const { seed, path } = failure;
    const again = { seed, path, endOnFailure: true };
    assert(tryOut(wanted[0], make, again) !== undefined, `${seed} ${path} fails again`);
    assertEquals(tryOut(wanted[0], undefined, again), undefined, "the device does not");
  });
}

Deno.test("what fails is made smaller until each step counts", () => {
  const { groups, make } = CANARIES.find(({ name }) => name === "a TLB that ignores ASIDs")!;
  const property = PROPERTIES.find(({ name }) => name.startsWith(`${groups}:`))!;
  const failure = tryOut({ ...property, runs: 2000 }, make)!;
  // A page is cached for one ASID, and looked at with another: of up to sixty steps few are needed for that.
  const steps = failure.report.match(/"op":"[a-z]+"/g) ?? [];
  assert(steps.length <= 6, failure.report);
});
