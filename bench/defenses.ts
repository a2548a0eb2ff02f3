import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { smallStudent, smallTeacher } from '../experiments/attacks.js';
import { scratch } from '../src/attacks/scratch.js';
import { defenses as listed } from '../src/cli/catalogue.js';
import { median } from '../src/core/lists.js';
import { key } from '../src/core/random.js';
import { clone, dispose, type Tree } from '../src/core/tree.js';
import { mnist } from '../src/data/idx.js';
import { imagesAt } from '../src/data/pixels.js';
import { antidistillation } from '../src/defenses/antidistillation.js';
import { type Defense, partsOf, type Recovery, undoing } from '../src/defenses/defense.js';
import { emma } from '../src/defenses/emma.js';
import { gaussianNoise } from '../src/defenses/gaussian-noise.js';
import { mad } from '../src/defenses/mad.js';
import { mildlyNasty } from '../src/defenses/mildly-nasty.js';
import { modelGuard } from '../src/defenses/model-guard.js';
import { none } from '../src/defenses/none.js';
import { safeDistillationBox } from '../src/defenses/safe-distillation-box.js';
import { engine } from '../src/engine/engine.js';
import { runner } from '../src/engine/runner.js';
import type { Step } from '../src/engine/step.js';
import { allImages, evaluationSets } from '../src/experiment/data-access.js';
import { type Experiment, experiment } from '../src/experiment/experiment.js';
import type { VictimPlan } from '../src/experiment/plan.js';
import { preparedRole, type Stage } from '../src/experiment/stage.js';
import { runExperiment } from '../src/harness/run-experiment.js';
import { foldersOf, prepare } from '../src/harness/session.js';
import { treeFrom } from '../src/run/context.js';
import { gitState } from '../src/run/git.js';
import { files, optionalInput } from '../src/run/outputs.js';
import { openStore } from '../src/run/store.js';
import { readModel } from '../src/run/train-stage.js';
import { question } from '../src/train/ask.js';
import { bytesOf, type ImageSet, unpacked } from '../src/train/images.js';
import {
  type Oracle,
  open,
  publish,
  remember,
  sessionOf,
  tensorsOf,
  type Victim,
  type VictimTensors,
  type Wrapper,
} from '../src/train/oracle.js';
import { asInARun, describe } from './common.js';

const usage = `npm run bench:defenses -- [--data PATH] [--fraction F] [--rounds N] [--only NAME,…] [--threads N] [--folder FOLDER] [--out FILE]

What each defence costs at its defaults, on one teacher of MNIST, trained on a share of the training images
(--fraction, default 0.2). --folder keeps what is trained, so that another time is only measured; --out writes the page.`;

interface Row {
  /** The defence as `undistill list` writes it. */
  readonly write: string;
  /** Of the class that it names. */
  readonly accuracy: number;
  /** Mean distance of its answers to the undefended teacher's, and the share of them of which another class is the likeliest. */
  readonly l1: number;
  readonly changed: number;
  /** The distance that is left once the known inverse has undone the defence; undefined where none is known. */
  readonly undone: number | undefined;
  /** By lot and round. */
  readonly times: readonly (readonly Times[])[];
  /** That were spent on training before it answers, the teacher's own apart. */
  readonly seconds: number;
}

/** Milliseconds an answer, and what the undefended teacher took just before or after. */
interface Times {
  readonly own: number;
  readonly clean: number;
}

/** Images that are asked about at a time, and in how many calls a round. */
const lots = [
  { size: 1, calls: 100 },
  { size: 100, calls: 20 },
] as const;

type Answered = { readonly answers: tf.Tensor2D };
type Bytes = { readonly bytes: tf.Tensor4D };

/** Asks a victim about the first images of a set, so many at a time: milliseconds an answer. */
const timer = (victim: Victim, set: ImageSet) => {
  // By how much answers were changed is not asked for, and so is no part of the graph.
  const step: Step<{ readonly victim: VictimTensors }, Tree, Bytes, Answered> = (given, memory, batch, { seed }) => {
    const { oracle, close } = open(victim, { tensors: given.victim, memory, seed, frozen: true });
    const pixels = unpacked({}, batch).images.div<tf.Tensor4D>(255);
    const answers = (oracle as Oracle<'probabilities'>).logProbabilities(pixels);
    return { state: close().memory, metrics: { answers } };
  };
  const running = runner(step, { victim: tensorsOf(victim) });
  const memory = clone(sessionOf(victim).memory);
  running.load(memory);
  dispose(memory);
  const { height, width, channels } = set.shape;
  return ({ size, calls }: (typeof lots)[number]): number => {
    const bytes = imagesAt(set.examples.images, height * width * channels, set.indices.slice(0, size));
    const batch = { bytes: bytesOf(bytes, set.shape) };
    const inputs = { learningRate: tf.scalar(0), seed: tf.tensor1d([1, 2], 'int32') };
    const began = performance.now();
    for (let i = 0; i < calls; i++) {
      const [found] = running.run([{ batch, inputs }]) as [Answered];
      // It is there when it is read.
      found.answers.dataSync();
      dispose(found);
    }
    const took = performance.now() - began;
    dispose([batch, inputs]);
    return took / calls / size;
  };
};

/** Log-probabilities of a victim about a set of images, row by row. */
const answersOf = async (victim: Victim, set: ImageSet): Promise<Float32Array> => {
  const { answers, memory } = await question(victim, set, { key: key('bench'), frozen: true });
  dispose(memory);
  return answers.values as Float32Array;
};

/** Asks a victim whose defences remember about the training images: what it answers then is what it answers in use. */
const warmUp = async (victim: Victim, set: ImageSet): Promise<void> => {
  const { answers: _, ...rest } = await question(victim, set, { key: key('training images') });
  remember(sessionOf(victim), rest);
};

/** A probability that is below the largest one by less is as large: answers have been through float32 and logarithms. */
const alike = 1e-6;

/** What an attacker who knows a defence makes of log-probabilities, row by row. */
const undoneBy = (recover: Recovery, given: Float32Array, classes: number): Float32Array =>
  tf.tidy(() => recover(tf.tensor2d(given, [given.length / classes, classes])).dataSync() as Float32Array);

const shiftOf = (given: Float32Array, clean: Float32Array, classes: number): Pick<Row, 'l1' | 'changed'> => {
  const rowsOf = (of: Float32Array): number[][] =>
    Array.from({ length: of.length / classes }, (_, row) =>
      Array.from(of.subarray(row * classes, (row + 1) * classes), Math.exp),
    );
  const before = rowsOf(clean);
  const mean = (of: (p: number[], q: number[]) => number): number =>
    rowsOf(given).reduce((sum, p, row) => sum + of(p, before[row] as number[]), 0) / before.length;
  return {
    l1: mean((p, q) => p.reduce((sum, each, k) => sum + Math.abs(each - (q[k] as number)), 0)),
    changed: mean((p, q) => (Math.max(...p) - (p[q.indexOf(Math.max(...q))] as number) > alike ? 1 : 0)),
  };
};

/** Trains what is to be trained, and measures all victims in turn; the undefended one is the first. */
const measured = async (
  of: Experiment,
  {
    folder,
    threads,
    rounds,
  }: { readonly folder: string; readonly threads: number | undefined; readonly rounds: number },
): Promise<readonly Row[]> => {
  const { matrix, records } = await runExperiment(of, { folder, ...(threads === undefined ? {} : { threads }) });
  const { plan, data, others } = await prepare(of);
  const store = openStore(foldersOf(of, resolve(folder, of.name)).store, () => undefined);
  const set = evaluationSets({ data, others, experiment: of }).test as ImageSet;
  const { train: trainingImages } = allImages({ data, others, experiment: of });
  const network = of.teacher.network.build(data.image, data.classes.length);
  const secondsOf = new Map(records.map(({ id, seconds }) => [id, seconds]));
  const publishedBy = async ({ train, answer, defense: label }: VictimPlan) => {
    const { defense } = of.defenses.find((each) => each.label === label) as (typeof of.defenses)[number];
    const trained = await store.expect(train);
    if (trained === undefined) throw new Error(`${label}: its teacher could not be trained`);
    const stage = plan.stages.find(({ id }) => id === answer) as Stage;
    const wrappers: Wrapper[] = [];
    const inverses: Recovery[] = [];
    for (const { name, answers, preserves, recover } of partsOf(defense)) {
      if (answers === undefined) continue;
      const made = await optionalInput(store, stage, preparedRole(wrappers.length));
      const prepared = made === undefined ? {} : treeFrom(await made.tensors(files.prepared), 'prepared');
      wrappers.push({ name, answers, preserves, prepared });
      if (recover !== undefined) inverses.push(recover(prepared));
    }
    const victim = publish({
      network,
      variables: await readModel(trained, network, of.select),
      normalisation: data.normalisation,
      access: 'probabilities',
      wrappers,
    });
    if (wrappers.some(({ answers }) => answers.kind === 'stateful')) await warmUp(victim, trainingImages);
    const own = [...(train === plan.victims[0]?.train ? [] : [train]), ...Object.values(stage?.inputs ?? {}).slice(1)];
    return { label, victim, inverses, seconds: own.reduce((sum, id) => sum + (secondsOf.get(id) ?? 0), 0) };
  };
  const victims: Awaited<ReturnType<typeof publishedBy>>[] = [];
  for (const each of plan.victims) victims.push(await publishedBy(each));
  const [{ victim: undefended }] = victims as [(typeof victims)[0]];
  const clean = await answersOf(undefended, set);
  const timers = victims.map(({ victim }) => timer(victim, set));
  for (const time of timers) for (const lot of lots) time(lot);
  const [plain] = timers as [(typeof timers)[0]];
  const found = Array.from({ length: rounds }, (_, round) => {
    console.error(`round ${round + 1} of ${rounds}`);
    return timers.map((time) =>
      lots.map((lot): Times => {
        // Each is the first of the two as often as the other.
        const first = round % 2 === 0 ? plain(lot) : time(lot);
        const second = round % 2 === 0 ? time(lot) : plain(lot);
        return round % 2 === 0 ? { clean: first, own: second } : { clean: second, own: first };
      }),
    );
  });
  const answers: Float32Array[] = [];
  for (const { victim } of victims) answers.push(await answersOf(victim, set));
  const classes = data.classes.length;
  const distance = (given: Float32Array): number => shiftOf(given, clean, classes).l1;
  return victims.map(({ label, inverses, seconds }, i) => ({
    write: label,
    accuracy: matrix.victims.find(({ defense }) => defense === label)?.accuracy?.mean ?? Number.NaN,
    ...shiftOf(answers[i] as Float32Array, clean, classes),
    undone:
      inverses.length === 0 ? undefined : distance(undoneBy(undoing(inverses), answers[i] as Float32Array, classes)),
    times: lots.map((_, lot) => found.map((round) => round[i]?.[lot] as Times)),
    seconds,
  }));
};

const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;

/** The median of ratios to the undefended teacher, and the quartiles. */
const ratios = (rounds: readonly Times[]): string => {
  const sorted = rounds.map(({ own, clean }) => own / clean).sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.round(share * (sorted.length - 1))] as number).toFixed(2);
  return `${median(sorted).toFixed(2)}× (${at(0.25)}–${at(0.75)})`;
};

const tableOf = (rows: readonly Row[]): string => {
  const [clean] = rows as [Row];
  const cells = rows.map((row) => {
    const beside = (...of: readonly string[]) => (row === clean ? of.map(() => '') : of);
    return [
      `\`${row.write}\``,
      (100 * row.accuracy).toFixed(2),
      ...beside(
        signed(100 * (row.accuracy - clean.accuracy)),
        row.l1.toFixed(3),
        (100 * row.changed).toFixed(2),
        row.undone?.toFixed(3) ?? '',
      ),
      ...row.times.flatMap((rounds) => [median(rounds.map(({ own }) => own)).toFixed(3), ...beside(ratios(rounds))]),
      row.seconds === 0 ? '' : row.seconds.toFixed(0),
    ];
  });
  const head = [
    'defence',
    'accuracy, %',
    '',
    'L1',
    'changed, %',
    'L1, undone',
    'ms, alone',
    '',
    'ms, of 100',
    '',
    'trained, s',
  ];
  const rule = head.map((_, i) => (i === 0 ? '---' : '--:'));
  return [head, rule, ...cells].map((row) => `| ${row.join(' | ')} |`).join('\n');
};

const pageOf = (
  rows: readonly Row[],
  {
    fraction,
    rounds,
    machine,
    commit,
  }: Readonly<Record<'fraction' | 'machine' | 'commit', string>> & { rounds: number },
): string => `# What defences cost

\`npm run bench:defenses -- --fraction ${fraction} --rounds ${rounds} --out results/defence-costs.md\`, ${machine}; commit ${commit}.

${tableOf(rows)}

Each defence that gives probabilities, at its defaults, on one teacher of MNIST (one seed): \`plainCnn({ width: 8 })\`, six epochs of ${(100 * Number(fraction)).toFixed(0)} % of
the training images, a tenth of them held out. What a row says of answers is of the 10,000 test images:

- **accuracy** of the class that is named, and its difference to the undefended teacher's;
- **L1**, the mean Σ|given − clean| to what the undefended teacher answers, 0 to 2, and the share of images of which another class is the
  likeliest. Of equals none is: what is rounded to a tie is not changed;
- **L1, undone**, the distance that is left when an attacker who knows the defence undoes it by its known inverse (\`recover\`), where it has one;
- **milliseconds an answer**, of images that are asked about one by one, and a hundred at a time: medians over ${rounds} rounds; beside them as multiples of
  what the undefended teacher took just before or after, the median of the rounds and their quartiles. Graphs are traced before. To ask about one
  image costs what every call does; what a defence itself computes shows in hundreds;
- **trained**: the seconds that its training took on this machine, whatever else it did then; the teacher's own are left out.

\`modelGuard({ variant: 'S' })\` remembers, and was asked about all training images before. The released weights of \`emma()\` and of \`safeDistillationBox()\`
give the label away on this small net; their presets for such nets are beside them.

What an attacker still gets is not here: that is what [the ranking](../docs/ranking.md) is about. Defaults are released settings as a rule, for other data
than these: what suits a paper's set may be far off here, and distances differ, so that no two rows are of one strength.
`;

/** Each defence that gives probabilities, as `undistill list` writes it, and the variants that compute something else. */
const defending: readonly { readonly write: string; readonly plugin: Defense }[] = [
  ...listed
    .flatMap(({ samples }) => samples)
    .filter(({ plugin: { name, exposes, role } }) => exposes !== 'label' && name !== 'compose' && role !== 'identity'),
  { write: "modelGuard({ variant: 'S' })", plugin: modelGuard({ variant: 'S' }) },
  { write: "mad({ oracle: 'extreme' })", plugin: mad({ oracle: 'extreme' }) },
  { write: "gaussianNoise({ draw: 'sticky' })", plugin: gaussianNoise({ draw: 'sticky' }) },
  { write: "antidistillation({ variant: 'ads' })", plugin: antidistillation({ variant: 'ads' }) },
  { write: "antidistillation({ variant: 'cts' })", plugin: antidistillation({ variant: 'cts' }) },
  { write: "mildlyNasty({ part: 'half' })", plugin: mildlyNasty({ part: 'half' }) },
  { write: "mildlyNasty({ part: 'deep' })", plugin: mildlyNasty({ part: 'deep' }) },
  { write: 'mildlyNasty(mildlyNasty.presets.doge)', plugin: mildlyNasty(mildlyNasty.presets.doge) },
  { write: 'emma(emma.presets.mnistSmall)', plugin: emma(emma.presets.mnistSmall) },
  {
    write: 'safeDistillationBox(safeDistillationBox.presets.mnistSmall)',
    plugin: safeDistillationBox(safeDistillationBox.presets.mnistSmall),
  },
];

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      fraction: { type: 'string', default: '0.2' },
      rounds: { type: 'string', default: '15' },
      only: { type: 'string' },
      threads: { type: 'string' },
      folder: { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const { fraction } = values;
  const only = values.only?.split(',');
  const some = defending.filter(({ plugin }) => only?.includes(plugin.name) ?? true);
  const of = experiment({
    name: 'defence-costs',
    data: mnist(values.data === undefined ? {} : { path: values.data }),
    fraction: Number(fraction),
    teacher: smallTeacher(6),
    // There is no matrix without an attack.
    students: [smallStudent(1)],
    defenses: [none(), ...some.map(({ write, plugin }) => ({ ...plugin, label: write }))],
    attacks: [scratch()],
    seeds: [0],
  });
  const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'undistill-bench-')));
  const threads = values.threads === undefined ? undefined : Number(values.threads);
  const rounds = Number(values.rounds);
  const rows = await measured(of, { folder, threads, rounds }).finally(
    () => values.folder === undefined && rm(folder, { recursive: true, force: true }),
  );
  const state = await gitState(fileURLToPath(import.meta.url));
  const commit = state === undefined ? 'unknown' : `${state.commit.slice(0, 7)}${state.dirty ? ', changed since' : ''}`;
  const machine = `${describe(engine())}, ${Math.round(totalmem() / 2 ** 30)} GB`;
  const page = pageOf(rows, { fraction, rounds, machine, commit });
  console.log(page);
  if (values.out !== undefined) await writeFile(values.out, page);
};

await asInARun(main);
