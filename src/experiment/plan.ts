import {
  type AnyAttack,
  type Circumstances,
  labelled,
  type Objection,
  type Ownership,
  ownsAShare,
  synthesises,
} from '../attacks/attack.js';
import { scratch } from '../attacks/scratch.js';
import { sharedClasses } from '../attacks/shared-classes.js';
import { FailureError, type Refusal, refusal, toFailure } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import { firstFew, percentage } from '../core/text.js';
import { isUnlabelled } from '../data/assemble.js';
import type { Dataset, DatasetPlugin, Examples } from '../data/dataset.js';
import { shareOf } from '../data/subset.js';
import { canBeImitated, type Defense, partsOf, recoveryRemedy, unfairRecovery } from '../defenses/defense.js';
import { type Metric, wantsViews } from '../metrics/metric.js';
import type { ImageShape, Network, NetworkPlugin } from '../models/network.js';
import { type Access, isBlackBox, rank } from '../train/oracle.js';
import { isPretrained, type Pretrained, retrainable } from '../train/pretrained.js';
import type { Learner, Recipe } from '../train/recipe.js';
import { countInUse } from './data-access.js';
import type { Experiment } from './experiment.js';
import { type Code, canonical, isDeclared, type Json } from './identity.js';
import { checkWeights, type Weights } from './pretrained.js';

/** An attack on a victim. */
interface Theft {
  readonly attack: AnyAttack;
  readonly teacher: NetworkPlugin;
  /** The defences whose wrappers the victim answers through, in order. */
  readonly wrappers: readonly Defense[];
  /** Of what the defences alone know. */
  readonly secret: number;
  /** Answers that the victim gives in all. */
  readonly budget?: number;
  readonly seed: number;
}

/** What a stage does; the plugins it does it with are values of the experiment. */
export type Work =
  | { readonly kind: 'teacher'; readonly learner: Learner; readonly seed: number }
  /** Takes the weights of a pretrained teacher in; `sha256` is of the file that was planned with. */
  | { readonly kind: 'import'; readonly teacher: Pretrained; readonly sha256: string }
  | { readonly kind: 'protect'; readonly defense: Defense; readonly learner: Learner; readonly seed: number }
  /** Fits what the answers of a defence need. */
  | {
      readonly kind: 'prepare';
      readonly defense: Defense;
      readonly learner: Learner;
      readonly seed: number;
    }
  /** Makes the images that all students of an attack learn from. */
  | ({ readonly kind: 'synthesise' } & Theft)
  | ({ readonly kind: 'steal'; readonly student: Learner } & Theft)
  /** What a victim answers through its wrappers to the images of the report, while they remember nothing of it. */
  | {
      readonly kind: 'answer';
      readonly network: NetworkPlugin;
      readonly wrappers: readonly Defense[];
      readonly secret: number;
    }
  | { readonly kind: 'evaluate'; readonly network: NetworkPlugin; readonly views?: true }
  | { readonly kind: 'inspect'; readonly teacher: NetworkPlugin; readonly verifier: NetworkPlugin }
  /**
   * `tellsClean`: the victim names the class that it would without the defences that change its answers. `metric`: one of the
   * experiment's own, which is measured apart from the built-in ones, so that an edit of it makes none but its own numbers again.
   */
  | { readonly kind: 'measure'; readonly tellsClean?: true; readonly metric?: Metric };

/** One unit of work, known by what it computes. */
export interface Stage {
  /** The hash of `parts`: equal stages are one stage, in one experiment and across all that share a store. */
  readonly id: string;
  /** Where a reader finds it: `seed-0/nasty/teacher`. */
  readonly label: string;
  readonly work: Work;
  /** Ids of the stages whose results it takes, by role. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Everything its result depends on. */
  readonly parts: Readonly<Record<string, Json>>;
}

/** Whether stages of a kind train a model. */
export const trains = ({ kind }: Pick<Work, 'kind'>): boolean => ['teacher', 'protect', 'steal'].includes(kind);

/** Whether stages of a kind take their time; the others are over in a moment. */
export const takesLong = ({ kind }: Pick<Work, 'kind'>): boolean =>
  trains({ kind }) || kind === 'prepare' || kind === 'synthesise';

/** Whether stages of a kind leave a network. */
export const makesNetwork = (of: Pick<Work, 'kind'>): boolean => of.kind === 'import' || trains(of);

/** One number of the matrix: where its student is evaluated, and what it is compared with. */
export interface CellPlan {
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  readonly seed: string;
  /** Ids of stages; absent where the attack needs more than the defence exposes. */
  readonly stages?: {
    readonly steal: string;
    readonly measure: string;
    /** Where the experiment's own metrics are measured, by their names; absent where it has none. */
    readonly own?: Readonly<Record<string, string>>;
    /** The same student trained honestly on the same images. */
    readonly baseline: string;
    readonly baselineMeasure: string;
    /** Where the images that the attack synthesised lie, and where they are looked at. */
    readonly images?: string;
    readonly inspect?: string;
  };
  readonly reason?: string;
}

/** The labels of a plan's stages, which people know them by, by id. */
export const stageLabels = ({ stages }: Pick<Plan, 'stages'>): ReadonlyMap<string, string> =>
  new Map(stages.map(({ id, label }) => [id, label]));

/** Where a model is measured: by the built-in metrics, and by each of the experiment's own. */
export const measuringOf = ({ measure, own = {} }: Pick<VictimPlan, 'measure' | 'own'>): readonly string[] => [
  measure,
  ...Object.values(own),
];

/** A victim: its evaluation, and how far a retrained one is from its adversary. */
export interface VictimPlan {
  readonly defense: string;
  readonly seed: string;
  readonly train: string;
  readonly evaluate: string;
  /** Present when its answers are changed on the way. */
  readonly answer?: string;
  /** Of the answers that are given. */
  readonly measure: string;
  /** The same by the experiment's own metrics, by their names; absent where it has none. */
  readonly own?: Readonly<Record<string, string>>;
  /** Present when the defence trains a teacher. */
  readonly divergence?: string;
}

export interface Plan {
  readonly experiment: Experiment;
  /** In an order in which each stage follows its inputs. */
  readonly stages: readonly Stage[];
  readonly cells: readonly CellPlan[];
  readonly victims: readonly VictimPlan[];
  /** With what the students of each attack are compared: a row of the matrix, or honest training on fewer images. */
  readonly baselines: Readonly<Record<string, string>>;
  /** What one should know before anything is trained. */
  readonly warnings: readonly string[];
}

/** What planning must know of the world; a plan is a pure function of this and the experiment. */
export interface Facts {
  readonly data: Pick<Dataset, 'fingerprint' | 'image' | 'classes'> & { readonly train: Pick<Examples, 'count'> };
  /** The other data sets that attackers own. */
  readonly others: ReadonlyMap<DatasetPlugin, Facts['data']>;
  /** Of a pretrained teacher. */
  readonly weights?: Weights | undefined;
  readonly code: Code;
  /** Hashes of the code that every stage runs through: training and evaluation, and measuring. */
  readonly harness: { readonly training: string; readonly measuring: string };
  /** `tensorflow-cpu` and so on: equal bits are promised within one class only. */
  readonly engine: string;
}

const refuse: Refusal = refusal('experiment');

/**
 * What an attack's students are compared with: what it names, or the labels of as many images as it owns. Honest
 * training is compared with itself.
 */
const baselineOf = (attack: AnyAttack): AnyAttack => {
  const { role, baseline, data } = attack;
  if (role === 'honest') return attack;
  return baseline ?? (ownsAShare(data) ? scratch({ fraction: data.fraction, how: data.how }) : scratch());
};

/**
 * The first of several defences that answer in turn, as far as what is asked for depends on them: those that preserve it are left out, unless
 * one after them takes in what they give; and all are where a later one gives the net's own.
 */
const changing = (answering: readonly Defense[], asked: Access): readonly Defense[] => {
  const changes = ({ preserves }: Defense): boolean => preserves === undefined || rank[asked] > rank.label;
  const last = answering.findLastIndex(changes);
  return answering.slice(last + 1).some(({ preserves }) => preserves === 'clean label')
    ? []
    : answering.slice(0, last + 1);
};

/** What an attack must know of a defence and cannot. */
const unknownTo = ({ knows }: AnyAttack, defense: Defense): string | undefined => {
  if (knows === 'inverse' && partsOf(defense).every(({ recover }) => recover === undefined)) return 'no inverse of';
  if (knows === 'chance' && partsOf(defense).every(({ answers }) => (answers?.kind ?? 'pure') === 'pure'))
    return 'no chance in the answers of';
  if (knows === 'zeros' && partsOf(defense).every(({ answers }) => answers === undefined || answers.positive))
    return 'no zeros in the answers of';
  return knows === 'answers' && !canBeImitated(partsOf(defense)) ? 'no way to imitate' : undefined;
};

/** Images of a step at least: batch norms in training need two. */
const fewestAnswers = 2;

/** An attack's objection as what a refusal is told: what, where, and what to do. */
const inWords = (objection: Objection, where: string): Parameters<Refusal> =>
  typeof objection === 'object'
    ? [objection.reason, where, objection.remedy]
    : [objection, where, 'Choose another network or data set, or take the attack out.'];

/** Networks among parameters, and among those of plugins there. */
const networksIn = (value: unknown): readonly NetworkPlugin[] => {
  if (typeof value !== 'object' || value === null) return [];
  if (typeof (value as NetworkPlugin).build === 'function') return [value as NetworkPlugin];
  const { params } = value as { readonly params?: unknown };
  return Object.values(params === undefined ? value : (params ?? {})).flatMap(networksIn);
};

/** What a net takes and gives, in words: `10 classes of images of 28×28×1`. */
const formOf = (input: ImageShape | undefined, classes: number): string =>
  `${classes} classes of images of ${input?.height}×${input?.width}×${input?.channels}`;

/** What a plugin does of its own: what it throws is its failure. */
const own = <A>(name: string, act: () => A): A => {
  try {
    return act();
  } catch (error) {
    throw new FailureError(
      toFailure('plugin', name, 'Mend the plugin. UNDISTILL_DEBUG=1 shows where it happened.')(error),
    );
  }
};

export const plan = (of: Experiment, facts: Facts): Plan => {
  const stages = new Map<string, Stage>();
  const labels = new Set<string>();
  const data: Json = {
    ...{ fingerprint: facts.data.fingerprint, fraction: of.fraction, validation: of.validation },
    set: canonical(of.data, facts.code),
  };

  /** Adds a stage unless an equal one is there already. */
  const stage = (
    label: string,
    work: Work,
    inputs: Readonly<Record<string, string>>,
    own: Readonly<Record<string, unknown>>,
  ): Stage => {
    const parts = {
      kind: work.kind,
      ...(canonical(own, facts.code) as Record<string, Json>),
      inputs,
      data,
      engine: facts.engine,
      harness: work.kind === 'measure' || work.kind === 'inspect' ? facts.harness.measuring : facts.harness.training,
    };
    const id = sha256(JSON.stringify(parts)).slice(0, 16);
    const found = stages.get(id);
    if (found !== undefined) return found;
    const made = { id, label: unused(label), work, inputs, parts };
    stages.set(id, made);
    labels.add(made.label);
    return made;
  };
  /** Stages that would carry one label (two nasty teachers on each other) are told apart by a number. */
  const unused = (label: string): string => {
    let free = label;
    for (let n = 2; labels.has(free); n++) free = `${label} (${n})`;
    return free;
  };

  if (isUnlabelled(facts.data))
    refuse(`the images of ${of.data.name} have no labels`, 'data', 'They are for transfer({ images }) alone.');
  const images = countInUse(facts.data.train.count, of);
  if (of.validation > 0 && images.validation === 0) {
    refuse(
      `a share of ${of.validation} of ${images.train} images is no image`,
      'validation',
      'Give it a larger share, or 0 to hold out nothing.',
    );
  }
  const enough = (where: string, { batch }: Recipe, count: number, what: string): void => {
    if (batch > count) {
      refuse(
        `batch is ${batch}, and there are ${count} ${what}`,
        where,
        'Give a smaller batch, or a larger fraction of the images.',
      );
    }
  };
  const netOf = (network: NetworkPlugin): Network => {
    const { image, classes } = facts.data;
    const built = own(network.name, () => network.build(image, classes.length));
    if (typeof built?.apply !== 'function' || typeof built.init !== 'function' || !Array.isArray(built.variables))
      refuse(
        'what its build gives is no network',
        network.name,
        'Give one, such as network of undistill/plugin makes.',
      );
    const [wanted, found] = [formOf(image, classes.length), formOf(built.input, built.classes)];
    if (found !== wanted)
      refuse(
        `what its build gives is a net for ${found}, not for ${wanted}`,
        network.name,
        'Build it for the images and the number of classes that it is given.',
      );
    return built;
  };
  const fits = (
    where: string,
    { network, recipe }: Pick<Learner, 'network'> & { readonly recipe?: Recipe | undefined },
  ): void => {
    if (recipe !== undefined) enough(where, recipe, images.train, 'training images');
    try {
      netOf(network);
    } catch (error) {
      if (error instanceof FailureError)
        throw new FailureError({ ...error.failure, where: `${where}: ${error.failure.where ?? network.name}` });
      throw error;
    }
  };
  // A trained teacher's recipe is for those that train one like it.
  const trains = of.defenses.some(({ defense }) => partsOf(defense).some(({ protect }) => protect !== undefined));
  fits('teacher', isPretrained(of.teacher) && !trains ? { network: of.teacher.network } : of.teacher);
  if (facts.weights !== undefined) checkWeights(facts.weights, netOf(of.teacher.network));
  const warnings = new Set<string>();
  for (const { label, learner } of of.students) {
    fits(`students: ${label}`, learner);
    for (const { label: attacker, attack } of of.attacks) {
      const nets = [netOf(of.teacher.network), netOf(learner.network)] as const;
      const other = attack.data.kind === 'other' ? facts.others.get(attack.data.images) : undefined;
      if (other?.fingerprint === facts.data.fingerprint)
        refuse(
          "the images of something else are the victim's own",
          `attacks: ${attacker}`,
          'Give another data set, or an attack on the training images, such as kd().',
        );
      const circumstances: Circumstances = {
        recipe: learner.recipe,
        budget: isBlackBox(attack.needs) ? (attack.budget ?? of.budget) : undefined,
        classes: facts.data.classes,
        owned: ownsAShare(attack.data) ? shareOf(attack.data.fraction, images.train) : undefined,
        images: other && { count: other.train.count, classes: other.classes },
      };
      const where = `attacks: ${attacker}, students: ${label}`;
      if (circumstances.budget !== undefined && circumstances.budget < fewestAnswers)
        refuse(
          `a budget of ${circumstances.budget} is less than a step asks for, which is of ${fewestAnswers} images or more`,
          where,
          'Give a larger budget.',
        );
      const objection = own(attacker, () => attack.refuses?.(...nets, circumstances));
      if (objection !== undefined) refuse(...inWords(objection, where));
      const doubt = own(attacker, () => attack.warns?.(...nets, circumstances));
      if (doubt !== undefined) warnings.add(`attacks: ${attacker}: ${doubt}`);
      const shared = other === undefined ? [] : sharedClasses(facts.data.classes, other.classes);
      if (shared.length > 0)
        warnings.add(`attacks: ${attacker}: its images may be of the victim's classes: ${firstFew(shared)}`);
      if (!ownsAShare(attack.data)) continue;
      const owned = shareOf(attack.data.fraction, images.train);
      enough(`attacks: ${attacker}, students: ${label}`, learner.recipe, owned, 'training images in its share');
    }
  }

  for (const { label, defense } of of.defenses)
    for (const part of partsOf(defense)) {
      // Its adversary is looked at where it is trained.
      for (const network of networksIn(part.params))
        if (network !== part.adversary) fits(`defenses: ${label}`, { network });
      // Of what a defence prepares there is nothing yet: its recovery is looked at where it is used.
      if (part.prepare !== undefined) continue;
      const why = unfairRecovery(part, { image: facts.data.image, classes: facts.data.classes.length });
      if (why !== undefined) refuse(why, `defenses: ${label}`, recoveryRemedy);
    }

  const teacherOf = (learner: Learner, seed: number, label: string): Stage =>
    stage(label, { kind: 'teacher', learner, seed }, {}, { learner: recipeOf(learner), seed });
  const imported = (teacher: Pretrained, { sha256 }: Weights): Stage =>
    stage('teacher', { kind: 'import', teacher, sha256 }, {}, { network: teacher.network, weights: sha256 });
  const views: { readonly views?: true } = wantsViews(of.metrics) ? { views: true } : {};
  const evaluated = (model: Stage, network: NetworkPlugin): Stage =>
    stage(
      `${model.label}/evaluate`,
      { kind: 'evaluate', network, ...views },
      { model: model.id },
      // Which images are looked at depends on which the report is about.
      { network, report: of.report, ...views },
    );
  /** By the built-in metrics, or by one of the experiment's own. */
  const measured = (
    model: Stage,
    beside: { readonly victim?: Stage | undefined; readonly clean?: Stage; readonly tellsClean?: true } = {},
    metric?: Metric,
  ): Stage =>
    stage(
      `${model.label.replace(/\/(?:evaluate|answer)$/, '')}/measure${metric === undefined ? '' : `/${metric.name}`}`,
      { kind: 'measure', ...(beside.tellsClean && { tellsClean: true }), ...(metric && { metric }) },
      {
        model: model.id,
        ...(beside.victim === undefined ? {} : { victim: beside.victim.id }),
        ...(beside.clean === undefined ? {} : { clean: beside.clean.id }),
      },
      // The list is empty since own metrics are apart: so the measures of experiments without any are shared.
      {
        select: of.select,
        report: of.report,
        ...(metric ? { metric } : { metrics: [] }),
        tellsClean: beside.tellsClean,
      },
    );
  const measuredByAll = (...[model, beside]: Parameters<typeof measured>): Pick<VictimPlan, 'measure' | 'own'> => ({
    measure: measured(model, beside).id,
    ...(of.metrics.length > 0 && {
      own: Object.fromEntries(of.metrics.map((metric) => [metric.name, measured(model, beside, metric).id])),
    }),
  });

  /**
   * What a part of a defence is given as its adversary: a net of its own choice, trained normally, or the undefended
   * teacher.
   */
  const adversaryOf = ({ name, adversary: net }: Defense, baseline: Stage, seed: number, where: string): Adversary => {
    const learner = retrainable(of.teacher);
    if (net === undefined) return { stage: baseline, network: learner.network };
    fits(`${name}: adversary`, { ...learner, network: net });
    return { stage: teacherOf({ ...learner, network: net }, seed, `${where}/${net.name} (adversary)`), network: net };
  };

  const otherImages = ({ kind, images, labelled }: Extract<Ownership, { readonly kind: 'other' }>) => ({
    kind,
    fingerprint: facts.others.get(images)?.fingerprint,
    ...(labelled ? { labelled } : {}),
  });

  /** What a defence's own work depends on of images of something else. */
  const outliersOf = ({ outliers }: Defense) =>
    outliers === undefined ? {} : { outliers: facts.others.get(outliers)?.fingerprint };

  const protectedTeacher = (defense: Defense, label: string, baseline: Stage, seed: number, where: string) => {
    let last: { readonly stage: Stage; readonly adversary?: Adversary } = { stage: baseline };
    for (const part of partsOf(defense)) {
      if (part.protect === undefined) continue;
      const learner = retrainable(of.teacher);
      const adversary = adversaryOf(part, baseline, seed, where);
      const inputs = { teacher: last.stage.id, adversary: adversary.stage.id };
      last = {
        stage: stage(`${where}/${label}/teacher`, { kind: 'protect', defense: part, learner, seed }, inputs, {
          defense: part,
          learner: recipeOf(learner),
          ...outliersOf(part),
          seed,
          select: of.select,
        }),
        adversary,
      };
    }
    return last;
  };

  /** A stage for each part of a defence that prepares something. */
  const preparations = (
    defense: Defense,
    label: string,
    teacher: Stage,
    baseline: Stage,
    seed: number,
    where: string,
  ) =>
    new Map(
      partsOf(defense).flatMap((part) => {
        if (part.prepare === undefined) return [];
        const learner = retrainable(of.teacher);
        const adversary = adversaryOf(part, baseline, seed, where);
        const inputs = { teacher: teacher.id, adversary: adversary.stage.id };
        const { name, source, preparedBy } = part;
        const made = stage(`${where}/${label}/prepare`, { kind: 'prepare', defense: part, learner, seed }, inputs, {
          // Of less than its parameters, so that several share it; but one that was not declared is known as a whole.
          defense: preparedBy !== undefined && isDeclared(part) ? { name, params: preparedBy, source } : part,
          learner: recipeOf(learner),
          ...outliersOf(part),
          seed,
          select: of.select,
        });
        return [[part, made] as const];
      }),
    );

  const victims: VictimPlan[] = [];
  const cells: CellPlan[] = [];
  // Labels are any text, and this object inherits nothing that they could be taken for.
  const baselines: Record<string, string> = Object.create(null);
  const teachers = of.seeds.map(({ victim, label }) =>
    isPretrained(of.teacher)
      ? imported(of.teacher, facts.weights as Weights)
      : teacherOf(of.teacher, victim, `seed-${label}/teacher`),
  );

  of.seeds.forEach((seed, index) => {
    const where = `seed-${seed.label}`;
    const baseline = teachers[index] as Stage;
    const victimOf = new Map<
      string,
      { readonly train: Stage; readonly evaluate: Stage; readonly prepared: Prepared }
    >();
    for (const { label, defense } of of.defenses) {
      const { stage: train, adversary } = protectedTeacher(defense, label, baseline, seed.victim, where);
      const evaluate = evaluated(train, of.teacher.network);
      const prepared = preparations(defense, label, train, baseline, seed.victim, where);
      victimOf.set(label, { train, evaluate, prepared });
      const wrappers = partsOf(defense).filter(({ answers }) => answers !== undefined);
      const answer =
        wrappers.length === 0
          ? undefined
          : stage(
              `${where}/${label}/answer`,
              { kind: 'answer', network: of.teacher.network, wrappers, secret: seed.victim },
              { model: train.id, ...preparedInputs(wrappers, prepared) },
              {
                network: of.teacher.network,
                wrappers,
                secret: seed.victim,
                select: of.select,
                report: of.report,
              },
            );
      const tellsClean = changing(wrappers, 'label').length === 0 ? ({ tellsClean: true } as const) : {};
      // How far two normally trained nets are apart is the scale for a nasty teacher's divergence: the baseline from
      // the
      // adversary where that is another net, else from the teacher of another seed.
      const another = teachers.find((teacher) => teacher !== baseline);
      const seeded = another && { stage: another, network: of.teacher.network };
      const other = adversary?.stage === baseline ? seeded : adversary;
      const divergence =
        adversary === undefined
          ? undefined
          : stage(
              `${train.label}/divergence`,
              { kind: 'measure' },
              {
                model: evaluate.id,
                adversary: evaluated(adversary.stage, adversary.network).id,
                ...(other === undefined
                  ? {}
                  : {
                      normal: evaluated(baseline, of.teacher.network).id,
                      otherNormal: evaluated(other.stage, other.network).id,
                    }),
              },
              { select: of.select, report: of.report },
            );
      victims.push({
        defense: label,
        seed: seed.label,
        train: train.id,
        evaluate: evaluate.id,
        ...(answer === undefined ? measuredByAll(evaluate) : measuredByAll(answer, { clean: evaluate, ...tellsClean })),
        ...(answer === undefined ? {} : { answer: answer.id }),
        ...(divergence === undefined ? {} : { divergence: divergence.id }),
      });
    }

    for (const student of of.students) {
      const stolen = (attack: AnyAttack, label: string, against: string | undefined): Stage => {
        const { name, source, needs, data: owned } = attack;
        const alone = attack.needs === 'none';
        const victim = against === undefined || alone ? undefined : victimOf.get(against);
        const defense = of.defenses.find((each) => each.label === against)?.defense;
        const answering = (alone || defense === undefined ? [] : partsOf(defense)).filter(
          (part) => part.answers !== undefined,
        );
        const wrappers = changing(answering, attack.needs);
        const limit = attack.budget ?? of.budget;
        const budget = limit === undefined || !isBlackBox(needs) ? {} : { budget: limit };
        const theft: Theft = {
          attack,
          teacher: of.teacher.network,
          wrappers,
          secret: seed.victim,
          ...budget,
          seed: seed.student,
        };
        const inputs: Readonly<Record<string, string>> =
          victim === undefined ? {} : { victim: victim.train.id, ...preparedInputs(wrappers, victim.prepared) };
        const asking = {
          needs,
          seed: seed.student,
          ...(victim === undefined
            ? {}
            : {
                ...budget,
                ...(wrappers.length === 0 ? {} : { wrappers, secret: seed.victim }),
                select: of.select,
              }),
        };
        const pool =
          attack.pool &&
          stage(`${where}/${against}/${label}/pool`, { kind: 'synthesise', ...theft }, inputs, {
            // Of less than the attack's parameters, so that several share it; but one that was not declared is known as a whole.
            attack: isDeclared(attack) ? { name, params: attack.pool.params, source } : attack,
            ...asking,
          });
        return stage(
          alone ? `${where}/${student.label}/${label}` : `${where}/${against}/${student.label}/${label}`,
          { kind: 'steal', student: student.learner, ...theft },
          pool === undefined ? inputs : { ...inputs, pool: pool.id },
          {
            attack,
            owned: owned.kind === 'other' ? otherImages(owned) : owned,
            student: recipeOf(student.learner),
            ...asking,
          },
        );
      };
      for (const pairing of of.pairings) {
        const attack = of.attacks.find(({ label }) => label === pairing.attack)?.attack as AnyAttack;
        const defense = of.defenses.find(({ label }) => label === pairing.defense)?.defense as Defense;
        const cell = { ...pairing, student: student.label, seed: seed.label };
        if (rank[defense.exposes] < rank[attack.needs]) {
          cells.push({
            ...cell,
            reason: `${attack.name} needs ${attack.needs}; ${pairing.defense} exposes ${defense.exposes}`,
          });
          continue;
        }
        const unknown = unknownTo(attack, defense);
        if (unknown !== undefined) {
          cells.push({ ...cell, reason: `${unknown} ${pairing.defense} is known` });
          continue;
        }
        const steal = stolen(attack, pairing.attack, pairing.defense);
        const victim = victimOf.get(pairing.defense)?.evaluate;
        const honest = baselineOf(attack);
        const named = of.attacks.find((each) => sameAttack(each.attack, honest, facts.code));
        const baseLabel = named?.label ?? baselineLabel(honest);
        baselines[pairing.attack] = baseLabel;
        const baseStage = stolen(honest, baseLabel, undefined);
        const images = synthesises(attack) ? (steal.inputs.pool ?? steal.id) : undefined;
        const inspect = images
          ? stage(
              `${steal.label}/images`,
              { kind: 'inspect', teacher: of.teacher.network, verifier: student.learner.network },
              { images, victim: steal.inputs.victim as string, verifier: baseStage.id },
              { select: of.select, teacher: of.teacher.network, verifier: student.learner.network },
            )
          : undefined;
        cells.push({
          ...cell,
          stages: {
            steal: steal.id,
            ...measuredByAll(evaluated(steal, student.learner.network), {
              victim: attack.needs === 'none' ? undefined : victim,
            }),
            baseline: baseStage.id,
            baselineMeasure: measured(evaluated(baseStage, student.learner.network)).id,
            ...(images === undefined || inspect === undefined ? {} : { images, inspect: inspect.id }),
          },
        });
      }
    }
  });
  return { experiment: of, stages: [...stages.values()], cells, victims, baselines, warnings: [...warnings] };
};

const recipeOf = ({ network, recipe }: Learner): Learner => ({ network, recipe });

/** A normally trained net that a defence looks at. */
interface Adversary {
  readonly stage: Stage;
  readonly network: NetworkPlugin;
}

/** What was prepared for the answers of a defence's parts. */
type Prepared = ReadonlyMap<Defense, Stage>;

/** The role in which a stage takes what was prepared for one of its wrappers. */
export const preparedRole = (wrapper: number): string => `prepared ${wrapper + 1}`;

const preparedInputs = (wrappers: readonly Defense[], prepared: Prepared): Readonly<Record<string, string>> =>
  Object.fromEntries(
    wrappers.flatMap((part, i) => {
      const made = prepared.get(part);
      return made === undefined ? [] : [[preparedRole(i), made.id]];
    }),
  );

const sameAttack = (a: AnyAttack, b: AnyAttack, code: Code): boolean =>
  JSON.stringify(canonical(a, code)) === JSON.stringify(canonical(b, code));

/** A baseline that is no row of its own: its name with the share of the images, where that is not all. */
const baselineLabel = ({ name, data }: AnyAttack): string =>
  !ownsAShare(data) || data.fraction === labelled.fraction ? name : `${name} on ${percentage(data.fraction)}`;

/** Every module whose code a plan's results depend on. */
export const plannedValues = (of: Experiment): unknown => [
  of.data,
  of.teacher,
  of.students,
  of.defenses,
  of.attacks,
  of.metrics,
  of.attacks.map(({ attack }) => baselineOf(attack)),
];
