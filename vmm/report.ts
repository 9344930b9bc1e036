/**
 * A run in words: what held, what the device did.
 * @module
 */
import type { Summary } from "./counters.ts";
import type { Check } from "./guest_checks.ts";
import type { MicrovmResult } from "./microvm.ts";

/** All of a run. */
export function resultLines(result: MicrovmResult): string[] {
  const { ok, checks, summary, transfers, qemu, kernel, seconds } = result;
  const system = kernel === undefined ? "" : `, Linux ${kernel}`;
  return [
    "",
    ...summaryLines(summary),
    "",
    ...transfers.map(transferLine),
    ...checkLines(checks),
    "",
    `${ok ? "All held" : "NOT all held"}: QEMU ${qemu}${system}; ` +
    `${seconds.guest.toFixed(1)} s for the guest, ${
      seconds.provision.toFixed(1)
    } s to get its parts`,
  ];
}

/** One line for each check. */
export function checkLines(checks: readonly Check[]): string[] {
  return checks.map(({ name, ok, seen }) => `${ok ? "ok    " : "FAILED"}  ${name}: ${seen}`);
}

/** What the device did, as aligned lines. */
export function summaryLines(summary: Summary): string[] {
  const { translations, dma, mmio, iommufd } = summary;
  const commands = Object.entries(summary.commands).sort(([, a], [, b]) => b - a);
  const events = Object.entries(summary.events).map(([name, count]) => `${name} ${count}`);
  const rows: [string, string][] = [
    ...commands.map(([name, count]): [string, string] => [name, number(count)]),
    ["Commands refused", number(summary.commandErrors)],
    ["SYNCs, TLBIs", `${number(summary.syncs)}, ${number(summary.tlbis)}`],
    [
      "Translations",
      `${number(translations.tlbHits)} TLB hits, ${number(translations.walks)} walks ` +
      `(hit rate ${(100 * translations.hitRate).toFixed(1)} %), ` +
      `${number(translations.bypass)} bypassed, ${number(translations.faults)} faults`,
    ],
    ["DMA", `${mib(dma.readBytes)} read, ${mib(dma.writtenBytes)} written by devices`],
    [
      "MMIO per CMD_SYNC",
      `${mmio.readsPerSync.toFixed(2)} reads, ${mmio.writesPerSync.toFixed(2)} writes ` +
      `of CMDQ_CONS and CMDQ_PROD (${number(mmio.reads)} reads and ${
        number(mmio.writes)
      } writes in all)`,
    ],
    ...noticedRow(mmio.noticed),
    ["Events", `${events.join(", ") || "0"}; ${number(summary.eventsDropped)} dropped`],
    ["Interrupts of the SMMU", number(summary.interrupts)],
    ...endpointRows(summary.endpoints),
    ...iommufdRows(iommufd),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

/** Nothing where accesses trap. */
function noticedRow(noticed: number): [string, string][] {
  return noticed === 0 ? [] : [["Register writes in memory", number(noticed)]];
}

/** Nothing where no endpoint translates for itself. */
function endpointRows(
  { invalidations, pageResponses }: Summary["endpoints"],
): [string, string][] {
  if (invalidations + pageResponses === 0) return [];
  return [[
    "Endpoints were told",
    `${number(invalidations)} CMD_ATC_INV, ${number(pageResponses)} answers to page requests`,
  ]];
}

/** Nothing without an iommufd. */
function iommufdRows(iommufd: Summary["iommufd"]): [string, string][] {
  const calls = Object.entries(iommufd.calls).sort(([, a], [, b]) => b - a);
  if (calls.length === 0) return [];
  const batches = iommufd.calls["IOMMU_HWPT_INVALIDATE"] ?? 0;
  return [
    ...calls.map(([name, count]): [string, string] => [name, number(count)]),
    ["iommufd calls refused", number(iommufd.refused)],
    [
      "Commands passed on",
      `${number(iommufd.commandsPassed)} in ${number(batches)} IOMMU_HWPT_INVALIDATE`,
    ],
    [
      "Events passed back",
      `${number(iommufd.eventsPassed)}; ${number(iommufd.eventsLost)} lost`,
    ],
  ];
}

function number(value: number): string {
  return value.toLocaleString("en");
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function transferLine({ direction, bytes, seconds }: MicrovmResult["transfers"][number]): string {
  const mib = bytes / 2 ** 20;
  const rate = (mib / seconds).toFixed(1);
  return `Guest ${direction}  ${mib} MiB in ${seconds.toFixed(2)} s, ${rate} MiB/s`;
}
