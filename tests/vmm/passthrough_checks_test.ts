/**
 * What a guest with functions of the host must have shown, and what is noticed when it has not.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Check } from "../../vmm/guest_checks.ts";
import {
  checkCard,
  checkCardFault,
  checkNesting,
  checkNvme,
  checkPasids,
  checkTakenBack,
} from "../../vmm/passthrough/checks.ts";
import { GuestConsole, type GuestEvent } from "../../vmm/provision/guest_console.ts";
import { Counters } from "../../vmm/counters.ts";

const DIGEST = "a".repeat(64);
const OTHER = "b".repeat(64);
const CARD = {
  address: "0000:00:04.0",
  streamId: 0x20,
  driver: "igbvf",
  msiWindow: { base: 0x0800_0000, sizeBytes: 0x10_0000 },
};
const IOVA = 0x1234_5678_0000n;

const GOOD: readonly string[] = [
  "[1.0] vsmmu: card 0000:00:04.0 igbvf 10.0.9.2",
  "[1.0] vsmmu: reserved 0000:00:04.0 0x08000000 0x080fffff direct",
  `[2.0] vsmmu: sha256 receive ${DIGEST}`,
  "[3.0] vsmmu: interrupts 0000:00:04.0 3 700",
  `[4.0] vsmmu: sha256 nvme-written ${DIGEST}`,
  `[4.0] vsmmu: sha256 nvme-read ${DIGEST}`,
  "[4.5] vsmmu: reset 0000:00:05.0",
  `[4.6] vsmmu: sha256 nvme-after-reset ${DIGEST}`,
  "[5.0] vsmmu: doorbell 0000:00:04.0",
  "[5.2] arm-smmu-v3 3ee00000.iommu: event 0x10 received:",
  "[5.2] arm-smmu-v3 3ee00000.iommu: \t0x0000002000000010",
  "[5.2] arm-smmu-v3 3ee00000.iommu: \t0x0000020800000000",
  "[5.2] arm-smmu-v3 3ee00000.iommu: \t0x0000123456780000",
  "[5.2] arm-smmu-v3 3ee00000.iommu: \t0x0000000000000000",
];

function events(lines: readonly string[]): GuestEvent[] {
  const parser = new GuestConsole();
  return lines.flatMap((line) => parser.push(line) ?? []);
}

/** How many checks fail of a guest that says these lines, to a peer that took and sent these. */
function failures(lines: readonly string[], sent = DIGEST, taken = DIGEST): number {
  const said = events(lines);
  const checks: Check[] = [
    ...checkCard(said, CARD, { sent: [sent], taken: [{ sizeBytes: 1, sha256: taken }] }),
    ...checkNvme(said, 1, true),
    ...checkCardFault(said, CARD, IOVA),
  ];
  return checks.filter(({ ok }) => !ok).length;
}

Deno.test("a guest that shows everything passes, and each thing that is missing is noticed", () => {
  assertEquals(failures(GOOD), 0);
  for (const [index, line] of GOOD.entries()) {
    const lacking = GOOD.filter((_, i) => i !== index);
    assertEquals(failures(lacking) > 0, true, `without ${line}`);
  }
  assertEquals([failures(GOOD, OTHER), failures(GOOD, DIGEST, OTHER)], [1, 1]);
});

/** What a guest says of two PASIDs, with its kernel's words about what is not mapped. */
const PASIDS: readonly string[] = [0, 1, 2].flatMap((pasid) => [
  `[1.0] vsmmu: pasid 0000:00:04.0 ${pasid} 0x345670000 ${pasid + 1}`,
  "[2.0] arm-smmu-v3 3ee00000.iommu: event 0x10 received:",
  `[2.0] arm-smmu-v3 3ee00000.iommu: \t0x000000200000${["0010", "1810", "2810"][pasid]}`,
  "[2.0] arm-smmu-v3 3ee00000.iommu: \t0x0000000000000000",
  "[2.0] arm-smmu-v3 3ee00000.iommu: \t0x0000000345671000",
  "[2.0] arm-smmu-v3 3ee00000.iommu: \t0x0000000000000000",
  `[2.1] vsmmu: pasid 0000:00:04.0 ${pasid} 0x345671000 `,
]);

Deno.test("PASIDs that reach their pages pass, and what is missing or different is noticed", () => {
  const fails = (lines: readonly string[]): number =>
    checkPasids(events(lines), CARD).filter(({ ok }) => !ok).length;
  assertEquals([fails(PASIDS), fails([])], [0, 2]);
  for (const [index, line] of PASIDS.entries()) {
    const lacking = PASIDS.filter((_, i) => i !== index);
    assertEquals(fails(lacking) > 0, true, `without ${line}`);
  }
  const changes: readonly (readonly [from: string, to: string])[] = [
    ["2 0x345670000 3", "2 0x345670000 2"],
    ["1 0x345670000 2", "1 0x345670000 "],
    ["1 0x345671000 ", "1 0x345671000 2"],
    ["0x0000002000002810", "0x0000002000001810"],
    ["0x0000002000002810", "0x0000002800002810"],
    ["0x0000002000001810", "0x0000002000001010"],
  ];
  for (const [from, to] of changes) {
    const said = PASIDS.map((line) => line.replace(from, to));
    assertEquals(said.join() !== PASIDS.join() && fails(said) > 0, true, `${from}: ${to}`);
  }
});

Deno.test("what is different is noticed", () => {
  const changes: readonly (readonly [from: string, to: string])[] = [
    ["0x080fffff direct", "0x080fffff msi"],
    ["0x080fffff direct", "0x0800ffff direct"],
    ["igbvf", "igb"],
    ["3 700", "3 0"],
    [`nvme-read ${DIGEST}`, `nvme-read ${OTHER}`],
    [`nvme-after-reset ${DIGEST}`, `nvme-after-reset ${OTHER}`],
    ["\t0x0000002000000010", "\t0x0000001000000010"],
    ["\t0x0000123456780000", "\t0x0000123456790000"],
    ["[5.0] vsmmu: doorbell", "[4.0] vsmmu: doorbell"],
  ];
  for (const [from, to] of changes) {
    assertEquals(failures(GOOD.map((line) => line.replace(from, to))), 1, `${from} -> ${to}`);
  }
});

Deno.test("guest RAM that is mapped more than once is no nested translation", () => {
  const counters = new Counters();
  const broken = (): number => checkNesting(counters.summary()).filter(({ ok }) => !ok).length;
  assertEquals(broken(), 2);
  counters.iommufdCall("IOMMU_IOAS_MAP_FILE", 0, 0n);
  counters.iommufdCall("IOMMU_HWPT_INVALIDATE", 0, 2);
  assertEquals(broken(), 0);
  counters.iommufdCall("IOMMU_IOAS_UNMAP", 0, 0n);
  assertEquals(broken(), 1);
  counters.iommufdCall("IOMMU_HWPT_INVALIDATE", 5, 0);
  assertEquals(broken(), 2);
});

Deno.test("a function that the host took back went as it should, in time, and is there again", async (t) => {
  const taken = { seconds: 6.5, failure: undefined };
  const unplugged = [
    "[1.0] pcieport 0000:00:04.0: pciehp: Slot(4): Button press: will power off in 5 sec",
    "[7.0] vsmmu: gone 0000:03:00.0 unplugged",
  ];
  const ones = ["[1.5] vsmmu: gone 0000:00:04.0 ones"];
  const cases: {
    name: string;
    lines: string[];
    taken: { seconds: number; failure: string | undefined } | undefined;
    way: "unplugged" | "ones";
    ok: boolean[];
  }[] = [
    { name: "asked", lines: unplugged, taken, way: "unplugged", ok: [true, true, true] },
    { name: "not asked", lines: ones, taken, way: "ones", ok: [true, true, true] },
    { name: "never", lines: [], taken: undefined, way: "ones", ok: [false, false, false] },
    {
      name: "late",
      lines: ones,
      taken: { ...taken, seconds: 36 },
      way: "ones",
      ok: [false, true, true],
    },
    {
      name: "not there again",
      lines: ones,
      taken: { ...taken, failure: "No such device" },
      way: "ones",
      ok: [true, false, true],
    },
    { name: "another way", lines: ones, taken, way: "unplugged", ok: [true, true, false] },
    {
      name: "without its port",
      lines: unplugged.slice(1),
      taken,
      way: "unplugged",
      ok: [true, true, false],
    },
  ];
  for (const { name, lines, taken, way, ok } of cases) {
    await t.step(name, () => {
      const guest = new GuestConsole();
      const events = lines.flatMap((line) => guest.push(line) ?? []);
      assertEquals(checkTakenBack(events, taken, way).map(({ ok }) => ok), ok);
    });
  }
});
