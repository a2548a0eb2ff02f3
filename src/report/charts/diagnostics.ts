import type { TeacherDiagnostics } from '../../harness/diagnose.js';
import { diagnosticsRows } from '../diagnostics.js';

/** A vega-lite specification with its data, as plain JSON. */
export type Chart = Readonly<Record<string, unknown>>;

/** What a bar is as high as: a logit, its probability, or that softened. */
export type Answer = 'logit' | 'probability' | 'softened';

const titles: Readonly<Record<Answer, string>> = {
  logit: 'logit',
  probability: 'probability',
  softened: 'softened probability',
};

/** More classes than this have no room for their names. */
const named = 30;

/** Colours that are told apart; of more classes a gradient. */
const coloured = 20;

/** Names that are each of one class alone, in label order. */
const namesOf = (classes: readonly string[]): readonly string[] =>
  classes.map((name, i) => (classes.filter((other) => other === name).length === 1 ? name : `${i} ${name}`));

/**
 * Bars of what each teacher answers to single images: an image a row, a teacher a column, a bar a class. Undefined where
 * there are no such images.
 */
export const responsesChart = (of: TeacherDiagnostics, answer: Answer): Chart | undefined => {
  if (of.responses === undefined) return undefined;
  const names = namesOf(of.classes);
  const values = diagnosticsRows(of).responses.map((row) => ({
    image: `${row.label} (${row.image})`,
    teacher: row.defense,
    class: names[row.class] ?? String(row.class),
    value: row[answer],
    right: row.name === row.label ? 'its class' : 'another',
  }));
  const few = of.classes.length <= named;
  const title = answer === 'softened' ? `${titles[answer]}, τ = ${of.responses.temperature}` : titles[answer];
  return {
    data: { values },
    facet: {
      row: { field: 'image', type: 'nominal', sort: null, title: 'image' },
      column: { field: 'teacher', type: 'nominal', sort: null, title: 'teacher' },
    },
    spec: {
      width: Math.min(320, Math.max(160, 18 * of.classes.length)),
      height: 80,
      mark: { type: 'bar' },
      encoding: {
        x: { field: 'class', type: 'nominal', sort: names, title: 'class', axis: few ? {} : null },
        y: { field: 'value', type: 'quantitative', title },
        color: { field: 'right', type: 'nominal', title: null, scale: { range: ['#0072b2', '#999999'] } },
        tooltip: [
          { field: 'class', type: 'nominal' },
          { field: 'value', type: 'quantitative', title },
        ],
      },
    },
  };
};

/** Maps of images by their features and logits: a teacher a column, coloured by class. Undefined where there are none. */
export const mapsChart = (of: TeacherDiagnostics): Chart | undefined => {
  if (of.maps === undefined) return undefined;
  const names = namesOf(of.classes);
  const values = diagnosticsRows(of).maps.map((row) => ({
    of: row.of,
    teacher: row.defense,
    image: row.image,
    class: names[row.class] ?? String(row.class),
    x: row.x,
    y: row.y,
  }));
  const few = names.length <= coloured;
  const place = (field: 'x' | 'y') => ({ field, type: 'quantitative', axis: null });
  return {
    data: { values },
    facet: {
      row: { field: 'of', type: 'nominal', sort: ['features', 'logits'], title: null },
      column: { field: 'teacher', type: 'nominal', sort: null, title: 'teacher' },
    },
    spec: {
      width: 280,
      height: 280,
      mark: { type: 'circle', size: 18, opacity: 0.7 },
      encoding: {
        x: place('x'),
        y: place('y'),
        color: {
          field: 'class',
          type: 'nominal',
          sort: names,
          title: 'class',
          scale: { domain: names, scheme: names.length <= 10 ? 'tableau10' : few ? 'tableau20' : 'sinebow' },
          legend: few ? {} : null,
        },
        tooltip: [
          { field: 'class', type: 'nominal' },
          { field: 'image', type: 'quantitative' },
        ],
      },
    },
    // A map has no units: each fills its place.
    resolve: { scale: { x: 'independent', y: 'independent' } },
  };
};
