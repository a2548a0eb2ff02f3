/** The page's style. Differences are coloured from orange to blue, which all kinds of colour vision tell apart. */
export const style = `
:root {
  color-scheme: light dark;
  --paper: #fff; --raised: #f7f7f5; --ink: #1b1d20; --faint: #585e66; --line: #dfe1e4; --accent: #0f5b9e; --bad: #a8301c; --warn: #7a5200;
  --n4: #efa55c; --n3: #f6c795; --n2: #fadfc0; --n1: #fdf1e2; --p1: #e8f1fa; --p2: #cde2f6; --p3: #a5ccef; --p4: #78b2e6;
  --s0: #0f62a8; --s1: #c2570c; --s2: #2f7d4f; --s3: #8a4fa3; --s4: #7a6a00; --s5: #b3386b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --raised: #1d2024; --ink: #e7e8ea; --faint: #a4aab2; --line: #33373d; --accent: #8fc1f2; --bad: #f2937f; --warn: #e3b860;
    --n4: #85530f; --n3: #633f16; --n2: #46311b; --n1: #2d251b; --p1: #1b2530; --p2: #1c344c; --p3: #1b4670; --p4: #1b5a93;
    --s0: #6cb2f5; --s1: #f0995a; --s2: #6cc592; --s3: #c79ade; --s4: #d3c14e; --s5: #ee86b0;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header, main, footer { max-width: 74rem; margin: 0 auto; padding: 0 1.5rem; }
.broad { max-width: 120rem; }
header { padding-top: 3rem; }
.brand { margin: 0; color: var(--faint); font-size: .875rem; letter-spacing: .02em; }
h1 { margin: .1rem 0 .3rem; font-size: 2.1rem; line-height: 1.15; letter-spacing: -.02em; font-weight: 650; overflow-wrap: anywhere; }
.lead { margin: .8rem 0; font-size: 1.1rem; max-width: 50rem; overflow-wrap: anywhere; }
[data-part=findings] section { margin-top: 1.6rem; }
h2 { margin: 0 0 1rem; font-size: 1.3rem; letter-spacing: -.01em; font-weight: 650; }
h4 { margin: 0 0 .2rem; font-size: .9rem; font-weight: 650; }
h3 { margin: 2rem 0 .6rem; font-size: 1rem; font-weight: 650; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; }
section { margin: 3rem 0; }
a { color: var(--accent); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.about { font-size: 1.1rem; color: var(--faint); overflow-wrap: anywhere; }
.faint { color: var(--faint); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
[hidden] { display: none !important; }
.live { display: inline-flex; align-items: center; gap: .5rem; margin-top: .5rem; font-size: .875rem; color: var(--faint); }
.live::before { content: ""; width: .6rem; height: .6rem; border-radius: 50%; background: var(--s2); }
.live.lost::before { background: var(--bad); }

.progress { padding: 1rem 1.2rem; background: var(--raised); border-radius: 10px; }
.progress progress { width: 100%; height: .5rem; accent-color: var(--accent); }
.progress ul { margin: .5rem 0 0; padding-left: 1.2rem; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }

.findings { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: 1rem; margin: 1.6rem 0 0; padding: 0; list-style: none; }
.findings > li { padding: 1rem 1.2rem 1.1rem; border: 1px solid var(--line); border-radius: 10px; }
.findings h3 { margin: 0; font-size: 1rem; }
.findings p { margin: .2rem 0; font-size: .9rem; }
.findings .big { margin-top: .8rem; font-size: 1.45rem; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.findings .big small { display: block; margin-top: .15rem; font-size: .9rem; font-weight: 400; letter-spacing: 0; color: var(--faint); }
.tag { display: inline-block; padding: 0 .45rem; border-radius: 5px; color: var(--ink); font-variant-numeric: tabular-nums; }

.tools { display: flex; flex-wrap: wrap; gap: .7rem 1.2rem; align-items: end; margin-bottom: 1rem; }
.tools label { display: grid; gap: .2rem; font-size: .8rem; color: var(--faint); }
input, select, button { font: inherit; color: inherit; }
input, select { min-width: 0; padding: .4rem .7rem; border: 1px solid var(--faint); border-radius: 7px; background: var(--paper); color: var(--ink); }
input { width: 17rem; max-width: 100%; }
.tools output { font-size: .875rem; color: var(--faint); padding-bottom: .5rem; }
.legend { margin: .2rem 0 1rem; font-size: .8rem; color: var(--faint); }
.legend p { max-width: none; }
.legend .strip { display: flex; flex-wrap: wrap; gap: .2rem .7rem; align-items: center; }
.legend ol { display: flex; flex-wrap: wrap; margin: 0; padding: 0; list-style: none; }
.legend li { padding: .15rem .55rem; color: var(--ink); font-variant-numeric: tabular-nums; }
.legend li:first-child { border-radius: 5px 0 0 5px; } .legend li:last-child { border-radius: 0 5px 5px 0; }

.wide { position: relative; overflow: auto; max-height: 85vh; border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; font-size: .925rem; }
.matrix { width: 100%; } .wide.fit { width: fit-content; max-width: 100%; } .plain tbody th { font-weight: 400; } .plain :is(th, td) { padding: .35rem .8rem; } .plain .long { min-width: 12rem; white-space: normal; }
th, td { padding: .55rem .8rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
tbody th, thead th:first-child, tfoot th { text-align: left; }
tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--paper); white-space: normal; overflow-wrap: anywhere; min-width: 8.5rem; max-width: 16rem; }
thead th { position: sticky; top: 0; z-index: 2; background: var(--raised); }
thead th:first-child { z-index: 3; background: var(--raised); }
tfoot th, tfoot td { background: var(--raised); border: 0; font-size: .92em; }
tfoot tr > :first-child { background: var(--raised); }
tbody tr:last-child > * { border-bottom-color: var(--line); }
table.plain tr:last-child > * { border-bottom: 0; }
.matrix td { padding: 0; border-left: 1px solid var(--line); }
.matrix td > a, .matrix td > span.none { display: block; padding: .5rem .8rem; min-height: 3.6rem; color: inherit; text-decoration: none; }
.matrix td > a:hover { box-shadow: inset 0 0 0 2px var(--accent); }
.matrix td > a:focus-visible { outline-offset: -2px; }
.matrix tfoot td { padding: .5rem .8rem; white-space: normal; overflow-wrap: anywhere; }
.matrix thead th:not(:first-child) { border-left: 1px solid var(--line); min-width: 7.5rem; white-space: normal; }
.compared td { min-width: 8.2rem; white-space: normal; overflow-wrap: anywhere; }
.mean { font-weight: 600; } .deviation { font-size: .85em; } .matrix :is(.mean, .deviation, .cost) { white-space: nowrap; overflow-wrap: normal; }
.by { display: block; }
.second { display: block; font-size: .85em; }
.reason { display: block; max-width: 13rem; margin-left: auto; font-size: .8em; white-space: normal; overflow-wrap: anywhere; color: var(--faint); }
td[class] .reason, .d-4 .reason, .d4 .reason { color: inherit; }
.failed .status { color: var(--bad); font-weight: 600; }
.none-yet .status, .na .status { color: var(--faint); }
.na { background: repeating-linear-gradient(-45deg, transparent 0 7px, var(--raised) 7px 12px); }
td.dim > * { visibility: hidden; }
button.sort { display: inline; padding: 0; border: 0; background: none; font-weight: 600; text-align: inherit; cursor: pointer; white-space: normal; overflow-wrap: anywhere; }
button.sort::after { content: " ↕" / ""; color: var(--faint); font-weight: 400; }
[aria-sort=descending] button.sort::after { content: " ↓" / ""; color: var(--accent); }
[aria-sort=ascending] button.sort::after { content: " ↑" / ""; color: var(--accent); }
th > a { display: block; font-weight: 400; font-size: .85em; }
.d-4 { background: var(--n4); } .d-3 { background: var(--n3); } .d-2 { background: var(--n2); } .d-1 { background: var(--n1); }
.d1 { background: var(--p1); } .d2 { background: var(--p2); } .d3 { background: var(--p3); } .d4 { background: var(--p4); }
.d0 { background: var(--raised); }

details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); width: fit-content; }
details ul, details dl { margin-top: .6rem; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .3rem 1.2rem; margin: 0; font-size: .925rem; font-variant-numeric: tabular-nums; }
dt { color: var(--faint); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
.how dl { grid-template-columns: minmax(6rem, max-content) minmax(0, 44rem); }
.warnings { padding-left: 1.2rem; font-size: .925rem; overflow-wrap: anywhere; }
.warnings li { margin: .25rem 0; }
.good { color: var(--ink); } .good::before { content: "✓ " / ""; color: var(--s2); } .not-good::before { content: "✗ " / ""; color: var(--bad); }
.charts { display: grid; gap: 1.2rem; }
figure { position: relative; width: fit-content; max-width: 100%; margin: 0; padding: 1rem; border: 1px solid var(--line); border-radius: 10px; min-width: 0; }
figure .paper { overflow-x: auto; background: #fff; color: #1b1d20; border-radius: 6px; }
figure img { display: block; }
.vg-tooltip { position: fixed; visibility: hidden; z-index: 5; padding: .4rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: var(--paper); font-size: .8rem; pointer-events: none; }
.vg-tooltip.visible { visibility: visible; }
.vg-tooltip td { padding: .1rem .3rem; border: 0; } .vg-tooltip .key { color: var(--faint); }
footer { padding-bottom: 3rem; font-size: .875rem; color: var(--faint); }

dialog { width: min(62rem, calc(100vw - 2rem)); max-height: calc(100vh - 3rem); padding: 0; border: 1px solid var(--line); border-radius: 14px; background: var(--paper); color: var(--ink); overflow: auto; overscroll-behavior: contain; }
dialog::backdrop { background: rgb(0 0 0 / .45); }
.sheet { padding: 1.5rem 1.8rem 2rem; }
.sheet h2 { margin: 0 3rem .2rem 0; overflow-wrap: anywhere; }
.sheet section { margin: 2rem 0 0; }
.sheet section h3 { margin-top: 0; }
.close { position: sticky; top: .8rem; float: right; z-index: 4; width: 2.4rem; height: 2.4rem; margin: .8rem .8rem 0 0; border: 1px solid var(--line); border-radius: 50%; background: var(--paper); cursor: pointer; line-height: 1; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem 1.2rem; }
.curves svg { display: block; width: 100%; height: auto; }
.curves path, .key path { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .axis { stroke: var(--line); stroke-width: 1; }
.curves svg text { font-size: 10px; fill: var(--faint); font-variant-numeric: tabular-nums; }
path.s0 { stroke: var(--s0); } path.s1 { stroke: var(--s1); } path.s2 { stroke: var(--s2); } path.s3 { stroke: var(--s3); } path.s4 { stroke: var(--s4); } path.s5 { stroke: var(--s5); }
circle.s0 { fill: var(--s0); } circle.s1 { fill: var(--s1); } circle.s2 { fill: var(--s2); } circle.s3 { fill: var(--s3); } circle.s4 { fill: var(--s4); } circle.s5 { fill: var(--s5); }
path.dashed { stroke-dasharray: 4 3; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 0 0 .8rem; padding: 0; list-style: none; font-size: .8rem; color: var(--faint); }
.key svg { width: 1.8rem; height: .7rem; margin-right: .4rem; }
.seeds { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 2rem; }
.seeds .warnings, .seeds p { font-size: .85rem; }
.thumbnails { display: grid; grid-template-columns: fit-content(6rem) 1fr; gap: .2rem .7rem; margin: .8rem 0; padding: 0; list-style: none; }
.thumbnails li { display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; align-items: center; }
.thumbnails li > bdi { font-size: .8rem; overflow-wrap: anywhere; }
.thumbnails div { display: grid; grid-template-columns: repeat(10, minmax(0, 36px)); gap: 3px; }
.thumbnails img { width: 100%; height: auto; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated; border-radius: 2px; background: var(--raised); }
.share { margin: 0 0 .6rem; font-size: .85rem; color: var(--faint); }
.copy { padding: .15rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: var(--raised); color: var(--accent); cursor: pointer; }
.share output { overflow-wrap: anywhere; }
.other td:not(.na) { background: none; } .other :is(.second, .cost, tfoot) { display: none; } .legend.other .strip { display: none; }
#choice select { max-width: 22rem; }
#pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, max-content)); gap: .7rem; max-height: 32rem; overflow: auto; }
#pictures.pairs { grid-template-columns: repeat(auto-fill, minmax(9.4rem, max-content)); }
#pictures figure { display: flex; flex-wrap: wrap; gap: 3px; width: auto; padding: .35rem; border-radius: 6px; }
#pictures img { flex: 0 0 auto; width: 64px; height: 64px; object-fit: contain; image-rendering: pixelated; border-radius: 2px; background: var(--raised); }
#pictures figcaption { flex: 0 0 100%; font-size: .72rem; color: var(--faint); overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.compare { max-width: 100%; height: auto; border-radius: 6px; }

@media (max-width: 40rem) {
  body { font-size: 15px; }
  header, main, footer { padding-left: 1rem; padding-right: 1rem; }
  header { padding-top: 1.6rem; } section { margin: 2.2rem 0; } h1 { font-size: 1.7rem; }
  .tools label { flex: 1 1 100%; } .legend li { padding: .15rem .35rem; } input, select { width: 100%; }
  .wide { margin: 0 -.5rem; } tr > :first-child { min-width: 5.2rem; max-width: 5.9rem; } th, td { padding: .5rem .6rem; }
  .matrix { font-size: .72rem; } .matrix :is(th, td) { padding: .35rem .3rem; } .matrix td { padding: 0; }
  .matrix thead th:not(:first-child) { min-width: 2.5rem; max-width: 4rem; padding: .35rem .1rem; vertical-align: bottom; text-align: center; }
  .matrix thead th:not(:first-child) .sort { display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg); max-height: 11rem; text-align: left; }
  .matrix thead :is(.who, .deviation, .cost), .matrix td .reason { display: none; }
  .matrix td > a, .matrix td > span.none { min-height: 2.9rem; padding: .35rem .1rem; text-align: center; }
  .matrix td .deviation { display: block; font-size: .8em; } .matrix tfoot td { padding: .35rem .1rem; text-align: center; }
  .matrix tfoot .by { max-height: 11rem; margin: 0 auto .2rem; writing-mode: vertical-rl; transform: rotate(180deg); }
  #pictures:not(.pairs) { grid-template-columns: repeat(auto-fill, minmax(4.9rem, max-content)); } #choice label { flex: 1 1 40%; }
  dialog { width: 100vw; max-width: 100vw; max-height: 100dvh; height: 100dvh; margin: 0; border: 0; border-radius: 0; }
  .sheet { padding: 1.2rem 1rem 2rem; }
  dl { grid-template-columns: minmax(6rem, 40%) 1fr; } .how dl { grid-template-columns: 1fr; gap: .1rem; } .how dd { margin-bottom: .6rem; }
}
@page { margin: 12mm; }
@media print {
  :root { color-scheme: light; --line: #bbb; }
  body { font-size: 11pt; } header, main, footer { max-width: none; padding: 0; } header { padding-top: 0; }
  .tools, .close, .share, .live, noscript, button.sort::after { display: none; }
  .matrix { font-size: 8.5pt; } .matrix :is(th, td), .matrix td > a, .matrix tfoot td { padding: .2rem; min-width: 0; white-space: normal; }
  .matrix thead th:not(:first-child) { min-width: 0; } tr > :first-child { min-width: 4rem; }
  #pictures { max-height: none; overflow: visible; }
  body:has(dialog[open]) > :is(header, main) { display: none; }
  dialog { position: static; width: auto; max-width: none; max-height: none; border: 0; overflow: visible; }
  .wide { overflow: visible; max-height: none; border: 0; }
  thead th, tr > :first-child { position: static; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  section, tr, figure { break-inside: avoid; } section.all { break-inside: auto; }
}
`;
