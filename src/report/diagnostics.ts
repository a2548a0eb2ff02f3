import { counted, whole } from '../core/text.js';
import type { AnswerMeasures, TeacherDiagnostics, TeacherMeasures } from '../results/diagnose.js';
import { field } from './csv.js';
import type { Block, Layout } from './layout.js';
import { meanAndDeviation } from './numbers.js';

type Row = Readonly<Record<string, string | number | boolean>>;

/** The diagnostics as plain rows: what the CSV files hold, and charts draw. */
export interface DiagnosticsRows {
  /** One a teacher, seed and temperature. */
  readonly teachers: readonly (Omit<TeacherMeasures, 'answers'> & AnswerMeasures & { readonly defense: string })[];
  /** One an image, teacher and class. */
  readonly responses: readonly {
    readonly image: number;
    readonly label: string;
    readonly defense: string;
    /** Its number, since names may repeat. */
    readonly class: number;
    readonly name: string;
    /** Whether it is the image's. */
    readonly right: boolean;
    readonly logit: number;
    readonly probability: number;
    readonly softened: number;
  }[];
  /** One a map and image. */
  readonly maps: readonly {
    readonly of: 'logits' | 'features';
    readonly defense: string;
    readonly image: number;
    readonly class: number;
    readonly label: string;
    readonly x: number;
    readonly y: number;
  }[];
}

export const diagnosticsRows = ({ teachers, responses, maps, classes }: TeacherDiagnostics): DiagnosticsRows => {
  const name = (index: number): string => classes[index] ?? String(index);
  return {
    teachers: teachers.flatMap(({ defense, seeds }) =>
      seeds.flatMap(({ answers, ...one }) => answers.map((answer) => ({ defense, ...one, ...answer }))),
    ),
    responses: (responses?.images ?? []).flatMap(({ image, label, answers }) =>
      answers.flatMap(({ defense, logits, probabilities, softened }) =>
        logits.map((logit, index) => ({
          image,
          label: name(label),
          defense,
          class: index,
          name: name(index),
          right: index === label,
          logit,
          probability: probabilities[index] as number,
          softened: softened[index] as number,
        })),
      ),
    ),
    maps:
      maps === undefined
        ? []
        : maps.maps.flatMap(({ of, defense, points }) =>
            maps.images.map(({ image, label }, i) => {
              const [x, y] = points[i] as readonly [number, number];
              return { of, defense, image, class: label, label: name(label), x, y };
            }),
          ),
  };
};

/** Columns of each file, in order; a row need not have all of them. */
const columns = {
  teachers: [
    'defense',
    'seed',
    'temperature',
    'entropy',
    'peaks',
    'margin',
    'klFromNormal',
    'accuracy',
    'calibrationError',
    'logitMargin',
  ],
  responses: ['image', 'label', 'defense', 'class', 'name', 'right', 'logit', 'probability', 'softened'],
  maps: ['of', 'defense', 'image', 'class', 'label', 'x', 'y'],
} as const satisfies Readonly<Record<keyof DiagnosticsRows, readonly string[]>>;

/** The rows as files of comma-separated values, by name. */
export const diagnosticsCsv = (of: TeacherDiagnostics): Readonly<Record<keyof DiagnosticsRows, string>> => {
  const rows = diagnosticsRows(of);
  const file = (name: keyof DiagnosticsRows): string =>
    [columns[name], ...(rows[name] as readonly Row[]).map((row) => columns[name].map((column) => row[column]))]
      .map((line) => `${line.map(field).join(',')}\r\n`)
      .join('');
  return { teachers: file('teachers'), responses: file('responses'), maps: file('maps') };
};

/** To three significant digits, ± the deviation to as many places. */
const around = ({ mean, sd }: { readonly mean: number; readonly sd?: number }): string =>
  `${mean.toPrecision(3)}${sd === undefined ? '' : ` ± ${sd.toPrecision(2)}`}`;

/** The diagnostics in tables, for a terminal or as Markdown. */
export const diagnosticsLayout = (of: TeacherDiagnostics): Layout => {
  const { experiment, data, report, images, classes, teachers, given = [] } = of;
  const kind = report === 'test' ? 'test images' : 'held-out training images';
  const block = (title: string, head: string, columns: Block['columns'], rows: Block['rows']): readonly Block[] =>
    rows.length === 0 ? [] : [{ title, head, columns, rows, conclusions: [] }];
  return {
    title: `Teachers of ${experiment}`,
    about: `On ${whole(images)} ${kind} of ${data} (${counted(classes.length, 'class', 'classes')}).`,
    blocks: [
      ...block(
        'How right and how sure each teacher is',
        'teacher',
        [
          { label: 'accuracy', detail: '%' },
          { label: 'calibration error', detail: '%' },
          { label: 'logit margin', detail: '' },
        ],
        teachers.map(({ defense, accuracy, calibrationError, logitMargin }) => ({
          label: defense,
          cells: [...[accuracy, calibrationError].map(meanAndDeviation), around(logitMargin)],
        })),
      ),
      ...block(
        'What it says of the classes',
        'teacher',
        [
          { label: 'temperature', detail: '' },
          { label: 'entropy', detail: 'nats' },
          { label: 'peaks', detail: '' },
          { label: 'margin', detail: '' },
          { label: 'KL from the normal', detail: 'teacher, nats' },
        ],
        teachers.flatMap(({ defense, answers }) =>
          answers.map(({ temperature, entropy, peaks, margin, klFromNormal }) => ({
            label: defense,
            cells: [
              String(temperature),
              ...[entropy, peaks, margin].map(around),
              klFromNormal === undefined ? '' : around(klFromNormal),
            ],
          })),
        ),
      ),
      ...block(
        'What is answered in its place',
        'defence',
        [
          { label: 'accuracy', detail: '%' },
          { label: 'calibration error', detail: '%' },
          { label: 'L1', detail: 'to the clean' },
          { label: 'KL', detail: 'to the clean, nats' },
          { label: 'changed', detail: '%' },
        ],
        given.map(({ defense, accuracy, calibrationError, l1, kl, changed }) => ({
          label: defense,
          cells: [
            ...[accuracy, calibrationError].map(meanAndDeviation),
            ...[l1, kl].map(around),
            meanAndDeviation(changed),
          ],
        })),
      ),
    ],
    footnotes: [],
    caption: [],
    notes: notesOn(of),
  };
};

const notesOn = ({ peakThreshold, teachers, given = [], missing, responses, maps }: TeacherDiagnostics) => [
  `Entropy, peaks and margin are means over images of softmax(logits / temperature). A peak is a class with a probability above ${peakThreshold}; the margin is between the two largest probabilities; the logit margin between the two largest logits. KL is KL(normal ‖ this), of the same seed.`,
  ...teachers.flatMap(({ defense, others }) =>
    others.length === 0 ? [] : [`${others.join(', ')}: the same network as ${defense}.`],
  ),
  ...(given.length === 0
    ? []
    : [
        "What is answered: through what a defence does to its teacher's answers; L1 is Σ|given − clean| of the probabilities, 0 to 2, KL is KL(given ‖ clean), and changed the share of images to which another class is the likeliest.",
      ]),
  ...missing.map(({ defense, seed }) => `The teacher of ${defense}, seed ${seed}, is not finished.`),
  responses === undefined
    ? 'responses.csv is empty: no image is classified rightly by all teachers.'
    : `responses.csv: what the teachers of seed ${responses.seed} answer to the first ${counted(responses.images.length, 'image')} of different classes that all of them classify rightly; softened at temperature ${responses.temperature}.`,
  maps === undefined
    ? "maps.csv is empty: there are too few images, numbers that are not finite, or no teacher's weights."
    : `maps.csv: t-SNE of ${whole(maps.images.length)} images' logits and features (what the head's first dense layer receives), perplexity ${Number(maps.perplexity.toPrecision(3))}, seed ${maps.seed}.`,
];
