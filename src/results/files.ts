import * as v from 'valibot';
import { byName, list, jsonNumber as number, type Of, record, text, texts, yesOrNo } from '../core/check.js';
import { attackerAccesses, possessions } from '../experiment/threat-model.js';
import { betters, units } from '../metrics/quantity.js';
import type { Divergence, Measures, Provenance } from '../run/record.js';
import type { TeacherDiagnostics } from './diagnose.js';
import type { Named, Ranking } from './ranking.js';
import { judged } from './scores.js';
import type { Spread } from './spread.js';
import type {
  BestAttack,
  Cell,
  LearnerSummaries,
  LearnerSummary,
  Matrix,
  MetricSummary,
  Reproduced,
  ReproducedEffect,
  Score,
  SeedResult,
  VictimSummary,
} from './types.js';

/* What the files of a run hold. */

const maybe = v.exactOptional;
const oneOf = <const Words extends readonly string[]>(...words: Words) =>
  v.pipe(v.picklist(words), v.title(words.join(' or ')));

const spread: Of<Spread> = record({
  mean: number,
  sd: maybe(number),
  interval: maybe(v.pipe(v.strictTuple([number, number]), v.title('two numbers'))),
  count: number,
});

const measures: Of<Measures> = record({
  images: number,
  last: maybe(number),
  best: maybe(number),
  heldOut: maybe(number),
  metrics: byName(number),
});

const seedResult: Of<SeedResult> = record({
  seed: text,
  sameAs: maybe(text),
  status: oneOf('done', 'failed', 'skipped', 'not run', 'n/a'),
  reason: maybe(text),
  student: maybe(measures),
  teacherAccuracy: maybe(number),
  toBaseline: maybe(number),
  toLabelSmoothing: maybe(number),
  toUndefended: maybe(number),
  queries: maybe(number),
  forward: maybe(number),
  backward: maybe(number),
  budget: maybe(number),
  answers: maybe(record({ l1: number, kl: number, changed: number })),
  seconds: maybe(number),
  stepsPerSecond: maybe(number),
  trainImages: maybe(number),
  warnings: texts,
});

const cell: Of<Cell> = record({
  attack: text,
  defense: text,
  student: text,
  status: oneOf('done', 'n/a', 'failed', 'not run'),
  reason: maybe(text),
  seeds: list(seedResult),
  accuracy: maybe(spread),
  toBaseline: maybe(spread),
  toLabelSmoothing: maybe(spread),
  toUndefended: maybe(spread),
  metrics: byName(spread),
  queries: maybe(spread),
  forward: maybe(spread),
  backward: maybe(spread),
  published: maybe(number),
});

const divergence: Of<Divergence> = record({ kl: number, normal: maybe(number) });

const victim: Of<VictimSummary> = record({
  defense: text,
  exposes: text,
  retrained: maybe(v.literal(true)),
  accuracy: maybe(spread),
  toUndefended: maybe(spread),
  metrics: maybe(byName(spread)),
  published: maybe(number),
  seeds: list(
    record({
      seed: text,
      sameAs: maybe(text),
      reason: maybe(text),
      measures: maybe(measures),
      divergence: maybe(divergence),
      seconds: maybe(number),
      warnings: texts,
    }),
  ),
});

const metric: Of<MetricSummary> = record({
  name: text,
  title: maybe(text),
  unit: oneOf(...units),
  better: oneOf(...betters),
  describe: text,
  only: maybe(oneOf('student', 'victim')),
});

const best: Of<BestAttack> = record({ defense: text, student: text, attack: text, accuracy: spread });

const score = v.pipe(
  record({
    defense: text,
    student: text,
    attack: text,
    harm: maybe(spread),
    teacherCost: maybe(spread),
    toLabelSmoothing: maybe(spread),
    undistillable: maybe(v.union([oneOf('yes', 'no', 'undecided'), yesOrNo], 'yes, no or undecided')),
    seedsToTell: maybe(number),
    verdict: text,
  }),
  // Until version 0.1 it was whether the mean is below 0, also of the column that nothing defends and that has no harm: what the
  // seeds say is told anew.
  v.transform(({ undistillable, ...rest }): Score => {
    if (typeof undistillable !== 'boolean') return { ...rest, ...(undistillable && { undistillable }) };
    const { attack, harm, toLabelSmoothing } = rest;
    const all = toLabelSmoothing === undefined ? [] : [toLabelSmoothing];
    return { ...rest, ...judged({ attack, toLabelSmoothing, all, isUndefended: harm === undefined }) };
  }),
);

const reproduced: Of<Reproduced> = record({
  what: text,
  paper: number,
  ours: maybe(spread),
  difference: maybe(number),
  tolerance: number,
  verdict: oneOf('within', 'outside', 'not run'),
});

const effect: Of<ReproducedEffect> = record({
  what: text,
  paper: number,
  ours: maybe(spread),
  difference: maybe(number),
  direction: maybe(oneOf('same', 'opposite')),
});

const provenance: Of<Provenance> = record({
  undistill: text,
  engine: text,
  engineVersion: text,
  threads: number,
  gpus: texts,
  node: text,
  platform: text,
  processor: maybe(text),
  git: maybe(record({ commit: text, dirty: yesOrNo })),
  finished: text,
});

/** What parameters leave open is null. */
const params = v.pipe(v.unknown(), v.title('parameters'));

const learner: Of<LearnerSummary> = record({
  network: record({ name: text, params }),
  weights: maybe(text),
  recipe: maybe(v.unknown()),
});
const learners: Of<LearnerSummaries> = record({ teacher: learner, students: byName(learner) });

const setting = {
  data: record({ name: text, fingerprint: text, fraction: number, validation: number }),
  report: oneOf('test', 'validation'),
  select: oneOf('last', 'best'),
  teacher: text,
  budget: maybe(number),
  reduced: maybe(text),
};

/** A matrix.json. */
export const matrixFile: Of<Matrix> = record({
  version: v.literal(1),
  experiment: text,
  title: maybe(text),
  about: text,
  ...setting,
  attacks: list(
    record({
      label: text,
      name: maybe(text),
      role: maybe(oneOf('attack', 'honest', 'reference')),
      needs: text,
      owns: text,
      data: maybe(oneOf('none', 'other', 'unlabelled', 'labelled')),
      baseline: maybe(text),
      params,
    }),
  ),
  defenses: list(record({ label: text, name: maybe(text), role: maybe(oneOf('identity')), exposes: text, params })),
  students: texts,
  learners: maybe(learners),
  seeds: texts,
  metrics: maybe(list(metric)),
  victims: list(victim),
  cells: list(cell),
  best: list(best),
  scores: maybe(list(score)),
  reproduction: maybe(list(reproduced)),
  effects: maybe(list(effect)),
  published: maybe(text),
  provenance: list(provenance),
});

const asks = oneOf(...attackerAccesses);
const has = oneOf(...possessions);
const named: Of<Named> = record({ attack: text, accuracy: spread });

/** A ranking.json. */
export const rankingFile: Of<Ranking> = record({
  version: v.literal(1),
  runs: list(
    record({
      id: text,
      experiment: text,
      ...setting,
      learners: maybe(learners),
      seeds: texts,
      attackers: list(
        record({
          label: text,
          name: text,
          needs: oneOf('none', 'label', 'probabilities', 'logits', 'weights'),
          has,
          params,
        }),
      ),
      provenance: list(provenance),
    }),
  ),
  entries: list(
    record({
      run: text,
      defense: text,
      name: text,
      role: maybe(oneOf('identity')),
      exposes: text,
      params,
      student: text,
      teacher: record({
        accuracy: byName(number),
        l1: byName(number),
        ...{ ownL1: maybe(byName(number)), sameAs: maybe(byName(text)) },
      }),
      cost: record({ teacher: maybe(spread), toUndefended: maybe(spread), l1: maybe(spread), ownL1: maybe(spread) }),
      scores: list(
        record({
          access: asks,
          has,
          attack: text,
          accuracy: spread,
          chosenOn: oneOf('heldOut', 'reported'),
          equals: maybe(list(named)),
          highest: maybe(named),
          undefended: maybe(named),
          harm: maybe(spread),
          toBaseline: maybe(spread),
          toLabelSmoothing: maybe(spread),
          toLabelOnly: maybe(spread),
          passive: maybe(named),
          gap: maybe(spread),
          l1: maybe(spread),
          queries: maybe(spread),
          missing: texts,
        }),
      ),
      students: list(
        record({
          attack: text,
          role: maybe(oneOf('honest', 'reference')),
          status: oneOf('done', 'n/a', 'failed', 'not run'),
          reason: maybe(text),
          accuracy: byName(number),
          heldOut: byName(number),
          toBaseline: byName(number),
          l1: byName(number),
          queries: maybe(byName(number)),
        }),
      ),
    }),
  ),
});

const numbers = v.pipe(v.array(number), v.title('a list of numbers'));

/** A diagnostics.json. */
export const diagnosticsFile: Of<TeacherDiagnostics> = record({
  version: v.literal(1),
  experiment: text,
  data: text,
  report: oneOf('test', 'validation'),
  images: number,
  classes: texts,
  peakThreshold: number,
  teachers: list(
    record({
      defense: text,
      others: texts,
      seeds: list(
        record({
          seed: text,
          accuracy: number,
          calibrationError: number,
          logitMargin: number,
          answers: list(
            record({
              temperature: number,
              entropy: number,
              peaks: number,
              margin: number,
              klFromNormal: maybe(number),
            }),
          ),
        }),
      ),
      accuracy: spread,
      calibrationError: spread,
      logitMargin: spread,
      answers: list(
        record({ temperature: number, entropy: spread, peaks: spread, margin: spread, klFromNormal: maybe(spread) }),
      ),
    }),
  ),
  given: maybe(
    list(
      record({ defense: text, accuracy: spread, calibrationError: spread, l1: spread, kl: spread, changed: spread }),
    ),
  ),
  stages: texts,
  missing: list(record({ defense: text, seed: text })),
  responses: maybe(
    record({
      seed: text,
      temperature: number,
      images: list(
        record({
          image: number,
          label: number,
          answers: list(record({ defense: text, logits: numbers, probabilities: numbers, softened: numbers })),
        }),
      ),
    }),
  ),
  maps: maybe(
    v.pipe(
      record({
        seed: text,
        perplexity: number,
        images: list(record({ image: number, label: number })),
        maps: list(
          record({
            defense: text,
            of: oneOf('logits', 'features'),
            divergence: number,
            points: list(v.pipe(v.strictTuple([number, number]), v.title('two numbers'))),
          }),
        ),
      }),
      v.check(
        ({ images, maps }) => maps.every(({ points }) => points.length === images.length),
        'the images of a map have not one point each',
      ),
    ),
  ),
});
