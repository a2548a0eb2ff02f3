import {
  adam,
  constant,
  experiment,
  gaussianNoise,
  kd,
  learner,
  none,
  plainCnn,
  rounding,
  scratch,
  sweep,
  synthetic,
  topK,
} from 'undistill';

/** Trainings of four steps: nearly all of a run's time is what a cell costs beside them. */
const recipe = { epochs: 1, batch: 64, optimizer: adam(), schedule: constant(1e-3) };
const defenses = [none(), rounding(1), rounding(2), topK(2), gaussianNoise()];
const temperatures = [1, 2, 4, 8];

const cells = (ofDefenses: number, seeds: number) =>
  experiment({
    name: `cells-${10 * ofDefenses * seeds}`,
    data: synthetic(),
    teacher: learner(plainCnn({ width: 2 }), recipe),
    students: [learner(plainCnn({ width: 1 }), recipe), learner(plainCnn({ width: 2 }), recipe)],
    defenses: [none(), ...defenses.slice(1, ofDefenses)],
    attacks: [scratch(), ...sweep(kd, { temperature: temperatures })],
    seeds: Array.from({ length: seeds }, (_, seed) => seed),
  });

/** Matrices of 10, 100 and 1,000 cells, of five attacks and two students, for `npm run bench:matrix -- cells`. */
export default [cells(1, 1), cells(2, 5), cells(5, 20)];
