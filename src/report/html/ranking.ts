import type { Ranking } from '../../results/ranking.js';
import { rankingCharts } from '../charts/ranking.js';
import { svgOf } from '../charts/render.js';
import type { Block } from '../layout.js';
import { mark } from '../numbers.js';
import { rankingLayout } from '../ranking.js';
import { documentOf, policyOf } from './document.js';
import { drawing, html, type Markup, name } from './markup.js';

/** Characters of a cell that is not broken into lines. */
const longest = 40;

const tableOf = ({ title, head, columns, rows }: Block): Markup => html`<section>
<h2>${title}</h2>
<div class="wide fit"><table class="plain">
<thead><tr><th scope="col">${head}</th>${columns.map(
  ({ label, detail }) => html`<th scope="col">${label}<span class="second">${detail}</span></th>`,
)}</tr></thead>
<tbody>${rows.map(
  ({ label, cells }) =>
    html`<tr><th scope="row">${name(label)}</th>${cells.map((cell) => html`<td class="${cell.length > longest ? 'long' : ''}">${cell}</td>`)}</tr>`,
)}</tbody>
</table></div>
</section>`;

/** A ranking as a page that needs nothing but itself. */
export const rankingPage = async (ranking: Ranking): Promise<string> => {
  const { title, blocks, footnotes, notes } = rankingLayout(ranking);
  const drawings = await Promise.all(rankingCharts(ranking).map(async (chart) => ({ chart, svg: await svgOf(chart) })));
  return documentOf(
    title,
    policyOf(),
    html`
<header class="broad"><p class="brand">undistill</p><h1>${title}</h1></header>
<main class="broad">
${blocks.map(tableOf)}
${footnotes.length > 0 && html`<section class="faint">${footnotes.map((note, i) => html`<p>${mark(i + 1)} ${note}</p>`)}</section>`}
${
  drawings.length > 0 &&
  html`<section class="charts">${drawings.map(
    ({ chart, svg }) => html`<figure><div class="paper">${drawing(svg, chart.description)}</div></figure>`,
  )}</section>`
}
<section><h2>How to read it</h2>${notes.map((note) => html`<p>${note}</p>`)}</section>
</main>`,
  );
};
