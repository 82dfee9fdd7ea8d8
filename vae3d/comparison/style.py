"""`STYLE`: the style sheet of the page of a comparison."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #fff; --line: #e2e2dd; --text: #1b1d20; --muted: #5f646b;
  --better: #13795b; --worse: #b4431f; --soft: #f1f1ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111316; --card: #191c20; --line: #2b2f35; --text: #e4e6e9; --muted: #9aa1aa;
    --better: #4fc79d; --worse: #f08a62; --soft: #1f2328;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1080px; padding: 36px 20px; background: var(--page);
  color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
.warning {
  margin: 0 0 12px; padding: 8px 14px; border: 1px solid #b7791f; border-left-width: 4px;
  border-radius: 6px; background: var(--card); overflow-wrap: anywhere;
}
h2 { margin: 30px 0 10px; font-size: 19px; font-weight: 650; }
.facts { border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
.facts table { background: var(--card); }
.facts th, .facts td { text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.facts td { min-width: 110px; }
.facts th:first-child { color: var(--muted); font-weight: 400; white-space: nowrap; }
.facts tr.same td { color: var(--muted); }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 14px;
}
figure { margin: 0 0 14px; }
footer { margin-top: 24px; }
figcaption { font-size: 13px; color: var(--muted); margin-bottom: 4px; overflow-wrap: anywhere; }
img { display: block; width: 100%; border-radius: 8px; background: #101216; }
.eyebrow, footer, small, summary, .notes { color: var(--muted); font-size: 13px; }
.eyebrow { margin: 0; }
h1 {
  margin: 2px 0 12px; font-size: clamp(24px, 4vw, 34px); line-height: 1.15;
  letter-spacing: -0.015em; font-weight: 650; overflow-wrap: anywhere;
}
.about { color: var(--muted); max-width: 76ch; margin: 0 0 14px; font-size: 14px; }
ul { margin: 6px 0 14px; padding-left: 20px; overflow-wrap: anywhere; font-size: 13px; }
summary { cursor: pointer; }
main {
  margin: 24px 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow-x: auto;
}
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 5px 14px; text-align: right; vertical-align: middle; font-weight: 400; }
th:first-child { text-align: left; font-weight: 550; }
thead th { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
tr { border-top: 1px solid var(--line); }
thead tr, tr:not(:has(th)) { border-top: 0; }
.pair .run { display: none; }
.group th {
  padding: 18px 14px 6px; color: var(--muted); font-size: 12px; letter-spacing: 0.06em;
  text-transform: uppercase;
}
.group + tr { border-top-color: var(--muted); }
small { display: block; white-space: nowrap; font-weight: 400; }
.difference { white-space: nowrap; }
.scale { width: 26%; min-width: 150px; }
th.scale span { float: left; }
th.scale span + span { float: right; }
svg { display: block; width: 100%; height: 24px; overflow: visible; color: var(--muted); }
.zero { stroke: var(--muted); stroke-opacity: 0.6; }
.range { stroke: currentColor; stroke-width: 3; stroke-linecap: round; stroke-opacity: 0.45; }
.range.thin { stroke-width: 1; }
circle { fill: currentColor; }
.spectra figure {
  margin: 0; padding: 12px 14px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px;
}
.spectra svg { height: auto; max-width: 640px; margin: 0 auto; }
.spectra text { fill: var(--muted); font-size: 10.5px; }
.spectra polyline { fill: none; stroke: var(--series); }
.spectra .axis { stroke: var(--muted); stroke-opacity: 0.7; }
.spectra .grid { stroke: var(--line); }
.spectra polygon { fill: none; }
.spectra circle { fill: var(--series); }
.series-0 { --series: light-dark(#2a63b0, #67a9ff); }
.series-1 { --series: light-dark(#b4431f, #ff9e7a); }
.series-2 { --series: light-dark(#13795b, #66d1a4); }
.series-3 { --series: light-dark(#8a6200, #f0c860); }
.series-4 { --series: light-dark(#7048a8, #c7a0f5); }
.series-5 { --series: light-dark(#a8325c, #ff7ea0); }
.series-6 { --series: light-dark(#12707c, #7ed6df); }
.series-7 { --series: light-dark(#5f6b34, #b0b796); }
.better svg, .better .difference { color: var(--better); }
.worse svg, .worse .difference { color: var(--worse); }
tbody tr:not(.group):hover { background: var(--soft); }
@media (max-width: 680px) {
  body { padding: 22px 12px; }
  main thead, .run { display: none; }
  main tr { display: grid; grid-template-columns: 1fr 1fr 1.5fr; padding: 8px 14px; }
  main th, main td, main th:first-child, .group th { padding: 2px 0; text-align: left; }
  .facts th, .facts td { padding: 4px 10px; }
  tr.group { padding-top: 18px; }
  tr:not(.group) th { grid-column: 1 / 3; }
  tr.group th { grid-column: 1 / -1; }
  th small { display: inline; margin-left: 8px; }
  [data-name]::before {
    content: attr(data-name); display: block; color: var(--muted); font-size: 12px;
    overflow-wrap: anywhere;
  }
  .difference, .count { text-align: right; grid-column: 3; }
  .count { grid-row: 1; }
  tr:not(:has(th)) .count { grid-row: auto; }
  tr:not(:has(th)) [data-name] { grid-column: 1 / 3; }
  .scale { grid-column: 1 / -1; width: auto; order: 1; }
}
@media print { :root { color-scheme: light; } tr { break-inside: avoid; } }
"""
