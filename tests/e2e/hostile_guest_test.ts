import { assert, assertEquals } from "@std/assert";
import type { Program } from "./program.ts";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

/** A guest whose kernel lets programs at registers that its drivers use. */
const POKABLE = "iomem=relaxed loglevel=3";
/** Where the SMMU is, as the guest's device tree has it. */
const SMMU = 0x3ee0_0000;
/** Memory that a device thread may take on top of what it has when it works, in MiB. */
const GROWTH = 64;

/** What is written: register, then values. Offsets are those of the manual; what stops Linux's driver comes last. */
const NONSENSE: readonly (readonly [number, ...number[]])[] = [
  [0x50, 0xffff_ffff, 0, 7], // IRQ_CTRL
  [0x64, 0xffff_ffff, 0], // GERRORN
  [0xb0, 0xffff_fffc], // EVENTQ_IRQ_CFG0
  [0x1_00a8, 0xf_ffff, 0x8000_0001], // EVENTQ_PROD
  [0x1_00ac, 0xf_ffff, 0], // EVENTQ_CONS
  [0xa0, 0xffff_ffff, 0x14], // EVENTQ_BASE
  [0xa4, 0x4fff_ffff, 0], // EVENTQ_BASE, high
  [0x28, 0xffff_ffff, 0xd75], // CR1
  [0x2c, 0xffff_ffff, 0], // CR2
  [0x44, 0x8010_0000, 0x8000_0000, 0xffff_ffff], // GBPA
  [0x80, 0xffff_ffc0, 0x1000], // STRTAB_BASE
  [0x84, 0x4fff_ffff, 0], // STRTAB_BASE, high
  [0x88, 0x3_ffff, 0, 0x1_0008], // STRTAB_BASE_CFG
  [0x20, 0, 0xd, 0xffff_ffff, 0x5, 0xd], // CR0
  [0x80, 0xffff_ffc0, 0x1000], // STRTAB_BASE, when nothing is enabled
  [0x88, 0x3_ffff, 0, 0x1_0008], // STRTAB_BASE_CFG
  [0x20, 0x1, 0], // CR0
  [0x90, 0xffff_ffff, 0x13, 0x1f], // CMDQ_BASE
  [0x94, 0x4fff_ffff, 0], // CMDQ_BASE, high
  [0x9c, 0x7f00_0000, 0xf_ffff], // CMDQ_CONS
  [0x20, 0xd], // CR0
  [0x98, 0xf_ffff, 0, 0x1234, 0x8_0000], // CMDQ_PROD
];

/** A shell function that writes all of it once. */
async function defineHammer(run: Program): Promise<void> {
  await run.type("hammer() {");
  for (const [register, ...values] of NONSENSE) {
    const address = `0x${(SMMU + register).toString(16)}`;
    const list = values.map((value) => `0x${value.toString(16)}`).join(" ");
    await run.type(`for v in ${list}; do devmem ${address} 32 $v; done`);
  }
  await run.type("}");
}

Deno.test({
  name: `a guest that writes nonsense to the SMMU's registers harms only itself ${NEEDS}`,
  ignore,
  async fn(t): Promise<void> {
    for (const append of ["iommu.strict=1", "iommu.passthrough=1"]) {
      await t.step(append, async () => {
        await using sandbox = new Sandbox();
        const words = `${POKABLE} ${append}`;
        const run = sandbox.vsmmu("microvm", "--run", "shell", "--append", words);
        await run.out.line(/vsmmu: run shell/);
        await defineHammer(run);
        await run.type("load() { while :; do cat /dev/vda > /dev/null; done; }");
        await run.type("load & dd if=/dev/vda of=/dev/null bs=1M count=9 && echo r''eady");
        await run.out.line(/^ready/);
        const before = run.memory("RssAnon");
        await run.type("echo b''egun; while hammer; do echo r''ound; done");
        await run.out.line(/^begun/);
        // What it writes may stop its own kernel for good, in the first round or in a later one.
        await run.out.line(/^round/, 0, 20).catch(() => {});
        const after = run.memory("RssAnon");
        assert(after - before < GROWTH, `${before} MiB before, ${after} MiB after`);
        run.kill("SIGINT");
        assertEquals(await run.end(), { code: 130, signal: null });
        assertEquals(run.err.matching(/mistake|bug|Cannot/), []);
        await sandbox.expectNothingLeft();
      });
    }
  },
});

Deno.test({
  name: `the memory and the descriptors of the devices do not grow with the work ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const run = sandbox.vsmmu("microvm", "--run", "bench,bench,bench,bench", "--bench-size", "32");
    const memory: number[] = [];
    const descriptors: string[][] = [];
    for (let from = 0, round = 0; round < 4; round++) {
      await run.out.line(/vsmmu: run bench/, from);
      from = run.out.lines.length;
      memory.push(run.memory("RssAnon"));
      descriptors.push(run.descriptors());
    }
    await run.out.line(/vsmmu: done/);
    memory.push(run.memory("RssAnon"));
    assertEquals(await run.end(), { code: 0, signal: null });
    // The first round warms up: code is compiled, and the heap takes its size.
    assert(memory[4] - memory[1] < GROWTH / 2, `${memory} MiB`);
    assertEquals(descriptors[3], descriptors[1]);
    await sandbox.expectNothingLeft();
  },
});
