import type { Cell, Matrix, SeedResult, Spread, VictimSummary } from '../../harness/matrix.js';
import { divergences, ownBaselines, partOfTheData, queries, scoresSaid, seedsSaid, whatIsCounted } from '../layout.js';
import { counted, percent, signed, whole } from '../numbers.js';
import { type Curves, curvesOf } from './curves.js';
import { type Finding, findingsOf, lead } from './findings.js';
import { inAddress } from './markup.js';
import { type Reproduction, reproductionOf } from './reproduction.js';
import type { Chart, Run, RunImages, RunPlan } from './run.js';

/** A run as its page shows it: words, and numbers as text. */
export interface Page {
  readonly title: string;
  readonly about: string;
  /** What was tested, in sentences. */
  readonly lead: readonly string[];
  /** One a defence. */
  readonly findings: readonly Finding[];
  /** Absent where all is done, or nothing is known of it. */
  readonly progress?: Progress;
  /** One a student. */
  readonly tables: readonly Table[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  readonly reproduction?: Reproduction;
  readonly charts: readonly Chart[];
  readonly provenance: readonly Fact[];
  readonly files: Run['files'];
  readonly details: readonly Detail[];
}

export type Fact = readonly [name: string, value: string];

export interface Progress {
  readonly finished: number;
  readonly of: number;
  /** Stages that are begun, with where they are. */
  readonly begun: readonly string[];
}

export interface Table {
  readonly student: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** The best attack on each defence; undefined where there is none. */
  readonly best: readonly (string | undefined)[];
}

/** A defence and its teacher. */
export interface Column extends Shown {
  readonly label: string;
}

/** An attack. */
export interface Row {
  readonly label: string;
  readonly cells: readonly (Shown | undefined)[];
}

/** What a cell of the table shows. */
export interface Shown {
  /** The address of its details within the page. */
  readonly id: string;
  readonly status: Cell['status'];
  /** The mean, and what follows it: its deviation. */
  readonly mean?: string;
  readonly deviation?: string;
  /** To sort by. */
  readonly value?: number;
  /** To the baseline or, of a teacher, to the undefended one. */
  readonly difference?: number;
  /** Why there is no number, or one of fewer seeds. */
  readonly reason?: string;
}

/** What opens from a cell. */
export interface Detail {
  readonly id: string;
  readonly title: string;
  readonly subtitle: string;
  readonly facts: readonly Fact[];
  /** A line a number, a column a seed; the first of a line is its name, and the first line has the seeds' labels. */
  readonly seeds: readonly (readonly string[])[];
  readonly curves: readonly Curves[];
  readonly images: readonly RunImages[];
  readonly params: readonly { readonly of: string; readonly params: readonly Fact[] }[];
  readonly warnings: readonly string[];
}

export const cellId = ({ student, attack, defense }: Pick<Cell, 'student' | 'attack' | 'defense'>): string =>
  `cell/${[student, attack, defense].map(inAddress).join('/')}`;

export const victimId = (defense: string): string => `teacher/${inAddress(defense)}`;

const unique = <T>(values: readonly T[]): readonly T[] => [...new Set(values)];

/** A matrix of what is planned, for a run that has none yet. */
const plannedMatrix = (name: string, plan: RunPlan | undefined): Matrix => {
  const cells = plan?.cells ?? [];
  const labels = (of: 'attack' | 'defense' | 'student' | 'seed') => unique(cells.map((cell) => cell[of]));
  return {
    version: 1,
    experiment: plan?.experiment ?? name,
    about: '',
    data: { name: '', fingerprint: '', fraction: 1, validation: 0 },
    report: 'test',
    select: 'last',
    teacher: '',
    attacks: labels('attack').map((label) => ({ label, needs: '', owns: '', params: {} })),
    defenses: labels('defense').map((label) => ({ label, exposes: '', params: {} })),
    students: labels('student'),
    seeds: labels('seed'),
    victims: [],
    cells: [],
    best: [],
    provenance: [],
  };
};

/** The cells of a matrix, and those that are only planned. */
const allCells = (matrix: Matrix, plan: RunPlan | undefined): readonly Cell[] => {
  const found = new Map(matrix.cells.map((cell) => [cellId(cell), cell]));
  for (const { attack, defense, student, stages, reason } of plan?.cells ?? []) {
    const id = cellId({ attack, defense, student });
    if (found.has(id)) continue;
    const status = stages === undefined ? 'n/a' : 'not run';
    found.set(id, { attack, defense, student, status, seeds: [], metrics: {}, ...(reason ? { reason } : {}) });
  }
  return [...found.values()];
};

/** With whatever the lists of labels lack, so that a foreign cell is shown too. */
const withForeign = (labels: readonly string[], others: readonly string[]): readonly string[] =>
  unique([...labels, ...others]);

export const pageOf = (run: Run): Page => {
  // A file may have been written by hand, or by a run that was stopped at once.
  const matrix: Matrix = { ...plannedMatrix(run.name, run.plan), ...run.matrix };
  const cells = allCells(matrix, run.plan);
  const progress = progressOf(run);
  const reproduction = reproductionOf(matrix);
  const some = run.matrix !== undefined;
  return {
    title: matrix.experiment,
    about: matrix.about,
    lead: lead(matrix),
    findings: findingsOf(matrix),
    ...(progress === undefined ? {} : { progress }),
    tables: tablesOf(matrix, cells),
    notes: some
      ? [
          whatIsCounted(matrix),
          seedsSaid(matrix),
          ...ownBaselines(matrix),
          ...scoresSaid(matrix),
          ...partOfTheData(matrix),
          ...queries(matrix),
          ...divergences(matrix),
        ]
      : [],
    warnings: warningsOf(matrix),
    ...(reproduction === undefined ? {} : { reproduction }),
    charts: run.charts,
    provenance: some ? provenanceOf(matrix) : [],
    files: run.files,
    details: detailsOf(run, matrix, cells),
  };
};

const progressOf = ({ plan, stages }: Run): Progress | undefined => {
  if (plan === undefined) return undefined;
  const finished = plan.stages.filter(({ id }) => stages.get(id)?.state === 'finished').length;
  if (finished === plan.stages.length) return undefined;
  const begun = plan.stages.flatMap(({ id, label }) => {
    const stage = stages.get(id);
    if (stage?.state !== 'begun') return [];
    const last = stage.logs.flatMap(({ epochs }) => epochs.slice(-1)).at(-1);
    if (last === undefined) return [label];
    const accuracy = last.validation ?? last.metrics.accuracy;
    return [
      `${label}: ${counted(last.epoch + 1, 'epoch')}${
        accuracy === undefined ? '' : `, accuracy ${percent(accuracy)} %`
      }`,
    ];
  });
  return { finished, of: plan.stages.length, begun };
};

/* The tables */

/** Why a cell's mean is over fewer seeds than the experiment has. */
const incomplete = ({ seeds }: Cell): string | undefined => {
  const missing = seeds.filter(({ status }) => status !== 'done');
  if (missing.length === 0) return undefined;
  const reasons = missing.map(({ seed, status, reason }) => `seed ${seed} ${reason ?? status}`);
  return `${seeds.length - missing.length} of ${counted(seeds.length, 'seed')}: ${reasons.join('; ')}`;
};

const shownMean = (mean: Spread | undefined): Pick<Shown, 'mean' | 'deviation' | 'value'> =>
  mean === undefined
    ? {}
    : {
        mean: percent(mean.mean),
        value: mean.mean,
        ...(mean.sd === undefined ? {} : { deviation: `± ${percent(mean.sd)}` }),
      };

const shownCell = (cell: Cell): Shown => {
  const reason = cell.accuracy === undefined ? cell.reason : incomplete(cell);
  return {
    id: cellId(cell),
    status: cell.accuracy === undefined && cell.status === 'done' ? 'not run' : cell.status,
    ...shownMean(cell.accuracy),
    ...(cell.toBaseline === undefined ? {} : { difference: cell.toBaseline.mean }),
    ...(reason === undefined ? {} : { reason }),
  };
};

const shownVictim = (defense: string, victim: VictimSummary | undefined): Column => {
  const failed = victim?.seeds.find(({ reason }) => reason !== undefined);
  return {
    label: defense,
    id: victimId(defense),
    status: victim?.accuracy !== undefined ? 'done' : failed === undefined ? 'not run' : 'failed',
    ...shownMean(victim?.accuracy),
    ...(victim?.toUndefended === undefined ? {} : { difference: victim.toUndefended.mean }),
    ...(failed === undefined ? {} : { reason: `seed ${failed.seed}: ${failed.reason}` }),
  };
};

const tablesOf = (matrix: Matrix, cells: readonly Cell[]): readonly Table[] => {
  const byId = new Map(cells.map((cell) => [cellId(cell), cell]));
  const defenses = withForeign(
    matrix.defenses.map(({ label }) => label),
    cells.map(({ defense }) => defense),
  );
  const attacks = withForeign(
    matrix.attacks.map(({ label }) => label),
    cells.map(({ attack }) => attack),
  );
  const students = withForeign(
    matrix.students,
    cells.map(({ student }) => student),
  );
  const columns = defenses.map((defense) =>
    shownVictim(
      defense,
      matrix.victims.find((victim) => victim.defense === defense),
    ),
  );
  return students.map((student) => ({
    student,
    columns,
    rows: attacks.flatMap((attack) => {
      const own = defenses.map((defense) => byId.get(cellId({ student, attack, defense })));
      if (own.every((cell) => cell === undefined)) return [];
      return [{ label: attack, cells: own.map((cell) => (cell === undefined ? undefined : shownCell(cell))) }];
    }),
    best: defenses.map((defense) => {
      const best = matrix.best.find((each) => each.student === student && each.defense === defense);
      return best === undefined ? undefined : `${best.attack} ${percent(best.accuracy.mean)}`;
    }),
  }));
};

/* What is said of the whole */

const warningsOf = ({ victims, cells }: Matrix): readonly string[] =>
  unique([
    ...victims.flatMap(({ defense, seeds }) =>
      seeds.flatMap(({ seed, warnings }) => warnings.map((warning) => `${defense}, seed ${seed}: ${warning}`)),
    ),
    ...cells.flatMap(({ attack, defense, seeds }) =>
      seeds.flatMap(({ seed, warnings }) =>
        warnings.map((warning) => `${attack} on ${defense}, seed ${seed}: ${warning}`),
      ),
    ),
  ]);

const inWordsOf = (field: string): string => field.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Any value as lines of text, named by its path. */
export const flattened = (value: unknown, path = ''): readonly Fact[] => {
  if (Array.isArray(value) && value.every((each) => typeof each !== 'object' || each === null))
    return [[path, value.length === 0 ? 'none' : value.map(String).join(', ')]];
  if (typeof value !== 'object' || value === null)
    return path === '' || value === undefined ? [] : [[path, value === null ? 'none' : String(value)]];
  return Object.entries(value).flatMap(([key, each]) =>
    // A plugin's parameters stand below its name.
    flattened(each, key === 'params' ? path : path === '' ? key : `${path} › ${key}`),
  );
};

const provenanceOf = ({ data, seeds, teacher, provenance }: Matrix): readonly Fact[] => [
  ['data', data.name],
  ['data fingerprint', data.fingerprint],
  ['teacher', teacher],
  ['seeds', seeds.join(', ')],
  ...unique(
    provenance.flatMap((each) =>
      flattened(each)
        .filter(([key, value]) => !(key === 'gpus' && value === 'none'))
        .map(([key, value]) => JSON.stringify([inWordsOf(key), value])),
    ),
  ).map((text) => JSON.parse(text) as Fact),
];

/* The details */

const time = (seconds: number | undefined): string => {
  if (seconds === undefined) return '–';
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

const percentOr = (share: number | undefined): string => (share === undefined ? '–' : percent(share));
const signedOr = (share: number | undefined): string => (share === undefined ? '–' : signed(share));
const wholeOr = (count: number | undefined): string => (count === undefined ? '–' : whole(count));
const decimal = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(3));

type SeedLine<Of> = readonly [name: string, show: (of: Of) => string];

/** A table of seeds, without lines of which no seed has anything. */
const seedTable = <Of>(lines: readonly SeedLine<Of>[], seeds: readonly Of[]): Detail['seeds'] =>
  lines
    .map(([title, show]) => [title, ...seeds.map(show)])
    .filter(([, ...values]) => values.some((value) => value !== '–'));

const cellLines: readonly SeedLine<SeedResult>[] = [
  ['seed', ({ seed }) => seed],
  ['status', ({ status, reason }) => (reason === undefined ? status : `${status}: ${reason}`)],
  ['accuracy %', ({ student }) => percentOr(student?.metrics.accuracy)],
  ['to baseline', ({ toBaseline }) => signedOr(toBaseline)],
  ['to label smoothing', ({ toLabelSmoothing }) => signedOr(toLabelSmoothing)],
  ['to undefended', ({ toUndefended }) => signedOr(toUndefended)],
  ['teacher %', ({ teacherAccuracy }) => percentOr(teacherAccuracy)],
  ['after last step %', ({ student }) => percentOr(student?.last)],
  ['best held out %', ({ student }) => percentOr(student?.best)],
  ['agreement %', ({ student }) => percentOr(student?.metrics.agreement)],
  ['calibration error', ({ student }) => decimal(student?.metrics.calibrationError)],
  ['log likelihood, negative', ({ student }) => decimal(student?.metrics.negativeLogLikelihood)],
  ['queries', ({ queries: count }) => wholeOr(count)],
  ['training images', ({ trainImages }) => wholeOr(trainImages)],
  ['time', ({ seconds }) => time(seconds)],
  ['steps a second', ({ stepsPerSecond }) => wholeOr(stepsPerSecond)],
];

const victimLines: readonly SeedLine<VictimSummary['seeds'][number]>[] = [
  ['seed', ({ seed }) => seed],
  ['status', ({ reason, measures }) => (reason !== undefined ? `failed: ${reason}` : measures ? 'done' : 'not run')],
  ['accuracy %', ({ measures }) => percentOr(measures?.metrics.accuracy)],
  ['after last step %', ({ measures }) => percentOr(measures?.last)],
  ['best held out %', ({ measures }) => percentOr(measures?.best)],
  ['calibration error', ({ measures }) => decimal(measures?.metrics.calibrationError)],
  ['log likelihood, negative', ({ measures }) => decimal(measures?.metrics.negativeLogLikelihood)],
  ['KL to adversary', ({ divergence }) => decimal(divergence?.kl)],
  ['KL of normal teachers', ({ divergence }) => decimal(divergence?.normal)],
  ['time', ({ seconds }) => time(seconds)],
];

/** A mean in words: `94.20 ± 1.27 (95 % interval 92.90 to 95.50)`. */
const inWords = (mean: Spread, show: (share: number) => string): string => {
  const interval = mean.interval === undefined ? '' : ` (95 % interval ${mean.interval.map(show).join(' to ')})`;
  const spread = mean.sd === undefined ? '' : ` ± ${percent(mean.sd)}`;
  return `${show(mean.mean)}${spread}${interval}`;
};

const meanFact = (title: string, mean: Spread | undefined, show: (share: number) => string): readonly Fact[] =>
  mean === undefined ? [] : [[title, inWords(mean, show)]];

const publishedFact = (accuracy: number | undefined): readonly Fact[] =>
  accuracy === undefined ? [] : [['a paper reports', `${percent(accuracy)} %`]];

const detailsOf = (run: Run, matrix: Matrix, cells: readonly Cell[]): readonly Detail[] => {
  const logsOf = (stage: string | undefined) => (stage === undefined ? [] : (run.stages.get(stage)?.logs ?? []));
  const inputsOf = new Map(run.plan?.stages.map(({ id, inputs }) => [id, inputs]));
  const planned = new Map<string, { readonly seed: string; readonly steal: string | undefined }[]>();
  const teachers = new Map<string, string>();
  const teacherOf = (defense: string, seed: string): string => JSON.stringify([defense, seed]);
  for (const cell of run.plan?.cells ?? []) {
    const id = cellId(cell);
    const steal = cell.stages?.steal;
    const victim = steal === undefined ? undefined : inputsOf.get(steal)?.victim;
    planned.set(id, [...(planned.get(id) ?? []), { seed: cell.seed, steal }]);
    if (victim !== undefined) teachers.set(teacherOf(cell.defense, cell.seed), victim);
  }
  const images = new Map<string, RunImages[]>();
  for (const each of run.images) {
    const id = cellId(each.file);
    images.set(id, [...(images.get(id) ?? []), each]);
  }
  const attackOf = new Map(matrix.attacks.map((attack) => [attack.label, attack]));
  const defenseOf = new Map(matrix.defenses.map((defense) => [defense.label, defense]));
  const paramsOf = (of: string, params: unknown) => {
    const flat = flattened(params);
    return flat.length === 0 ? [] : [{ of, params: flat }];
  };

  const ofCell = (cell: Cell): Detail => {
    const { attack, defense, student, seeds } = cell;
    const [thief, guard] = [attackOf.get(attack), defenseOf.get(defense)];
    const id = cellId(cell);
    return {
      id,
      title: `${attack} on ${defense}`,
      subtitle: [
        `student ${student}`,
        ...(thief?.owns ? [`owns ${thief.owns}`] : []),
        ...(thief?.needs ? [thief.needs === 'none' ? 'asks no teacher' : `needs the teacher's ${thief.needs}`] : []),
        ...(guard?.exposes ? [`the teacher exposes its ${guard.exposes}`] : []),
      ].join(' · '),
      facts: [
        ...(cell.accuracy === undefined ? [['status', cell.status] as const] : []),
        ...(cell.reason === undefined ? [] : [['reason', cell.reason] as const]),
        ...meanFact('accuracy, %', cell.accuracy, percent),
        ...meanFact(`to its baseline${thief?.baseline ? `, ${thief.baseline}` : ''}`, cell.toBaseline, signed),
        ...meanFact('to a student on smoothed labels', cell.toLabelSmoothing, signed),
        ...meanFact('to the undefended teacher', cell.toUndefended, signed),
        ...publishedFact(cell.published),
        ...(cell.queries === undefined || cell.queries.mean === 0
          ? []
          : [['queries', `${whole(cell.queries.mean)} images`] as const]),
      ],
      seeds: seedTable(cellLines, seeds),
      curves: curvesOf((planned.get(id) ?? []).map(({ seed, steal }) => ({ seed, logs: logsOf(steal) }))),
      images: images.get(id) ?? [],
      params: [...paramsOf(`attack ${attack}`, thief?.params), ...paramsOf(`defence ${defense}`, guard?.params)],
      warnings: seeds.flatMap(({ seed, warnings }) => warnings.map((warning) => `seed ${seed}: ${warning}`)),
    };
  };

  const ofVictim = (defense: string): Detail => {
    const victim = matrix.victims.find((each) => each.defense === defense);
    const guard = defenseOf.get(defense);
    return {
      id: victimId(defense),
      title: `teacher behind ${defense}`,
      subtitle: [
        ...(matrix.teacher === '' ? [] : [matrix.teacher]),
        ...(guard?.exposes ? [`exposes its ${guard.exposes}`] : []),
      ].join(' · '),
      facts: [
        ...meanFact('accuracy, %', victim?.accuracy, percent),
        ...meanFact('to the undefended teacher', victim?.toUndefended, signed),
        ...publishedFact(victim?.published),
      ],
      seeds: seedTable(victimLines, victim?.seeds ?? []),
      curves: curvesOf(matrix.seeds.map((seed) => ({ seed, logs: logsOf(teachers.get(teacherOf(defense, seed))) }))),
      images: [],
      params: paramsOf(`defence ${defense}`, guard?.params),
      warnings: (victim?.seeds ?? []).flatMap(({ seed, warnings }) =>
        warnings.map((warning) => `seed ${seed}: ${warning}`),
      ),
    };
  };

  const defenses = withForeign(
    matrix.defenses.map(({ label }) => label),
    cells.map(({ defense }) => defense),
  );
  return [...defenses.map(ofVictim), ...cells.map(ofCell)];
};
