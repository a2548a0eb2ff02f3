import { whole } from '../../core/text.js';
import { type Curves, colours, curveSvg, type Line } from './curves.js';
import type { Detail, SeedTable } from './details.js';
import type { Fact } from './facts.js';
import { html, type Markup, name } from './markup.js';
import type { RunImages, Thumbnail } from './run.js';

/** What opens from a cell of the matrix, or from a teacher. */
export const detailView = ({ title, subtitle, facts, seeds, curves, images, params, warnings }: Detail): Markup => html`
<button type="button" class="close" aria-label="close">✕</button>
<div class="sheet">
  <p class="share"><button type="button" class="copy">Copy the link to this</button> <output></output></p>
  <h2 id="detail-title">${name(title)}</h2>
  <p class="faint">${name(subtitle)}</p>
  <section>${factsView(facts)}</section>
  ${warnings.length > 0 && html`<section><h3>Warnings</h3><ul class="warnings">${warnings.map((each) => html`<li>${name(each)}</li>`)}</ul></section>`}
  ${images.length > 0 && html`<section><h3>Synthesised images</h3><div class="seeds">${images.map(imagesView)}</div></section>`}
  ${seeds.head.length > 0 && seedsView(seeds)}
  ${curves.map(curvesView)}
  ${params.map(({ of, params: own }) => html`<section><h3>Parameters of ${name(of)}</h3>${factsView(own)}</section>`)}
</div>`;

export const factsView = (facts: readonly Fact[]): Markup =>
  html`<dl>${facts.map(([title, value]) => html`<dt>${name(title)}</dt><dd>${name(value)}</dd>`)}</dl>`;

const seedsView = ({ head, lines }: SeedTable): Markup => html`
<section><h3>By seed</h3><div class="wide fit" role="region" aria-label="numbers by seed" tabindex="0"><table class="plain">
<thead><tr><th scope="col">seed</th>${head.map((seed) => html`<th scope="col">${name(seed)}</th>`)}</tr></thead>
<tbody>${lines.map(
  ({ title, describe, values }) =>
    html`<tr><th scope="row"${describe !== undefined && html` title="${describe}"`}>${name(title)}</th>${values.map((value) => html`<td>${name(value)}</td>`)}</tr>`,
)}</tbody></table></div></section>`;

const curvesView = ({ fit, curves }: Curves): Markup => {
  const lines = new Map<string, Line>(curves.flatMap(({ lines: own }) => own.map((line) => [line.label, line])));
  return html`<section><h3>${fit === '' ? 'Training' : html`Training of ${name(fit)}`}</h3>
<ul class="key">${[...lines.values()].map(
    ({ label, colour, dashed }) =>
      html`<li><svg viewBox="0 0 28 10" aria-hidden="true"><path class="s${colour % colours}${dashed && ' dashed'}" d="M1 5H27"/></svg>${name(label)}</li>`,
  )}</ul>
<div class="curves">${curves.map((curve) => html`<div><h4>${name(curve.metric)}</h4>${curveSvg(curve)}</div>`)}</div></section>`;
};

const percent = (probability: number): string => `${Math.round(100 * probability)} %`;

const said = ({ label, teacher, verifier }: Thumbnail, classes: readonly string[]): string =>
  [
    `made for ${classes[label]}`,
    ...(Number.isFinite(teacher) ? [`victim ${percent(teacher)} sure`] : []),
    ...(verifier === undefined ? [] : [`another net: ${classes[verifier.label]}, ${percent(verifier.probability)}`]),
  ].join('; ');

const imagesView = ({ file, thumbnails, compare, links }: RunImages): Markup => {
  const rows = file.classes
    .map((label, index) => ({ label, own: thumbnails.filter((each) => each.label === index) }))
    .filter(({ own }) => own.length > 0);
  return html`<div><h4>seed ${name(file.seed)}</h4>
<p class="faint">${whole(thumbnails.length)} of ${whole(file.count)}, by the class they were made for.</p>
<ul class="thumbnails">${rows.map(
    ({ label, own }) =>
      html`<li>${name(label)}<div>${own.map((image) => {
        const text = said(image, file.classes);
        const { place, label, teacher, verifier, width, height, source } = image;
        return html`<img loading="lazy" width="${width}" height="${height}" src="${source}" alt="${text}" title="${text}" data-seed="${file.seed}" data-place="${place}" data-label="${label}"${
          Number.isFinite(teacher) && html` data-teacher="${teacher}"`
        }${verifier !== undefined && html` data-verifier="${verifier.label}"`}>`;
      })}</div></li>`,
  )}</ul>
${
  compare !== undefined &&
  html`<p>The same labels and noise on the undefended teacher and on this one:</p><img class="compare" loading="lazy" width="${compare.width}" height="${compare.height}" src="${compare.source}" alt="images of the undefended teacher and of ${file.defense}, side by side">`
}
${
  links.length > 0 &&
  html`<p class="faint">In the run's folder: ${links.map(
    ([title, address], i) => html`${i > 0 && ', '}<a href="${address}">${title}</a>`,
  )}.</p>`
}
<ul class="warnings">${file.diagnostics.map(({ sentence, warning, describe }) => html`<li${describe !== undefined && html` title="${describe}"`}>${warning && '⚠ '}${name(sentence)}</li>`)}</ul></div>`;
};
