import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StageRecord } from '../src/run/record.js';
import { type Case, type Kind, must } from './case.js';
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

/** What a stage costs beside its training's steps in seconds of a processor, and the megabytes of the larger process. */
const costOf = (cells: number): Promise<{ readonly seconds: number; readonly megabytes: number }> =>
  inPlace(async (at) => {
    const counts = join(at.folder, 'counts');
    mustBeWhole(await run(at, environmentOf(at, { CHAOS_COUNTS: counts }), { limit: patience }));
    const { cells: made } = await at.matrix('runs/tiny');
    const done = made.flatMap(({ seeds }) => seeds).filter(({ status }) => status === 'done').length;
    must('lost', done === cells, () => `${done} of ${cells} cells are done`);
    const store = join(at.folder, 'runs', '.store');
    const names = (await filesBelow(store)).filter((name) => /^\w+\/record\.json$/.test(name));
    const records: readonly StageRecord[] = await Promise.all(
      names.map(async (name) => JSON.parse(await readFile(join(store, name), 'utf8'))),
    );
    const training = records.reduce(
      (sum, { training: of }) => sum + (of === undefined ? 0 : of.steps / of.stepsPerSecond),
      0,
    );
    const efforts = await effortsIn(counts);
    const all = efforts.reduce((sum, { seconds }) => sum + seconds, 0);
    return {
      seconds: (all - training) / records.length,
      megabytes: Math.max(...efforts.map(({ megabytes }) => megabytes)),
    };
  }, experimentOf(cells));

/** What a stage cost when this was written, and what a process held. */
const usual = { seconds: 0.17, megabytes: 541 };

const cheap: Case['attempt'] = async () => {
  const [few, many] = [await costOf(100), await costOf(500)];
  const said = `100 cells: ${few.seconds.toFixed(2)} s a stage, ${few.megabytes.toFixed(0)} MB; 500 cells: ${many.seconds.toFixed(2)} s, ${many.megabytes.toFixed(0)} MB`;
  must(
    'aborted',
    many.seconds < 3 * usual.seconds && many.megabytes < 3 * usual.megabytes,
    () => `it takes too much: ${said}`,
  );
  must(
    'aborted',
    many.seconds < 1.5 * few.seconds && many.megabytes < 1.5 * few.megabytes,
    () => `it grows with the cells: ${said}`,
  );
};

/** Many cells in one process, whose cost must not grow. */
export const cells: Kind = {
  name: 'cells',
  about: '500 cells in one process: what a stage costs beside its training, and memory, against 100 cells',
  limit: (2.5 * patience) / 1000,
  takes: 900,
  cases: () => [{ name: '500 cells', attempt: cheap }],
};
