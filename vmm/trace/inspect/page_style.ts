/**
 * How the page of a trace looks: by light and by dark, on a wide screen and on paper.
 * @module
 */

/** The page's only style sheet. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1b1d21; --soft: #5c626d; --line: #dfe1e5; --faint: #eef0f2;
  --read: #2f6fb2; --write: #c76a12; --count: #5b6b7f; --level: #2b8a66; --bad: #b3201b; --bad-paper: #fdf0ee;
  --good: #1f7a52;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --card: #1d2024; --ink: #e7e9ec; --soft: #9da4af; --line: #363b42; --faint: #262a2f;
    --read: #6aa9ea; --write: #f0a04b; --count: #98a7ba; --level: #57c294; --bad: #ff7b72; --bad-paper: #2c1b1b;
    --good: #57c294;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 40px 40px 80px; max-width: 1400px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 34px; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 48px 0 14px; font-size: 21px; line-height: 1.3; }
h3 { margin: 0 0 8px; font-size: 15px; }
p { margin: 0; }
code, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.92em; }
.over { color: var(--soft); font-size: 14px; }
.meta { margin-top: 8px; color: var(--soft); font-size: 15px; }
.lead { margin-top: 20px; max-width: 60em; font-size: 20px; line-height: 1.45; }
.note { margin-top: 16px; padding: 12px 16px; border-left: 5px solid var(--bad); background: var(--bad-paper); }
.quiet { color: var(--soft); font-size: 14px; }
.good { color: var(--good); font-weight: 600; }
.fault {
  margin: 0 0 18px; padding: 22px 26px; border: 1px solid var(--bad); border-left-width: 7px; border-radius: 8px;
  background: var(--bad-paper);
}
.fault > summary { cursor: pointer; list-style-position: outside; }
.fault .what { display: inline; font-size: 22px; font-weight: 650; line-height: 1.35; }
.fault .why { margin-top: 4px; font-size: 18px; }
.fault .why strong { color: var(--bad); }
.faults > h2 { color: var(--bad); }
dl { display: flex; flex-wrap: wrap; gap: 12px 44px; margin: 18px 0 0; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; font-size: 17px; font-weight: 600; }
.way { display: flex; flex-wrap: wrap; gap: 10px 34px; margin: 18px 0 0; padding: 0; list-style: none; }
.way li {
  position: relative; padding: 10px 14px; border: 1px solid var(--line); border-radius: 6px; background: var(--card);
  font-size: 14px; line-height: 1.45;
}
.way li + li::before { content: "\\2192"; position: absolute; left: -25px; top: 34%; color: var(--soft); font-size: 18px; }
.way li.end { border: 2px solid var(--bad); }
.way b { display: block; font-size: 15px; }
.way li.end b { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; margin-top: 28px; }
.tile { padding: 14px 18px; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
.tile b { display: block; font-size: 25px; line-height: 1.25; }
.tile span { color: var(--soft); font-size: 14px; }
.panel { padding: 18px 20px; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 18px; align-items: start; }
.flow { columns: 3 360px; column-gap: 18px; }
.flow > .panel { break-inside: avoid; margin-bottom: 18px; }
.panel > p.quiet { margin-top: 12px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 15px; }
caption { padding: 0 0 8px; text-align: left; font-weight: 650; }
th { padding: 6px 14px 6px 0; color: var(--soft); font-size: 13px; font-weight: 500; text-align: left; }
td { padding: 7px 14px 7px 0; border-top: 1px solid var(--faint); vertical-align: top; }
th.n, td.n { text-align: right; white-space: nowrap; }
td.keep { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 13px; }
svg text.soft { fill: var(--soft); font-size: 12px; }
svg text.bad { fill: var(--bad); font-size: 13px; font-weight: 650; }
svg text.n { text-anchor: end; }
svg text.mid { text-anchor: middle; }
.read { fill: var(--read); } .write { fill: var(--write); } .count { fill: var(--count); } .level { fill: var(--level); }
.axis { stroke: var(--line); stroke-width: 1; } .grid { stroke: var(--faint); stroke-width: 1; }
.mark { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 3; }
.badmark { stroke: var(--bad); stroke-width: 1.5; } .badfill { fill: var(--bad); }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
@media print { body { max-width: none; padding: 0; } .fault, .panel, .tile { break-inside: avoid; } }
@media (max-width: 700px) { body { padding: 20px 16px; } .columns { grid-template-columns: 1fr; } }
`;
