import { join } from 'node:path';
import { type Kind, must } from './case.js';
import { effortsIn, environmentOf, filesBelow, inPlace, mustBeWhole, run } from './runs.js';

/** So many cells of trainings of four steps: nearly all of a run is what a cell costs beside them. */
const experimentOf = (cells: number): string => `\
import { adam, constant, experiment, gaussianNoise, kd, learner, none, plainCnn, rounding, scratch, sweep, synthetic, topK } from 'undistill';

const recipe = { epochs: 1, batch: 64, optimizer: adam(), schedule: constant(1e-3) };

export default experiment({
  name: 'tiny',
  data: synthetic(),
  teacher: learner(plainCnn({ width: 2 }), recipe),
  students: [learner(plainCnn({ width: 1 }), recipe), learner(plainCnn({ width: 2 }), recipe)],
  defenses: [none(), rounding(1), rounding(2), topK(2), gaussianNoise()],
  attacks: [scratch(), ...sweep(kd, { temperature: [1, 2, 4, 8] })],
  seeds: [${Array.from({ length: cells / 50 }, (_, seed) => seed).join(', ')}],
});
`;

/** Milliseconds in which 500 cells must be done. */
const patience = 3_600_000;

interface Cost {
  readonly seconds: number;
  readonly stages: number;
  readonly megabytes: number;
}

/** What a run costs in seconds of a processor, its stages, and the megabytes of the larger of its processes. */
const costOf = (cells: number): Promise<Cost> =>
  inPlace(async (at) => {
    const counts = join(at.folder, 'counts');
    mustBeWhole(await run(at, environmentOf(at, { CHAOS_COUNTS: counts }), { limit: patience }));
    const { cells: made } = await at.matrix('runs/tiny');
    const done = made.flatMap(({ seeds }) => seeds).filter(({ status }) => status === 'done').length;
    must('lost', done === cells, () => `${done} of ${cells} cells are done`);
    const stages = await filesBelow(join(at.folder, 'runs', '.store'));
    const efforts = await effortsIn(counts);
    return {
      stages: stages.filter((name) => /^\w+\/record\.json$/.test(name)).length,
      seconds: efforts.reduce((sum, { seconds }) => sum + seconds, 0),
      megabytes: Math.max(...efforts.map(({ megabytes }) => megabytes)),
    };
  }, experimentOf(cells));

/**
 * What a further stage took of a quiet machine when this was written, its training of four steps included, and the most that a
 * process held: 530 MB with its first stages, the rest over the next hundred, most of it graphs that stay loaded for the stages to come
 * (src/engine/session.ts); hardly more with 500.
 */
const usual = { seconds: 0.24, megabytes: 850 };

const cheap = async (): Promise<string> => {
  const [few, many] = [await costOf(100), await costOf(500)];
  // What a run costs once, such as starting and the report, is in both.
  const each = (many.seconds - few.seconds) / (many.stages - few.stages);
  const said = `a further stage takes ${each.toFixed(2)} s; 100 cells hold ${few.megabytes.toFixed(0)} MB, 500 hold ${many.megabytes.toFixed(0)} MB`;
  // Beside other load a second of a processor does half as much.
  must(
    'aborted',
    each < 2 * usual.seconds && many.megabytes < 1.3 * usual.megabytes,
    () => `it takes too much: ${said}`,
  );
  must('aborted', many.megabytes < 1.2 * few.megabytes, () => `it grows with the cells: ${said}`);
  return said;
};

/** Many cells in one process, whose cost must not grow. */
export const cells: Kind = {
  name: 'cells',
  about: '500 cells in one process: what a further stage costs, and memory, against 100 cells',
  limit: (2.5 * patience) / 1000,
  takes: 900,
  cases: () => [{ name: '500 cells', attempt: cheap }],
};
