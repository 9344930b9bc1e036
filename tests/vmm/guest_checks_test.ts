import { assertEquals } from "@std/assert";
import { checkGuest, checkOutput } from "../../vmm/guest_checks.ts";
import { GuestConsole, type GuestEvent } from "../../vmm/provision/guest_console.ts";

const INPUT = "1".repeat(64);
const FIRST = "a".repeat(64);
const SECOND = "b".repeat(64);

/** What a guest says on its way up. */
const START = [
  "arm-smmu-v3 3ee00000.iommu: oas 48-bit (features 0x00000008)",
  "vsmmu: kernel 7.3.4",
  "vsmmu: group 1 DMA 0000:00:01.0",
];
/** What the action `disk` says. */
const disk = (input: string, output: string): string[] => [
  "vsmmu: run disk",
  "vsmmu: mount ok",
  `vsmmu: sha256 /data/input.bin ${input}`,
  `vsmmu: sha256 /data/output.bin ${output}`,
  "vsmmu: reread ok",
  "vsmmu: unmount ok",
];
const REBOOT = ["vsmmu: run reboot"];
const kept = (output: string): string[] => [`vsmmu: sha256 /data/output.bin ${output}`];
const DONE = ["vsmmu: done"];

function events(lines: readonly string[]): GuestEvent[] {
  const parser = new GuestConsole();
  return lines.flatMap((line) => parser.push(line) ?? []);
}

/** Names of the checks that fail for a guest that was told `disk,reboot,disk`. */
function failures(lines: readonly string[]): string[] {
  const checks = checkGuest(events(lines), {
    actions: ["disk", "reboot", "disk"],
    commandLine: "console=ttyAMA0",
    input: { path: "/data/input.bin", sha256: INPUT },
    disk: { address: "0000:00:01.0", streamId: 8 },
    fault: { streamId: 16, iova: 0n },
  });
  return checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

Deno.test("checkGuest() judges every boot of a guest that reboots", async (t) => {
  const before = [...START, ...disk(INPUT, FIRST), ...REBOOT];
  const after = [...kept(FIRST), ...disk(INPUT, SECOND), ...DONE];
  const PROBED = "Linux probed the SMMUv3";
  const GROUP = "The disk is in an IOMMU group of type DMA";
  const READ = "The guest read /data/input.bin intact";
  const DISK = "The guest mounted, wrote, read back and unmounted";
  const REBOOTED = "The guest rebooted as often as it was told";
  const KEPT = "What the guest wrote is there after each reboot";
  const cases = [
    { name: "all well", lines: [...before, ...START, ...after], failed: [] },
    {
      name: "without the SMMU after the reboot",
      lines: [...before, "vsmmu: kernel 7.3.4", ...after],
      failed: [PROBED, GROUP],
    },
    {
      name: "another input after the reboot",
      lines: [...before, ...START, ...kept(FIRST), ...disk(SECOND, SECOND), ...DONE],
      failed: [READ],
    },
    {
      name: "what was written is lost",
      lines: [...before, ...START, ...disk(INPUT, SECOND), ...DONE],
      failed: [KEPT],
    },
    {
      name: "no reboot",
      lines: [...START, ...disk(INPUT, FIRST), ...disk(INPUT, SECOND), ...DONE],
      failed: [PROBED, GROUP, REBOOTED, KEPT],
    },
    {
      name: "one reboot too many",
      lines: [...before, ...START, ...START, ...after],
      failed: [REBOOTED],
    },
    {
      name: "the disk was used once",
      lines: [...before, ...START, ...kept(FIRST), ...DONE],
      failed: [DISK],
    },
  ];
  for (const { name, lines, failed } of cases) {
    await t.step(name, () => assertEquals(failures(lines), failed));
  }
});

Deno.test("checkGuest() judges what Linux lets an endpoint translate for itself, takes back and answers", async (t) => {
  const ENABLED = "Linux lets the DMA test device translate for itself";
  const WRITES = "By its own translation it writes to the page that Linux mapped";
  const FORGETS = "Linux had it forget what it may have translated";
  const ANSWERS = "Linux answered its page request";
  const cases: [name: string, said: string, failed: string[]][] = [
    ["all well", "0x8000 0x00000000 0 2 0x80000005", []],
    ["no page could be mapped", "0x8000 none 0 1 0x80000005", []],
    ["ATS is off", "0x0000 0xDEAD0006 0 1 0x80000005", [ENABLED, WRITES]],
    ["a translation is left", "0x8000 0x00000000 1 2 0x80000005", [FORGETS]],
    ["no CMD_ATC_INV", "0x8000 none 0 0 0x80000005", [FORGETS]],
    ["no answer", "0x8000 0x00000000 0 2 0x00000000", [ANSWERS]],
    ["nothing", "", ["ATS"]],
  ];
  for (const [name, said, failed] of cases) {
    await t.step(name, () => {
      const lines = said === "" ? [] : [`vsmmu: ats 0000:00:02.0 ${said}`];
      const checks = checkGuest(events([...START, ...lines, ...DONE]), {
        actions: ["ats"],
        commandLine: "console=ttyAMA0",
        input: undefined,
        disk: { address: "0000:00:01.0", streamId: 8 },
        fault: { streamId: 16, iova: 0n },
      });
      assertEquals(checks.filter(({ ok }) => !ok).map(({ name }) => name), failed);
    });
  }
});

Deno.test("checkOutput() compares the image with what the guest wrote last", () => {
  const said = events([...disk(INPUT, FIRST), ...disk(INPUT, SECOND)]);
  assertEquals(checkOutput(said, SECOND).ok, true);
  assertEquals(checkOutput(said, FIRST).ok, false);
  assertEquals(checkOutput([], undefined).ok, false);
});
