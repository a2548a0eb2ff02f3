import { type Circumstances, type Objection, ownsAShare } from '../attacks/attack.js';
import { sharedClasses } from '../attacks/shared-classes.js';
import { FailureError, type Refusal, refusal, toFailure } from '../core/errors.js';
import { firstFew } from '../core/text.js';
import { isUnlabelled } from '../data/assemble.js';
import { shareOf } from '../data/subset.js';
import { partsOf, recoveryRemedy, unfairRecovery } from '../defenses/defense.js';
import type { ImageShape, Network, NetworkPlugin } from '../models/network.js';
import { isBlackBox } from '../train/oracle.js';
import { isPretrained } from '../train/pretrained.js';
import type { Learner, Recipe } from '../train/recipe.js';
import { countInUse } from './data-access.js';
import type { Experiment } from './experiment.js';
import type { Facts } from './facts.js';
import { checkWeights } from './pretrained.js';

const refuse: Refusal = refusal('experiment');

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

/** What cannot be trained with so few images. */
const checkBatch = (where: string, { batch }: Recipe, count: number, what: string): void => {
  if (batch > count)
    refuse(
      `batch is ${batch}, and there are ${count} ${what}`,
      where,
      'Give a smaller batch, or a larger fraction of the images.',
    );
};

/** A network for an experiment's images and classes. */
const netOf = (network: NetworkPlugin, { image, classes }: Facts['data']): Network => {
  const built = own(network.name, () => network.build(image, classes.length));
  if (typeof built?.apply !== 'function' || typeof built.init !== 'function' || !Array.isArray(built.variables))
    refuse('what its build gives is no network', network.name, 'Give one, such as network of undistill/plugin makes.');
  const [wanted, found] = [formOf(image, classes.length), formOf(built.input, built.classes)];
  if (found !== wanted)
    refuse(
      `what its build gives is a net for ${found}, not for ${wanted}`,
      network.name,
      'Build it for the images and the number of classes that it is given.',
    );
  return built;
};

/** Refuses a network that does not fit the images, and a recipe that there are too few of. */
export const checkLearner = (
  where: string,
  { network, recipe }: Pick<Learner, 'network'> & { readonly recipe?: Recipe | undefined },
  of: Experiment,
  { data }: Facts,
): void => {
  if (recipe !== undefined) checkBatch(where, recipe, countInUse(data.train.count, of).train, 'training images');
  try {
    netOf(network, data);
  } catch (error) {
    if (error instanceof FailureError)
      throw new FailureError({ ...error.failure, where: `${where}: ${error.failure.where ?? network.name}` });
    throw error;
  }
};

const checkImages = (of: Experiment, { data }: Facts): void => {
  if (isUnlabelled(data))
    refuse(`the images of ${of.data.name} have no labels`, 'data', 'They are for transfer({ images }) alone.');
  const images = countInUse(data.train.count, of);
  if (of.validation > 0 && images.validation === 0)
    refuse(
      `a share of ${of.validation} of ${images.train} images is no image`,
      'validation',
      'Give it a larger share, or 0 to hold out nothing.',
    );
};

const checkTeacher = (of: Experiment, facts: Facts): void => {
  // A trained teacher's recipe is for those that train one like it.
  const trains = of.defenses.some(({ defense }) => partsOf(defense).some(({ protect }) => protect !== undefined));
  const needed = isPretrained(of.teacher) && !trains ? { network: of.teacher.network } : of.teacher;
  checkLearner('teacher', needed, of, facts);
  if (facts.weights !== undefined) checkWeights(facts.weights, netOf(of.teacher.network, facts.data));
};

/** Refuses an attack that the student cannot learn by; gives what one should know of it. */
const checkAttack = (
  { label: attacker, attack }: Experiment['attacks'][number],
  { label: student, learner }: Experiment['students'][number],
  of: Experiment,
  { data, others }: Facts,
): readonly string[] => {
  const nets = [netOf(of.teacher.network, data), netOf(learner.network, data)] as const;
  const other = attack.data.kind === 'other' ? others.get(attack.data.images) : undefined;
  if (other?.fingerprint === data.fingerprint)
    refuse(
      "the out-of-distribution images are the victim's own",
      `attacks: ${attacker}`,
      'Give another data set, or an attack on the training images, such as kd().',
    );
  const owned = ownsAShare(attack.data)
    ? shareOf(attack.data.fraction, countInUse(data.train.count, of).train)
    : undefined;
  const circumstances: Circumstances = {
    recipe: learner.recipe,
    budget: isBlackBox(attack.needs) ? (attack.budget ?? of.budget) : undefined,
    classes: data.classes,
    owned,
    images: other && { count: other.train.count, classes: other.classes },
  };
  const where = `attacks: ${attacker}, students: ${student}`;
  if (circumstances.budget !== undefined && circumstances.budget < fewestAnswers)
    refuse(
      `a budget of ${circumstances.budget} is less than a step asks for, which is of ${fewestAnswers} images or more`,
      where,
      'Give a larger budget.',
    );
  const objection = own(attacker, () => attack.refuses?.(...nets, circumstances));
  if (objection !== undefined) refuse(...inWords(objection, where));
  const doubt = own(attacker, () => attack.warns?.(...nets, circumstances));
  const shared = other === undefined ? [] : sharedClasses(data.classes, other.classes);
  if (owned !== undefined) checkBatch(where, learner.recipe, owned, 'training images in its share');
  return [
    ...(doubt === undefined ? [] : [`attacks: ${attacker}: ${doubt}`]),
    ...(shared.length === 0
      ? []
      : [`attacks: ${attacker}: its images may be of the victim's classes: ${firstFew(shared)}`]),
  ];
};

const checkDefense = ({ label, defense }: Experiment['defenses'][number], of: Experiment, facts: Facts): void => {
  const { image, classes } = facts.data;
  for (const part of partsOf(defense)) {
    // Its adversary is looked at where it is trained.
    for (const network of networksIn(part.params))
      if (network !== part.adversary) checkLearner(`defenses: ${label}`, { network }, of, facts);
    // Of what a defence prepares there is nothing yet: its recovery is looked at where it is used.
    if (part.prepare !== undefined) continue;
    const why = unfairRecovery(part, { image, classes: classes.length });
    if (why !== undefined) refuse(why, `defenses: ${label}`, recoveryRemedy);
  }
};

/**
 * Refuses what does not fit together, before anything is planned; gives what one should know. Throws a `FailureError` of kind
 * `experiment` that names the field, or of kind `plugin` for what a plugin throws.
 */
export const checkFit = (of: Experiment, facts: Facts): readonly string[] => {
  checkImages(of, facts);
  checkTeacher(of, facts);
  const warnings = new Set<string>();
  for (const student of of.students) {
    checkLearner(`students: ${student.label}`, student.learner, of, facts);
    for (const attack of of.attacks)
      for (const warning of checkAttack(attack, student, of, facts)) warnings.add(warning);
  }
  for (const defense of of.defenses) checkDefense(defense, of, facts);
  return [...warnings];
};
