import { unique } from '../../core/lists.js';
import { counted, signed } from '../../core/text.js';
import { detailView, factsView } from './detail-view.js';
import type { Fact } from './facts.js';
import type { Finding } from './findings.js';
import { drawing, html, jsonInScript, type Markup, name, packedInScript } from './markup.js';
import type { Column, Page, Pool, Progress, Row, Shown, Table } from './model.js';
import type { Compared, Reproduction } from './reproduction.js';
import type { DrawnChart } from './run.js';
import { classOf, legend } from './scale.js';

/**
 * The body of a run's page. What may change while a run goes on lies in parts (`data-part`), which the page's script
 * replaces; the details of each cell are packed text that becomes a document when the cell is opened.
 */
export const bodyView = (page: Page, { live }: { readonly live: boolean }): Markup => html`
<header>
  <p class="brand">undistill report</p>
  <h1>${name(page.title)}</h1>
  ${part('about', page.about !== '' && html`<p class="about">${name(page.about)}</p>`)}
  ${live && html`<p class="live" role="status">live: follows the run</p>`}
</header>
<main>
  ${part('progress', page.progress && progressView(page.progress))}
  ${part('findings', findingsView(page))}
  ${part('matrix', matrixView(page))}
  <section class="how"><h2>How to read it</h2>${part('how', howView(page))}</section>
  ${part('pictures', page.pools.length > 0 && picturesView(page.pools))}
  ${part('charts', page.charts.length > 0 && chartsView(page.charts))}
  ${part('reproduction', page.reproduction && reproductionView(page.reproduction))}
  ${part('warnings', page.warnings.length > 0 && warningsView(page.warnings))}
  ${part('provenance', page.provenance.length > 0 && provenanceView(page))}
</main>
<dialog aria-labelledby="detail-title"></dialog>
<noscript><p class="faint">With scripts the tables can be sorted, and cells open.</p></noscript>
${part(
  'details',
  inPacks(page.details).map(
    (pack) =>
      html`<script type="text/plain" data-details="${pack.map(({ id }) => id).join(' ')}">${packedInScript(
        Object.fromEntries(pack.map((detail) => [detail.id, detailView(detail).text])),
      )}</script>`,
  ),
)}`;

/** So many details are packed together: what is alike in them takes its room once. */
const inPack = 16;

const inPacks = <A>(all: readonly A[]): readonly (readonly A[])[] =>
  Array.from({ length: Math.ceil(all.length / inPack) }, (_, i) => all.slice(i * inPack, (i + 1) * inPack));

const part = (title: string, content: Parameters<typeof html>[1]): Markup =>
  html`<div data-part="${title}">${content}</div>`;

const progressView = ({ finished, of, begun }: Progress): Markup => html`
<section class="progress" aria-labelledby="progress-title">
  <h2 class="hidden" id="progress-title">Progress</h2>
  <p><strong>${finished} of ${counted(of, 'stage')}</strong> ${finished === 1 ? 'is' : 'are'} finished. What is not is shown as “not run”.</p>
  <progress max="${of}" value="${finished}" aria-labelledby="progress-title"></progress>
  ${begun.length > 0 && html`<ul>${begun.map((text) => html`<li>${name(text)}</li>`)}</ul>`}
</section>`;

/* What came out */

/** Defences that are shown at once. */
const mostCards = 8;

const findingsView = ({ lead, conclusions, findings }: Page): Markup => html`
<section aria-labelledby="findings-title">
  <h2 class="hidden" id="findings-title">What came out</h2>
  <p class="lead">${name(lead.join(' '))}</p>
  ${conclusions.map((sentence) => html`<p class="lead">${name(sentence)}</p>`)}
  ${findings.length > 0 && html`<ul class="findings">${findings.slice(0, mostCards).map(findingView)}</ul>`}
  ${
    findings.length > mostCards &&
    html`<details><summary>${counted(findings.length - mostCards, 'more defence')}</summary><ul class="findings">${findings
      .slice(mostCards)
      .map(findingView)}</ul></details>`
  }
</section>`;

const findingView = ({ defense, teacher, answers, attacks }: Finding): Markup => html`
<li><h3>${name(defense)}</h3><p class="faint">${teacher}</p>${answers && html`<p class="faint">${answers}</p>`}
${attacks.map(
  ({ student, attack, accuracy, difference, sentence, verdict }) => html`
  <p class="big">${accuracy} <small>best attack: ${name(attack)}${student !== undefined && html`, student ${name(student)}`}</small></p>
  ${sentence !== '' && html`<p><span class="tag ${classOf(difference)}">${sentence}</span></p>`}
  ${verdict !== undefined && html`<p>${verdict}</p>`}`,
)}
${attacks.length === 0 && html`<p class="faint">No attack on it has a number.</p>`}</li>`;

/* The matrix */

const matrixView = ({ tables, shifts }: Page): Markup => html`
<section class="all" aria-labelledby="matrix-title">
  <h2 id="matrix-title">Attacks on defences</h2>
  ${
    tables.length === 0
      ? html`<p>There is no cell to show.</p>`
      : html`
  <div class="tools">
    <label>Filter by attack or defence<input type="search" id="filter" autocomplete="off" spellcheck="false"></label>
    ${
      tables.length > 1 &&
      html`<label>Student<select id="student"><option value="">all</option>${tables.map(
        ({ student }) => html`<option value="${student}">${student}</option>`,
      )}</select></label>`
    }
    ${
      shifts.length > 0 &&
      html`<label>Number<select id="number"><option value="">accuracy, %</option>${shifts.map(
        ({ name: of, heading }) => html`<option value="${of}">${heading}</option>`,
      )}</select></label>`
    }
    <output id="count" for="filter"></output>
  </div>
  ${legendView}
  ${tables.map(tableView)}
  <script type="application/json" id="numbers">${jsonInScript(shifts)}</script>`
  }
</section>`;

const legendView = html`
<div class="legend">
<p id="shown">Accuracy in %, and below it the difference in points to the same student trained alone. A cell opens its details.</p>
<div class="strip"><span>worse: the defence holds</span><ol>${legend.map(
  ({ step, label }) => html`<li class="d${step}">${label}</li>`,
)}</ol><span>better: the attack pays</span></div></div>`;

const tableView = ({ student, columns, rows, best }: Table): Markup => html`
<div data-student="${student}">
  <h3>student ${name(student)}</h3>
  <div class="wide" role="region" aria-label="attacks on defences, student ${student}" tabindex="0">
    <table class="matrix">
      <thead><tr><th scope="col" aria-sort="none">${sortButton(0, 'attack')}</th>${columns.map(columnView)}</tr></thead>
      <tbody>${rows.map((row, i) => rowView(row, columns, i))}</tbody>
      ${
        best.some((each) => each !== undefined) &&
        html`<tfoot><tr><th scope="row">best attack</th>${best.map(
          (each) =>
            html`<td>${each !== undefined && html`<span class="by">${name(each.attack)}</span> <span class="mean">${each.mean}</span>`}</td>`,
        )}</tr></tfoot>`
      }
    </table>
  </div>
</div>`;

const sortButton = (index: number, label: string): Markup =>
  html`<button type="button" class="sort" data-column="${index}"><span class="hidden">sort by </span>${name(label)}</button>`;

const columnView = (column: Column, index: number): Markup => html`
<th scope="col" aria-sort="none">${sortButton(index + 1, column.label)}<a href="#${column.id}"><span class="who">teacher </span>${
  column.mean === undefined
    ? column.status
    : html`<span class="mean">${column.mean}</span> <span class="deviation">${column.deviation}</span>${
        column.difference !== undefined &&
        column.difference !== 0 &&
        html`<span class="cost"> (${signed(column.difference)})</span>`
      }`
}</a></th>`;

const rowView = ({ label, cells }: Row, columns: readonly Column[], index: number): Markup => html`
<tr data-row="${index}"><th scope="row">${name(label)}</th>${cells.map((cell, i) => cellView(cell, label, columns[i]?.label ?? ''))}</tr>`;

const looks: Readonly<Record<Shown['status'], string>> = {
  done: '',
  'n/a': 'na',
  failed: 'failed',
  'not run': 'none-yet',
};

const cellView = (cell: Shown | undefined, attack: string, defense: string): Markup => {
  if (cell === undefined) return html`<td><span class="none"></span></td>`;
  const { id, status, mean, deviation, value, difference, reason } = cell;
  const look = mean === undefined ? looks[status] : classOf(difference);
  const said =
    mean === undefined
      ? html`<span class="status">${status === 'failed' && '✗ '}${status}</span>`
      : html`<span class="mean">${mean}</span>${deviation !== undefined && html` <span class="deviation">${deviation}</span>`}${
          difference !== undefined && html`<span class="second">${signed(difference)}</span>`
        }`;
  return html`<td${look !== '' && html` class="${look}"`}${value !== undefined && html` data-value="${value}"`}><a href="#${id}">${said}${
    reason !== undefined && html`<span class="reason">${reason}</span>`
  }<span class="hidden">, ${attack} on ${defense}</span></a></td>`;
};

/* What else there is */

const words: readonly Fact[] = [
  ['attack', 'a way to train a student from the answers, or the weights, of somebody else’s teacher'],
  ['defence', 'what the teacher’s owner does so that this works badly; “none” is an ordinary teacher'],
  [
    'baseline',
    'the same student net trained honestly on the same images, without the teacher: what stealing must beat',
  ],
  ['n/a', 'the attack needs more than the defence gives out'],
  ['a cell', 'opens: its seeds, training curves, images, parameters and warnings'],
];

const howView = ({ notes, glossary }: Page): Markup => html`
${factsView(words)}
${notes.length > 0 && html`<ul class="warnings">${notes.map((note) => html`<li>${name(note)}</li>`)}</ul>`}
${glossary.length > 0 && html`<details><summary>What each number tells</summary>${factsView(glossary)}</details>`}`;

/** The images lie in the details of their cells, out of which the page's script takes those that are chosen. */
const picturesView = (pools: readonly Pool[]): Markup => {
  const called = ({ attack, defense, student, seed }: Pool): string =>
    `${attack} on ${defense}, student ${student}, seed ${seed}`;
  const options = pools.map((pool, i) => html`<option value="${i}">${called(pool)}</option>`);
  const classes = unique(pools.flatMap((pool) => pool.classes));
  return html`
<section class="all" aria-labelledby="pictures-title"><h2 id="pictures-title">Synthesised images</h2>
<p>What attacks made to learn from. Two pools of one attack have at the same place images that were begun with the same class and the same noise.</p>
<div class="tools" id="choice">
  <label>Pool<select id="pool">${options}</select></label>
  <label>Beside it<select id="other"><option value="">nothing</option>${options}</select></label>
  <label>Class<select id="class"><option value="">all</option>${classes.map((each) => html`<option value="${each}">${each}</option>`)}</select></label>
  <label>Victim at least this sure<select id="sure"><option value="">any</option>${[10, 50, 90, 99].map((share) => html`<option value="${share / 100}">${share} %</option>`)}</select></label>
  <label>Another net<select id="verifier"><option value="">says anything</option><option value="agrees">agrees</option><option value="differs">says another class</option></select></label>
  <output id="pictured" for="pool other class sure verifier"></output>
</div>
<div id="pictures" role="region" aria-label="chosen images" tabindex="0"></div>
<noscript><p class="faint">With scripts the images are shown here; without, they lie in the run's folder.</p></noscript>
<script type="application/json" id="pools">${jsonInScript(pools)}</script></section>`;
};

const chartsView = (charts: readonly DrawnChart[]): Markup => html`
<section class="all" aria-labelledby="charts-title"><h2 id="charts-title">Charts</h2>
<div class="charts">${charts.map(
  ({ title, description, spec, svg }) => html`
  <figure><figcaption class="hidden">${name(title)}</figcaption>
  <div class="paper" role="region" aria-label="${title}" tabindex="0">${
    svg !== undefined && drawing(svg, description)
  }</div>
  <script type="application/json" data-chart="${description}">${jsonInScript(spec)}</script></figure>`,
)}</div></section>`;

const reproductionView = ({ source, reduced, numbers, effects }: Reproduction): Markup => html`
<section aria-labelledby="reproduction-title"><h2 id="reproduction-title">Beside the paper</h2>
<p>${name(source)}.</p>
${reduced !== undefined && html`<p>This setting is smaller than the paper’s: ${name(reduced)}.</p>`}
${numbers.length > 0 && comparedView('Numbers', numbers)}
${effects.length > 0 && comparedView('Differences', effects)}
</section>`;

const comparedView = (title: string, all: readonly Compared[]): Markup => {
  const judged = all.some(({ verdict }) => verdict !== undefined);
  return html`<h3>${title}</h3><div class="wide fit" role="region" aria-label="${title} beside the paper's" tabindex="0"><table class="plain">
<thead><tr><th scope="col">what</th><th scope="col">paper</th><th scope="col">ours</th><th scope="col">difference</th>${
    judged && html`<th scope="col">verdict</th>`
  }</tr></thead>
<tbody>${all.map(
    ({ what, paper, ours, difference, verdict }) =>
      html`<tr><th scope="row">${name(what)}</th><td>${paper}</td><td>${ours}</td><td>${difference}</td>${
        judged &&
        html`<td>${verdict !== undefined && html`<span class="${verdict.good ? 'good' : 'not-good'}">${verdict.text}</span>`}</td>`
      }</tr>`,
  )}</tbody></table></div>`;
};

/** Longer lists are folded up. */
const longList = 8;

const warningsView = (warnings: readonly string[]): Markup => {
  const list = html`<ul class="warnings">${warnings.map((warning) => html`<li>${name(warning)}</li>`)}</ul>`;
  return html`<section class="all" aria-labelledby="warnings-title"><h2 id="warnings-title">Warnings</h2>${
    warnings.length > longList
      ? html`<details><summary>${counted(warnings.length, 'warning')}</summary>${list}</details>`
      : list
  }</section>`;
};

const provenanceView = ({ provenance, files }: Page): Markup => html`
<section aria-labelledby="provenance-title"><h2 id="provenance-title">Made with</h2>
${factsView(provenance)}
${
  files.length > 0 &&
  html`<p class="faint">The numbers as files: ${files.map(
    ({ name: file, address }, i) => html`${i > 0 && ', '}<a href="${address}">${file}</a>`,
  )}.</p>`
}</section>`;
