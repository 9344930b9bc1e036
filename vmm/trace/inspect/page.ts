/**
 * An analysis as one page that stands alone: it asks for nothing and runs nothing. Faults come first, then the timeline,
 * then the tables.
 * @module
 */
import { createHash } from "node:crypto";
import type { Analysis } from "./analysis.ts";
import { Html, html, type Part } from "./html.ts";
import { bar, histogramChart, timelineChart } from "./page_chart.ts";
import { STYLE } from "./page_style.ts";
import { hex } from "./naming.ts";
import {
  amount,
  counted,
  duration,
  guestName,
  HISTOGRAMS,
  MEANINGS,
  moment,
  percent,
  sentences,
  size,
} from "./wording.ts";

/** Faults whose story is open when the page opens. */
const OPEN_FAULTS = 3;

/** The page as text. Nothing of the trace can become markup. */
export function page(analysis: Analysis): string {
  const name = guestName(analysis);
  const digest = createHash("sha256").update(STYLE).digest("base64");
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'sha256-${new Html(
            digest,
          )}'; base-uri 'none'; form-action 'none'">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="referrer" content="no-referrer">
        <title>${name} behind an SMMUv3: ${counted(analysis.faultCount, "fault")}</title>
        <style>${new Html(STYLE)}</style>
      </head>
      <body>
    ${header(analysis, name)}
    <main>
    ${faults(analysis)}
    ${tiles(analysis)}
    <section><h2>Timeline</h2><div class="panel">${timelineChart(analysis)}</div></section>
    ${streams(analysis)}
    ${commands(analysis)}
    ${histograms(analysis)}
    ${device(analysis)}
    </main>
    <footer>Made by vsmmu inspect from a trace of ${counted(
      analysis.operations,
      "operation",
    )}. Times count from the beginning of the recording.</footer>
      </body>
    </html>
  `.text.trimStart();
}

function header(analysis: Analysis, name: string): Html {
  const { guest, began, seconds, damage } = analysis;
  const { cpuCount, memoryMiB, qemu } = guest as Partial<Record<string, string>>;
  const facts = [
    `Recorded ${began.replace("T", " ").replace(/\.\d+Z$/, " UTC")}`,
    duration(seconds),
    ...(cpuCount === undefined ? [] : [`${cpuCount} ${cpuCount === "1" ? "CPU" : "CPUs"}`]),
    ...(memoryMiB === undefined ? [] : [`${memoryMiB} MiB`]),
    ...(qemu === undefined ? [] : [`QEMU ${qemu}`]),
    counted(analysis.operations, "operation"),
  ];
  return html`<header>
<p class="over">What a guest did with its SMMUv3</p>
<h1>${name}</h1>
<p class="meta">${facts.join(" · ")}</p>
${
    guest["commandLine"] === undefined
      ? ""
      : html`<p class="meta">Command line <code>${guest["commandLine"]}</code></p>`
  }
<p class="lead">${sentences(analysis).join(" ")}</p>
${damage === null ? "" : html`<p class="note" role="alert">${damage}</p>`}
</header>`;
}

function faults({ faults, faultCount, streams }: Analysis): Html {
  if (faultCount === 0) {
    const count = streams.reduce(
      (sum, { reads, writes, messages }) => sum + reads + writes + messages,
      0,
    );
    return html`
      <section>
        <h2>Faults</h2>
        <p><span class="good">None.</span> All ${counted(
          count,
          "transaction",
        )} of endpoints went through.</p>
      </section>
    `;
  }
  const shown = faults.reduce((sum, { count }) => sum + count, 0);
  const rest = faultCount - shown;
  return html`<section class="faults"><h2>${counted(faultCount, "fault")}</h2>
${faults.map((fault, i) => faultCard(fault, i < OPEN_FAULTS))}
${rest > 0 ? html`<p class="quiet">And ${amount(rest)} of other kinds.</p>` : ""}
</section>`;
}

const VERBS = {
  read: "tried to read from IOVA",
  write: "tried to write to IOVA",
  message: "tried to send a message to IOVA",
};

function faultCard(fault: Analysis["faults"][number], isOpen: boolean): Html {
  const { pciAddress, streamId, substreamId, access, iova, reason, event, seconds, steps } = fault;
  const who = pciAddress === null ? `Stream ${hex(streamId)}` : `Device ${pciAddress}`;
  const facts: [string, Part][] = [
    ["StreamID", html`<code>${hex(streamId)}</code>`],
    ...(substreamId === null ? [] : [["SubstreamID", substreamId] as [string, Part]]),
    ["PCI address", html`<code>${pciAddress ?? "none"}</code>`],
    ["IOVA", html`<code>${iova}</code>`],
    ["Access", access],
    ["Event", event ?? "none: the guest is not told"],
    ["When", moment(seconds)],
    ...(fault.count > 1 ? [["How often", amount(fault.count)] as [string, Part]] : []),
    ...(event !== null && !fault.recorded ? [["Record", "dropped"] as [string, Part]] : []),
    ["Line of the trace", amount(fault.line)],
  ];
  return html`
    <details class="fault" ${new Html(isOpen ? " open" : "")}>
    <summary><p class="what">${who} ${VERBS[access]} <code>${iova}</code></p></summary>
    <p class="why"><strong>${why(event, reason)}.</strong></p>
    <dl>${facts.map(([term, fact]) =>
      html`
        <div>
          <dt>${term}</dt>
          <dd>${fact}</dd>
        </div>
      `
    )}</dl>
    ${steps.length === 0 ? "" : way(fault)}
    </details>
  `;
}

function why(event: string | null, reason: string): string {
  const meaning = MEANINGS[event ?? ""];
  return meaning === undefined
    ? `${reason.slice(0, 1).toUpperCase()}${reason.slice(1)}`
    : `${meaning}: ${reason}`;
}

/** What the device fetched on its way, up to what stopped it. */
function way({ steps }: Analysis["faults"][number]): Html {
  return html`<ol class="way" aria-label="What the SMMU found on its way">${
    steps.map(({ what, gpa, value, says }, i) =>
      html`<li${new Html(i === steps.length - 1 ? ' class="end"' : "")}><b>${
        what.startsWith("level") ? `Descriptor, ${what}` : what
      }</b>${says}<br><span class="quiet"><code>${gpa}</code>: <code>${
        value ?? "no RAM"
      }</code></span></li>`
    )
  }</ol>`;
}

function tiles({ summary, syncsPerMiB, livePages, invalidations, streams }: Analysis): Html {
  const pages = invalidations.reduce((sum, { pages }) => sum + pages, 0);
  const facts: [string, string][] = [
    [
      size(summary.dma.readBytes + summary.dma.writtenBytes),
      `DMA of ${counted(streams.length, "stream")}`,
    ],
    [amount(summary.syncs), "CMD_SYNCs"],
    [amount(syncsPerMiB), "CMD_SYNCs per MiB of DMA"],
    [amount(summary.tlbis), `TLB invalidations, ${amount(pages)} pages`],
    [`${amount(livePages.peak)}${livePages.isCut ? "+" : ""}`, "pages in use at most"],
    [percent(summary.translations.hitRate), "TLB hits"],
  ];
  return html`<div class="tiles">${
    facts.map(([value, what]) => html`<div class="tile"><b>${value}</b><span>${what}</span></div>`)
  }</div>`;
}

/** A table; columns whose title begins with `#` are numbers. */
function table(titles: readonly string[], rows: readonly (readonly Part[])[]): Html {
  const kind = (i: number): Html => new Html(titles[i].startsWith("#") ? ' class="n"' : "");
  return html`
    <div class="scroll">
      <table>
        <thead>
          <tr>${titles.map((title, i) =>
            html`
              <th scope="col" ${kind(i)}>${title.replace("#", "")}</th>
            `
          )}</tr>
        </thead>
        <tbody>${rows.map((row) =>
          html`<tr>${row.map((cell, i) => html`<td${kind(i)}>${cell}</td>`)}</tr>`
        )}</tbody>
      </table>
    </div>
  `;
}

function streams({ streams, streamsLeftOut, domains }: Analysis): Html {
  const rows = streams.map((stream): Part[] => [
    html`<code>${hex(stream.streamId)}</code>`,
    html`<code>${stream.pciAddress ?? "none"}</code>`,
    stream.configurations.map(({ seconds, substreamId, mode, ste, cd, asid }) =>
      html`<div>${mode}${asid === null ? "" : `, ASID ${asid}`}${
        substreamId === null ? "" : `, SubstreamID ${substreamId}`
      } <span class="quiet">from ${moment(seconds)}: ${cd ?? ste}</span></div>`
    ),
    size(stream.readBytes),
    size(stream.writtenBytes),
    amount(stream.reads + stream.writes),
    amount(stream.messages),
    amount(stream.faults),
  ]);
  const shared = domains.filter(({ streamIds }) => streamIds.length > 1);
  return html`
    <section>
      <h2>Streams</h2>
      <div class="panel">
    ${table(
      [
        "StreamID",
        "PCI address",
        "Configuration",
        "#Read",
        "#Written",
        "#Transfers",
        "#Messages",
        "#Faults",
      ],
      rows,
    )}
    ${streamsLeftOut > 0
      ? html`<p class="quiet">And ${counted(streamsLeftOut, "stream")} more.</p>`
      : ""}
    ${shared.map(({ asid, streamIds }) =>
      html`<p class="quiet">Streams ${streamIds.map(hex).join(", ")} share ASID ${asid}.</p>`
    )}
      </div>
    </section>
  `;
}

function commands({ commands, invalidations, summary, prodWrites }: Analysis): Html {
  const most = Math.max(...commands.map(({ count }) => count), 1);
  const rows = commands.map(({ name, count, perSecond }): Part[] => [
    html`<code>${name}</code>`,
    amount(count),
    amount(perSecond),
    bar(count / most),
  ]);
  const scopes = invalidations.map(({ name, count, ranges, pages }): Part[] => [
    html`<code>${name}</code>`,
    amount(count),
    amount(ranges),
    pages === 0 ? "everything it names" : amount(pages),
  ]);
  const { readsPerSync, writesPerSync } = summary.mmio;
  return html`
    <section>
      <h2>Commands</h2>
      <div class="columns">
        <div class="panel"><h3>By name</h3>${table(["Command", "#Count", "#A second", ""], rows)}
    <p class="quiet">${amount(prodWrites)} writes of CMDQ_PROD; for each CMD_SYNC ${amount(
      readsPerSync,
    )} reads and ${amount(writesPerSync)} writes of CMDQ_CONS and CMDQ_PROD. ${counted(
      summary.commandErrors,
      "command",
    )} refused.</p></div>
        <div class="panel"><h3>TLB invalidations</h3>${table([
          "Command",
          "#Count",
          "#By range",
          "#Pages of 4 KiB",
        ], scopes)}</div>
      </div>
    </section>
  `;
}

function histograms({ histograms }: Analysis): Html {
  return html`
    <section>
      <h2>How much, how often</h2>
      <div class="flow">${HISTOGRAMS.filter(({ key }) => histograms[key].count > 0).map((
        { key, title, unit },
      ) =>
        html`<div class="panel"><h3>${title}</h3>${
          histogramChart(title, histograms[key], unit)
        }</div>`
      )}</div>
    </section>
  `;
}

function device({ registers, features, summary }: Analysis): Html {
  const { translations, events, eventsDropped, interrupts } = summary;
  const counts: [string, Part][] = [
    ["TLB hits", amount(translations.tlbHits)],
    ["Walks", amount(translations.walks)],
    ["Bypassed", amount(translations.bypass)],
    ["Faulted", amount(translations.faults)],
    ...Object.entries(events).map(([name, count]): [string, Part] => [name, amount(count)]),
    ["Events dropped", amount(eventsDropped)],
    ["Interrupts of the SMMU", amount(interrupts)],
  ];
  return html`
    <section>
      <h2>Device</h2>
      <div class="columns">
        <div class="panel"><h3>Registers</h3>${table(
          ["Register", "#Reads", "#Writes"],
          [...registers].sort((a, b) => b.reads + b.writes - a.reads - a.writes).map((
            { name, reads, writes },
          ) => [html`<code>${name}</code>`, amount(reads), amount(writes)]),
        )}</div>
        <div class="panel"><h3>Pages translated, and events</h3>${table(
          ["What", "#Count"],
          counts,
        )}</div>
        <div class="panel"><h3>Features</h3>${table(
          ["Feature", "#Value"],
          Object.entries(features).map((
            [name, value],
          ) => [html`<code>${name}</code>`, String(value)]),
        )}</div>
      </div>
    </section>
  `;
}
