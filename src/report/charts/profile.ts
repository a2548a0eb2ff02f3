import type { FitProfile } from '../../run/profiling.js';
import { type Chart, fileName, page, palette, withNames } from './chart.js';

const phases = ['forward', 'backward', 'update'] as const;

/** Milliseconds with what a person looks at. */
const milliseconds = (seconds: number): number => Number((1000 * seconds).toPrecision(4));

/** Where a step's time goes, layer by layer: a bar each, forward, backward and the optimiser's. */
export const profileChart = ({ stage, fit, layers, images }: FitProfile): Chart => {
  const title = `A step of ${stage}`;
  const description = `${title}: milliseconds in each layer, forward, backward and in the optimiser.`;
  const nameOf = ({ net, layer }: FitProfile['layers'][number]): string => (net === '' ? layer : `${net}: ${layer}`);
  const shown = layers.filter((layer) => phases.some((phase) => layer[phase] > 0));
  const rows = shown.flatMap((layer) =>
    phases.map((phase, order) => ({ layer: nameOf(layer), phase, order, milliseconds: milliseconds(layer[phase]) })),
  );
  return withNames({
    name: fileName(`${stage}-${fit}`),
    title,
    description,
    spec: {
      ...page,
      title: { text: title, subtitle: `fit ${fit}, ${images} images, operation by operation` },
      description,
      data: { values: rows },
      width: 420,
      height: { step: 16 },
      mark: { type: 'bar' },
      encoding: {
        y: { field: 'layer', type: 'nominal', sort: shown.map(nameOf), title: null, axis: { labelFontSize: 11 } },
        x: { field: 'milliseconds', type: 'quantitative', stack: 'zero', title: 'milliseconds a step' },
        color: {
          field: 'phase',
          type: 'nominal',
          scale: { domain: [...phases], range: [palette[0], palette[1], palette[2]] },
          legend: { title: null, orient: 'top' },
        },
        order: { field: 'order' },
        tooltip: [{ field: 'layer' }, { field: 'phase' }, { field: 'milliseconds' }],
      },
    },
  });
};
