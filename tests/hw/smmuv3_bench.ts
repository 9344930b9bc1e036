/**
 * How fast the device core is, beside minimal hand-written loops over the same kind of typed arrays.
 *
 * Budgets on one core: 3 million TLBI_NH_VA a second; a TLB hit at most 4 times, a four-level miss at most 3 times the
 * minimal loop of its group. `vsmmu bench` measures the same in turns, which is less exposed to noise.
 * @module
 */
import { CoreWork } from "../../vmm/bench/core.ts";

const core = new CoreWork();

Deno.bench(
  { name: "1000 TLBI_NH_VA, one CMDQ_PROD write", group: "commands" },
  () => core.commands(),
);
Deno.bench({ name: "minimal lookup, 512 pages", group: "hit", baseline: true }, () => {
  core.minimalHit();
});
Deno.bench({ name: "translation on a TLB hit, 512 pages", group: "hit" }, () => core.hit());
Deno.bench({ name: "minimal four-level walk, 512 pages", group: "miss", baseline: true }, () => {
  core.minimalMiss();
});
Deno.bench(
  { name: "translation on a four-level miss, 512 pages", group: "miss" },
  () => core.miss(),
);
