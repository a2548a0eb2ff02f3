import type { TeacherDiagnosis, TeacherDiagnostics } from '../../src/results/diagnose.js';
import type { Spread } from '../../src/results/spread.js';

/** A name that has everything in it that means something elsewhere. */
export const hostile = '"</script>|\\,\n\'🐈/{{x}}';

const alone = (mean: number): Spread => ({ mean, count: 1 });

const teacher = (defense: string, accuracy: number, kl?: number): TeacherDiagnosis => ({
  defense,
  others: [],
  seeds: [
    {
      seed: '0',
      accuracy,
      calibrationError: 0.02,
      logitMargin: 3,
      answers: [
        { temperature: 4, entropy: 0.5, peaks: 2, margin: 0.25, ...(kl === undefined ? {} : { klFromNormal: kl }) },
      ],
    },
  ],
  accuracy: alone(accuracy),
  calibrationError: alone(0.02),
  logitMargin: alone(3),
  answers: [
    {
      temperature: 4,
      entropy: alone(0.5),
      peaks: alone(2),
      margin: alone(0.25),
      ...(kl === undefined ? {} : { klFromNormal: alone(kl) }),
    },
  ],
});

const answersOf = (defense: string) => ({
  defense,
  logits: [2, 0, -1],
  probabilities: [0.84, 0.11, 0.04],
  softened: [0.45, 0.27, 0.21],
});

/** Two teachers of three classes, of which two have one name. */
export const example: TeacherDiagnostics = {
  version: 1,
  experiment: hostile,
  data: 'thirds',
  report: 'test',
  images: 48,
  classes: [hostile, 'cat', 'cat'],
  peakThreshold: 0.05,
  teachers: [{ ...teacher('none', 0.9), others: ['labelOnly'] }, teacher(hostile, 0.8, 1.25)],
  given: [
    {
      defense: hostile,
      accuracy: alone(0.1295),
      calibrationError: alone(0.5),
      l1: alone(1.25),
      kl: alone(3),
      changed: alone(0.87),
    },
  ],
  stages: ['0123', '4567'],
  missing: [{ defense: 'nasty', seed: '1' }],
  responses: {
    seed: '0',
    temperature: 4,
    images: [{ image: 7, label: 0, answers: [answersOf('none'), answersOf(hostile)] }],
  },
  maps: {
    seed: '0',
    perplexity: 30,
    images: [
      { image: 1, label: 0 },
      { image: 5, label: 2 },
    ],
    maps: (['features', 'logits'] as const).flatMap((of) =>
      ['none', hostile].map((defense) => ({
        defense,
        of,
        divergence: 0.5,
        points: [
          [1, 2],
          [-1, -2],
        ] as const,
      })),
    ),
  },
};
