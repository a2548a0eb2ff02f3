import { FailureError, failure } from '../core/errors.js';
import { concatenated, unique } from '../core/lists.js';
import { key } from '../core/random.js';
import { dispose, floatsOf } from '../core/tree.js';
import { evaluationBatches } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import { sample } from '../data/subset.js';
import { evaluationSets } from '../experiment/data-access.js';
import { type Experiment, undefendedOf } from '../experiment/experiment.js';
import type { VictimPlan } from '../experiment/plan.js';
import { knownTemperature } from '../experiment/strongest.js';
import { entropy, logitMargin, margin, peaks, peakThreshold } from '../metrics/answers.js';
import { calibrationError } from '../metrics/calibration.js';
import { klToVictim } from '../metrics/divergence.js';
import { softTemperature } from '../metrics/metric.js';
import type { Unit } from '../metrics/quantity.js';
import { tsne } from '../metrics/tsne.js';
import { networkOf } from '../models/checked.js';
import type { Network, Variables } from '../models/network.js';
import { chosenLogits } from '../run/measure.js';
import { readResult } from '../run/outputs.js';
import type { Measures } from '../run/record.js';
import type { Store } from '../run/store.js';
import { readModel } from '../run/train-stage.js';
import { accuracy } from '../train/accuracy.js';
import { bytesOf, type ImageSet, normalise, unpacked } from '../train/images.js';
import { type Logits, logProbabilities, predicted } from '../train/logits.js';
import { type Spread, shareSpread, spread, spreadOf } from './spread.js';

/** What can be seen of a run's teachers: how they answer, one and all, and where their answers and features lie. */
export interface TeacherDiagnostics {
  readonly version: 1;
  readonly experiment: string;
  readonly data: string;
  /** Which images they were asked about, and how many. */
  readonly report: 'test' | 'validation';
  readonly images: number;
  /** Class names in label order. */
  readonly classes: readonly string[];
  /** A class is a peak of an answer where its probability is above this. */
  readonly peakThreshold: number;
  readonly teachers: readonly TeacherDiagnosis[];
  /** Behind which defences other answers are given than the teacher's own. Absent in what older versions wrote. */
  readonly given?: readonly GivenAnswers[];
  /** The stages that trained them. */
  readonly stages: readonly string[];
  /** Teachers that are not finished. */
  readonly missing: readonly { readonly defense: string; readonly seed: string }[];
  /** Absent where no image is classified rightly by all teachers. */
  readonly responses?: Responses;
  /** Absent where there are too few images, or a teacher's numbers are not finite. */
  readonly maps?: Maps;
}

/** A network behind one defence, or several: wrappers of answers share it. */
export interface TeacherDiagnosis {
  readonly defense: string;
  /** The other defences that it is behind. */
  readonly others: readonly string[];
  readonly seeds: readonly TeacherMeasures[];
  readonly accuracy: Spread;
  /** Expected calibration error in 15 bins. */
  readonly calibrationError: Spread;
  /** Between the two largest logits. */
  readonly logitMargin: Spread;
  readonly answers: readonly AnswerSpreads[];
}

export interface TeacherMeasures {
  readonly seed: string;
  readonly accuracy: number;
  readonly calibrationError: number;
  readonly logitMargin: number;
  readonly answers: readonly AnswerMeasures[];
}

/** What a defence answers in place of its teacher, over the seeds that have been measured. */
export interface GivenAnswers {
  readonly defense: string;
  /** Of the class that is named. */
  readonly accuracy: Spread;
  readonly calibrationError: Spread;
  /** Mean Σ|given − clean| of the probabilities, 0 to 2. */
  readonly l1: Spread;
  /** Mean KL(given ‖ clean), nats. */
  readonly kl: Spread;
  /** Share of the images to which another class is the likeliest. */
  readonly changed: Spread;
}

/** Means over images of answers softened by a temperature. */
export interface AnswerMeasures {
  readonly temperature: number;
  /** Nats. */
  readonly entropy: number;
  readonly peaks: number;
  /** Between the two largest probabilities. */
  readonly margin: number;
  /** KL(normal ‖ this) in nats; absent for the normal teacher itself, and without one. */
  readonly klFromNormal?: number;
}

export interface AnswerSpreads {
  readonly temperature: number;
  readonly entropy: Spread;
  readonly peaks: Spread;
  readonly margin: Spread;
  readonly klFromNormal?: Spread;
}

/** What each teacher answers to single images, all of them of other classes and classified rightly by all teachers. */
export interface Responses {
  readonly seed: string;
  /** τ of the softened probabilities: the defence's own, or 4. */
  readonly temperature: number;
  readonly images: readonly {
    /** Its place among the images. */
    readonly image: number;
    readonly label: number;
    readonly answers: readonly {
      readonly defense: string;
      readonly logits: readonly number[];
      readonly probabilities: readonly number[];
      readonly softened: readonly number[];
    }[];
  }[];
}

/** t-SNE of some images' logits and features, one map a teacher. */
export interface Maps {
  readonly seed: string;
  readonly perplexity: number;
  readonly images: readonly { readonly image: number; readonly label: number }[];
  readonly maps: readonly {
    readonly defense: string;
    /** Features are what the head's first dense layer receives. */
    readonly of: 'logits' | 'features';
    /** KL(P ‖ Q) in nats that is left. */
    readonly divergence: number;
    /** In the order of `images`. */
    readonly points: readonly (readonly [x: number, y: number])[];
  }[];
}

/** The paper's τ are 4 and 20. */
const temperatures = [1, 2, 4, 8, 20] as const;

/** Images whose answers are shown one by one. */
const single = 10;

/** Images whose features are computed at a time. */
const imagesAtOnce = 250;

/** A finished teacher of one seed. */
interface Known {
  readonly defense: string;
  readonly others: readonly string[];
  readonly seed: string;
  readonly train: string;
  readonly logits: Logits;
}

export interface DiagnoseOptions {
  readonly experiment: Experiment;
  readonly data: Dataset;
  readonly victims: readonly VictimPlan[];
  readonly store: Store;
  /** Images on the maps, at most. */
  readonly mapped: number;
  readonly say?: (line: string) => void;
}

/** Looks at the teachers of a run that are finished: a function of what they answered, and of their features. */
export const diagnoseTeachers = async (of: DiagnoseOptions): Promise<TeacherDiagnostics> => {
  const { experiment, data, store, victims } = of;
  const { report, select } = experiment;
  const set = evaluationSets({ data, experiment })[report];
  if (set === undefined) throw new FailureError(failure('experiment', `there are no ${report} images`));
  const labels = set.indices.map((index) => set.examples.labels[index] as number);
  const undefended = undefendedOf(experiment);

  const known: Known[] = [];
  const missing: { readonly defense: string; readonly seed: string }[] = [];
  for (const { defense, seed, train, evaluate, others } of networksOf(victims)) {
    const output = await store.find(evaluate);
    if (output === undefined) missing.push({ defense, seed });
    else known.push({ defense, others, seed, train, logits: await chosenLogits(output, { select }, report) });
  }
  if (known.length === 0) {
    const remedy = 'Run the experiment, and diagnose it then.';
    throw new FailureError(failure('usage', 'no teacher of this run is finished', { where: experiment.name, remedy }));
  }

  const normalOf = (seed: string): Known | undefined => {
    const normal = victims.find((each) => each.defense === undefended && each.seed === seed);
    return known.find(({ train }) => train === normal?.train);
  };
  const names = unique(known.map(({ defense }) => defense));
  const teachers = names.map((defense) => {
    const own = known.filter((each) => each.defense === defense);
    const seeds = own.map(({ seed, logits }) => {
      const normal = defense === undefended ? undefined : normalOf(seed)?.logits;
      return { seed, ...measures(logits, labels, normal) };
    });
    return { defense, others: own[0]?.others ?? [], seeds, ...overSeeds(seeds) };
  });

  const shown = known.filter(({ seed }) => seed === known[0]?.seed);
  const responses = responsesOf(shown, labels, softening(experiment));
  const maps = await mapsOf(of, shown, set, labels);
  return {
    version: 1,
    experiment: experiment.name,
    data: data.name,
    report,
    images: labels.length,
    classes: data.classes,
    peakThreshold,
    teachers,
    given: await givenOf(victims, store),
    stages: known.map(({ train }) => train),
    missing,
    ...(responses === undefined ? {} : { responses }),
    ...(maps === undefined ? {} : { maps }),
  };
};

/** Each trained teacher once, by the first defence that it is behind. */
const networksOf = (victims: readonly VictimPlan[]): readonly (VictimPlan & { readonly others: readonly string[] })[] =>
  victims
    .filter(({ train }, i) => i === victims.findIndex((each) => each.train === train))
    .map((victim) => ({
      ...victim,
      others: unique(
        victims
          .filter(({ train, defense }) => train === victim.train && defense !== victim.defense)
          .map(({ defense }) => defense),
      ),
    }));

/** What has been measured of the answers of each defence that changes them. */
const givenOf = async (victims: readonly VictimPlan[], store: Store): Promise<readonly GivenAnswers[]> => {
  const changing = victims.filter(({ answer }) => answer !== undefined);
  const measured = await Promise.all(
    changing.map(async ({ defense, measure }) => {
      const output = await store.find(measure);
      return { defense, numbers: output && (await readResult<Measures>(output)).metrics };
    }),
  );
  return unique(measured.map(({ defense }) => defense)).flatMap((defense) => {
    const own = measured.filter((each) => each.defense === defense);
    const over = (name: string, unit: Unit = 'share') =>
      spreadOf(
        unit,
        own.flatMap(({ numbers }) => numbers?.[name] ?? []),
      );
    const [accuracy, calibrationError, changed] = ['accuracy', 'calibrationError', 'answerChanged'].map((name) =>
      over(name),
    );
    const [l1, kl] = [over('answerL1', 'number'), over('answerKl', 'nats')];
    return accuracy && calibrationError && l1 && kl && changed
      ? [{ defense, accuracy, calibrationError, l1, kl, changed }]
      : [];
  });
};

const measures = (
  logits: Logits,
  labels: ArrayLike<number>,
  normal: Logits | undefined,
): Omit<TeacherMeasures, 'seed'> => ({
  accuracy: accuracy(logits, labels),
  calibrationError: calibrationError(logits, labels),
  logitMargin: logitMargin(logits),
  answers: temperatures.map((temperature) => ({
    temperature,
    entropy: entropy(logits, temperature),
    peaks: peaks(logits, temperature),
    margin: margin(logits, temperature),
    ...(normal === undefined ? {} : { klFromNormal: klToVictim(logits, normal, temperature) }),
  })),
});

const overSeeds = (seeds: readonly TeacherMeasures[]): Omit<TeacherDiagnosis, 'defense' | 'others' | 'seeds'> => {
  const over = (pick: (of: TeacherMeasures) => number | undefined) => spread(seeds.flatMap((seed) => pick(seed) ?? []));
  const share = (pick: (of: TeacherMeasures) => number) => shareSpread(seeds.map(pick)) as Spread;
  return {
    accuracy: share((seed) => seed.accuracy),
    calibrationError: share((seed) => seed.calibrationError),
    logitMargin: over((seed) => seed.logitMargin) as Spread,
    answers: temperatures.map((temperature, i) => {
      const klFromNormal = over((seed) => seed.answers[i]?.klFromNormal);
      return {
        temperature,
        entropy: over((seed) => seed.answers[i]?.entropy) as Spread,
        peaks: over((seed) => seed.answers[i]?.peaks) as Spread,
        margin: over((seed) => seed.answers[i]?.margin) as Spread,
        ...(klFromNormal === undefined ? {} : { klFromNormal }),
      };
    }),
  };
};

/** τ of the first defence whose paper's is known. */
const softening = ({ defenses }: Experiment): number =>
  defenses.map(({ defense }) => knownTemperature(defense)).find((each) => each !== undefined) ?? softTemperature;

const responsesOf = (
  teachers: readonly Known[],
  labels: ArrayLike<number>,
  temperature: number,
): Responses | undefined => {
  const classes = new Set<number>();
  const chosen: number[] = [];
  for (let image = 0; image < labels.length && chosen.length < single; image++) {
    const label = labels[image] as number;
    if (classes.has(label) || !teachers.every(({ logits }) => predicted(logits, image) === label)) continue;
    classes.add(label);
    chosen.push(image);
  }
  if (chosen.length === 0) return undefined;
  const probabilities = (logits: Logits, image: number, softenedBy: number) =>
    Array.from(logProbabilities(logits, image, softenedBy), (log) => rounded(Math.exp(log)));
  return {
    seed: teachers[0]?.seed as string,
    temperature,
    images: chosen.map((image) => ({
      image,
      label: labels[image] as number,
      answers: teachers.map(({ defense, logits }) => ({
        defense,
        logits: Array.from(rowsOf(logits.values, logits.classes, [image]), rounded),
        probabilities: probabilities(logits, image, 1),
        softened: probabilities(logits, image, temperature),
      })),
    })),
  };
};

const mapsOf = async (
  { experiment, data, store, mapped, say = () => undefined }: DiagnoseOptions,
  teachers: readonly Known[],
  set: ImageSet,
  labels: ArrayLike<number>,
): Promise<Maps | undefined> => {
  const all = Int32Array.from(labels, (_, i) => i);
  const images = [...sample(all, mapped, key('diagnose'))];
  if (images.length < 4) return undefined;
  const some = { ...set, indices: Int32Array.from(images, (image) => set.indices[image] as number) };
  const network = networkOf(experiment.teacher.network, data.image, data.classes.length);
  const maps: Maps['maps'][number][] = [];
  let perplexity = 0;
  for (const { defense, train, logits } of teachers) {
    const model = await store.find(train);
    if (model === undefined) continue;
    const variables = await readModel(model, network, experiment.select);
    const features = featuresOn(network, variables, some);
    dispose(variables);
    const clouds = { features, logits: rowsOf(logits.values, logits.classes, images) };
    if (!Object.values(clouds).every((points) => points.every(Number.isFinite))) return undefined;
    for (const of of ['features', 'logits'] as const) {
      say(`t-SNE of ${images.length} images, map ${maps.length + 1} of ${2 * teachers.length}: ${of}, ${defense}`);
      const map = tsne(clouds[of], clouds[of].length / images.length, { key: key('t-SNE') });
      perplexity = map.perplexity;
      const points = images.map((_, i) => [rounded(map.points[2 * i]), rounded(map.points[2 * i + 1])] as const);
      maps.push({ defense, of, divergence: rounded(map.divergence), points });
    }
  }
  // The answers may be there, and the weights not.
  if (maps.length === 0) return undefined;
  const seed = teachers[0]?.seed as string;
  return { seed, perplexity, images: images.map((image) => ({ image, label: labels[image] as number })), maps };
};

/** What the head's first dense layer receives for every image of a set, in order: [images · features]. */
const featuresOn = (network: Network, variables: Variables, set: ImageSet): Float32Array => {
  const parts: Float32Array[] = [];
  const batches = evaluationBatches(set.examples, set.shape, { batchSize: imagesAtOnce, indices: set.indices });
  for (const { images } of batches.epoch(0)) {
    parts.push(
      floatsOf(() => {
        const seen = normalise(unpacked({}, { bytes: bytesOf(images, set.shape) }).images, set.normalisation);
        return network.apply(variables, seen, { mode: 'eval' }).features;
      }),
    );
  }
  return concatenated(parts);
};

/** Some rows of a flat matrix. */
const rowsOf = (values: Float32Array, columns: number, rows: readonly number[]): Float32Array =>
  Float32Array.from(rows.flatMap((row) => [...values.subarray(row * columns, (row + 1) * columns)]));

/** To six significant digits: what float32 holds. */
const rounded = (value: number | undefined): number => Number((value ?? Number.NaN).toPrecision(6));
