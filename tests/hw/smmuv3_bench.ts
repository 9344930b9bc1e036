/**
 * How fast the device core is, beside minimal hand-written loops over the same kind of typed arrays.
 *
 * Budgets on one core: 3 million TLBI_NH_VA a second; a TLB hit at most 4 times, a four-level miss at most 3 times the
 * minimal loop of its group. A nested miss looks at memory 24 times at most, which a test holds. `vsmmu bench` measures the same in turns, which is less exposed to noise.
 * @module
 */
import { CoreWork } from "../../vmm/bench/core.ts";
import { DeviceWork, type KindName, KINDS } from "../../vmm/bench/device_work.ts";

const core = new CoreWork();
const work = new DeviceWork();

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
for (const name of Object.keys(KINDS) as KindName[]) {
  Deno.bench(
    { name: `256 misses, ${name}`, group: "misses", baseline: name === "4 KiB" },
    () => work.miss(name),
  );
}
for (const kind of ["VA", "range", "ASID", "VMID"] as const) {
  Deno.bench(
    { name: `512 TLBI by ${kind} on a full TLB`, group: "TLBI", baseline: kind === "VA" },
    (bench) => {
      work.restore();
      work.queue(kind);
      bench.start();
      work.invalidate();
      bench.end();
    },
  );
}
Deno.bench({ name: "256 translation requests", group: "misses" }, () => work.requests());
Deno.bench({ name: "256 events recorded and read", group: "events" }, () => work.faults());
Deno.bench({ name: "snapshot, full TLB", group: "snapshot" }, () => void work.snapshot());
Deno.bench({ name: "restore, full TLB", group: "snapshot" }, () => work.restore());
