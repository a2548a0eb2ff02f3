import {
  adam,
  cifar10,
  constant,
  deepInversion,
  type Experiment,
  experiment,
  kd,
  learner,
  nasty,
  none,
  pretrained,
  scratch,
  sgd,
  sweep,
} from 'undistill';
import { cnn, mobileNet, type Net, preResNet20, resNet18, shuffleNet } from './common.js';

/** Matrices that matrix.ts runs by the command line, which imports this file; see there. */

/** Something that a script of PyTorch's trains; see matrix.py. */
export type Part = Readonly<Record<string, unknown>>;
export type Script = readonly Part[];

export interface Contest {
  readonly of: Experiment;
  /** What the field would start one after the other, when a fit on the data takes so many steps. */
  readonly scripts: (steps: number) => readonly Script[];
}

export interface Settings {
  /** Where CIFAR-10 is; default: downloaded. */
  readonly data?: string;
  /** Of the training images, which students see once. */
  readonly share: number;
  /** A file of a ResNet-18's weights. */
  readonly weights: string;
}

export const batch = 64;
const iterations = 100;
export const recipes = {
  sgd: { epochs: 1, batch, optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), schedule: constant(0.01) },
  adam: { epochs: 1, batch, optimizer: adam(), schedule: constant(1e-3) },
} as const;
type Student = Net & { readonly by: keyof typeof recipes };
const students: readonly Student[] = [
  { ...cnn, by: 'adam' },
  { ...preResNet20, by: 'sgd' },
  { ...mobileNet, by: 'sgd' },
  { ...shuffleNet, by: 'sgd' },
];
const learnerOf = ({ net, by }: Student) => learner(net, recipes[by]);
const victim: Student = { ...resNet18, by: 'sgd' };

const trained = ({ name, by }: Student, steps: number, more: Part = { loss: 'labels' }): Part => ({
  net: name,
  batch,
  steps,
  optimizer: by,
  ...more,
});
const beside = (loss: string, more: Part = {}): Part => ({ loss, beside: victim.name, ...more });

export const contests = ({ data, share, weights }: Settings): Readonly<Record<string, Contest>> => {
  const setting = {
    data: cifar10({ path: data }),
    fraction: share,
    validation: 0.1,
    // Held-out images are as few as the others; there are 10,000 test images.
    report: 'validation',
    seeds: [0],
  } as const;
  const given = pretrained(weights, victim.net);
  const few = students.slice(0, 3);
  const alphas = [0.1, 0.3, 0.5, 0.7, 1] as const;
  const temperatures = [1, 2, 4, 8, 12, 16, 20] as const;
  return {
    sweep: {
      of: experiment({
        ...setting,
        name: 'sweep',
        teacher: given,
        students: [learner(cnn.net, recipes.adam)],
        defenses: [none()],
        attacks: [...sweep(kd, { alpha: alphas }), ...sweep(kd, { temperature: temperatures })],
      }),
      scripts: (steps) =>
        [...alphas, ...temperatures].map(() => [trained({ ...cnn, by: 'adam' }, steps, beside('distil'))]),
    },
    table: {
      of: experiment({
        ...setting,
        name: 'table',
        teacher: learnerOf(victim),
        students: students.map(learnerOf),
        defenses: [none(), nasty()],
        attacks: [scratch(), kd()],
      }),
      scripts: (steps) => [
        [trained(victim, steps)],
        [trained(victim, steps, beside('nasty'))],
        ...students.flatMap((student) => [
          [trained(student, steps)],
          ...[none, nasty].map(() => [trained(student, steps, beside('distil'))]),
        ]),
      ],
    },
    inversion: {
      of: experiment({
        ...setting,
        name: 'inversion',
        teacher: given,
        students: few.map(learnerOf),
        defenses: [none()],
        attacks: [deepInversion({ batch, iterations })],
      }),
      scripts: (steps) =>
        few.map((student) => [
          { net: victim.name, batch, steps: iterations, settings: deepInversion.presets.cifar10 },
          trained(student, steps, beside('distilPool', { pool: batch })),
        ]),
    },
  };
};

/** Where the settings are, as JSON, in the processes of a run. */
export const settingsIn = 'UNDISTILL_BENCH';
const settings = process.env[settingsIn];

export default settings === undefined ? [] : Object.values(contests(JSON.parse(settings))).map(({ of }) => of);
