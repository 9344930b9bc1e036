import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { RegisterFile } from "../../hw/smmuv3/register_file.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { campaign, stale } from "../../vmm/differential/campaign.ts";
import { compare } from "../../vmm/differential/comparison.ts";
import { DEVIATIONS } from "../../vmm/differential/deviations.ts";
import { generate } from "../../vmm/differential/generate.ts";
import { cutTo, parseRanges, rangesText } from "../../vmm/differential/minimise.ts";
import { type DeviceMaker, OwnSubject } from "../../vmm/differential/own_subject.ts";
import { stepText } from "../../vmm/differential/program.ts";
import { REWRITES } from "../../vmm/differential/rewrites.ts";
import { run } from "../../vmm/differential/transcript.ts";
import { BROKEN_DEVICES } from "../support/broken_devices.ts";

const PROGRAMS = 60;
/** What is left of a program says where to look. */
const MOST_STEPS = 40;

function textOf(seed: number): string {
  return generate(seed).steps.map(stepText).join("\n");
}

Deno.test("a seed is one program, whatever was generated before", () => {
  const seeds = Array.from({ length: 20 }, (_, i) => i);
  const first = seeds.map(textOf);
  // So often that the code is compiled meanwhile.
  for (let seed = 100; seed < 700; seed++) generate(seed);
  assertEquals(seeds.map(textOf), first);
  assertEquals(new Set(first).size, seeds.length);
});

/** STEs that translate, by their addresses, as quads: whatever is in the stream table, in either form, is one. */
function translatingStes(memory: ReadonlyMap<number, bigint>): bigint[][] {
  const stes = [...memory.keys()].filter((gpa) => gpa >= 0x4102_0000 && gpa < 0x410e_0000)
    .map((gpa) => gpa - gpa % 64);
  return [...new Set(stes)].map((gpa) =>
    Array.from({ length: 4 }, (_, i) => memory.get(gpa + 8 * i) ?? 0n)
  ).filter(([quad]) => (quad & 1n) === 1n && (quad >> 1n & 7n) > 4n);
}

Deno.test("streams of one VMID have the same tables at all times: with others, what is cached of one serves the other", () => {
  let shared = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const memory = new Map<number, bigint>();
    for (const step of generate(seed).steps) {
      if (step.kind === "store") memory.set(step.gpa, step.value);
      if (step.kind !== "write" && step.kind !== "fetch") continue;
      const tables = new Map<bigint, string>();
      for (const [quad, , word2, s2ttb] of translatingStes(memory)) {
        const [vmid, shape] = [word2 & 0xffffn, word2 >> 32n & 0x01ff_ffffn];
        // Stage 2 and what it does; stage 1 shares its CDs too, unless one leads nowhere.
        const text = `${quad >> 1n & 7n} ${shape.toString(16)} ${s2ttb.toString(16)}`;
        if (tables.has(vmid)) shared++;
        assertEquals(tables.get(vmid) ?? text, text, `seed ${seed}: ${stepText(step)}`);
        tables.set(vmid, text);
      }
    }
  }
  assert(shared > 1000, `${shared} transfers with shared tables`);
});

Deno.test("our device does what our device does, in every program, and nothing needs to be explained", async () => {
  const sides = { theirs: new OwnSubject(), ours: new OwnSubject() };
  const result = await campaign({ sides, seed: 1, count: PROGRAMS, most: 1 });
  assertEquals(result.differences, []);
  assertEquals([...result.deviations], []);
  assertEquals(result.compared, result.steps);
  assertEquals(stale(result).length, REWRITES.length + DEVIATIONS.length);
});

Deno.test("registers that are memory make no difference, unless the device does not look at all of them", async (t) => {
  const trapped = new OwnSubject();
  const mapped = new OwnSubject(undefined, "mapped");
  await t.step("ours", async () => {
    // Events are merged only where they trap, which the comparison expects of the second one.
    const sides = { theirs: mapped, ours: trapped };
    const result = await campaign({ sides, seed: 1, count: 2 * PROGRAMS, most: 1 });
    assertEquals(result.differences, []);
  });
  for (const offset of [0x20, 0x44, 0x64, 0x88, 0x98, 0x1_00ac]) {
    await t.step(`not at 0x${offset.toString(16)}`, async () => {
      const make: DeviceMaker = (options) => {
        const smmu = new SmmuV3(options);
        const { look } = smmu;
        const write32 = (at: number, value: number): void => {
          if (RegisterFile.resolve(at) !== offset) smmu.write32(at, value);
        };
        smmu.look = () => look.call(smmu, { write32 });
        return smmu;
      };
      const sides = { theirs: trapped, ours: new OwnSubject(make, "mapped") };
      const result = await campaign({ sides, seed: 1, count: 2 * PROGRAMS, most: 1 });
      assertEquals(result.differences.length, 1);
      const [{ program }] = result.differences;
      const honest = await run(program, mapped);
      assertEquals(compare(program, await run(program, trapped), honest).difference, undefined);
    });
  }
});

Deno.test("programs make transfers that succeed and transfers that fail, with events of all kinds", async () => {
  const subject = new OwnSubject();
  const numbers = new Map<number, number>();
  let done = 0;
  for (let seed = 1; seed <= 4 * PROGRAMS; seed++) {
    for (const { events, values } of (await run(generate(seed), subject)).seen) {
      if (values["result"] === 0) done++;
      for (const [word] of events) numbers.set(word & 0xff, (numbers.get(word & 0xff) ?? 0) + 1);
    }
  }
  assert(done > PROGRAMS, `${done} writes were done`);
  const all = [0x02, 0x03, 0x04, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13];
  assertEquals(all.filter((number) => !numbers.has(number)), [], "never recorded");
});

Deno.test("a device with a mistake is found, and what is left of the program finds it again", async (t) => {
  for (const [mistake, make] of Object.entries(BROKEN_DEVICES)) {
    await t.step(mistake, async () => {
      const sides = { theirs: new OwnSubject(), ours: new OwnSubject(make) };
      const result = await campaign({ sides, seed: 1, count: 8 * PROGRAMS, most: 1 });
      assertEquals(result.differences.length, 1);
      const [{ program, kept }] = result.differences;
      assert(kept.length <= MOST_STEPS, `${kept.length} steps are left`);
      const again = cutTo(generate(program.seed), parseRanges(rangesText(kept))!);
      assertEquals(again.steps, program.steps);
      const ours = await run(again, sides.ours);
      assertNotEquals(compare(again, await run(again, sides.theirs), ours).difference, undefined);
    });
  }
});

Deno.test("every deviation has a name of its own, a reason and a section", () => {
  const all = [...REWRITES, ...DEVIATIONS];
  assertEquals(new Set(all.map(({ name }) => name)).size, all.length);
  for (const { name, reason, section } of all) {
    assert(reason.length > 10 && section.length > 3, name);
  }
});

Deno.test("steps are written as ranges, and read as such", () => {
  const cases: [numbers: number[], text: string][] = [
    [[0], "0"],
    [[0, 1, 2, 3, 7], "0-3,7"],
    [[4, 6, 8, 9], "4,6,8-9"],
  ];
  for (const [numbers, text] of cases) {
    assertEquals(rangesText(numbers), text);
    assertEquals(parseRanges(text), numbers);
  }
  for (const text of ["", "a", "3-1", "1,,2", "-1", "1-", "99999999"]) {
    assertEquals(parseRanges(text), undefined, text);
  }
});
