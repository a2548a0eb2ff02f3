import * as E from 'fp-ts/lib/Either.js';
import { FailureError } from '../../src/core/errors.js';
import type { Experiment } from '../../src/experiment/experiment.js';
import { sourcesIn } from '../../src/experiment/identity.js';
import { plan, plannedValues } from '../../src/experiment/plan.js';
import { withScale } from '../../src/experiment/scale.js';
import { loadImages } from '../../src/harness/session.js';
import { matrix } from '../../src/results/matrix.js';

const code = { modules: new Map(), experiment: { hash: 'x', files: {} } };

/** All that is made of an experiment before anything is trained. */
export const planned = async (of: Experiment): Promise<void> => {
  const { data: set, others } = await loadImages(of);
  const scaled = withScale(of, 0.5);
  if (E.isLeft(scaled)) throw new FailureError(scaled.left);
  const world = {
    ...{ data: set, others, code, engine: 'tensorflow-cpu' },
    harness: { training: 'x', measuring: 'x' },
  };
  plan(scaled.right, world);
  sourcesIn(plannedValues(of));
  JSON.stringify(matrix(plan(of, world), new Map(), 'x'));
};
