import { synthesises } from '../attacks/attack.js';
import { wrappersOf } from '../defenses/defense.js';
import type { Experiment } from './experiment.js';
import type { Facts } from './facts.js';
import { checkFit } from './fits.js';
import { type MeasureStages, measuring } from './measuring.js';
import { newStages, type Stage } from './stage.js';
import { baselineFor, baselineOf, changing, type Target, thefts, whyNot } from './thefts.js';
import { victims as victimStages } from './victims.js';

/** One number of the matrix: where its student is evaluated, and what it is compared with. */
export interface CellPlan {
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  readonly seed: string;
  /** Ids of stages; absent where the attack needs more than the defence exposes. */
  readonly stages?: MeasureStages & {
    readonly steal: string;
    /** The same student trained honestly on the same images. */
    readonly baseline: string;
    readonly baselineMeasure: string;
    /** Where the images that the attack synthesised lie, and where they are looked at. */
    readonly images?: string;
    readonly inspect?: string;
  };
  readonly reason?: string;
}

/** A victim: its evaluation, how its answers are measured, and how far a retrained one is from its adversary. */
export interface VictimPlan extends MeasureStages {
  readonly defense: string;
  readonly seed: string;
  readonly train: string;
  readonly evaluate: string;
  /** Present when its answers are changed on the way. */
  readonly answer?: string;
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

/** An attack, and what its students are compared with. */
interface Attacker {
  readonly attacker: Experiment['attacks'][number];
  readonly honest: Experiment['attacks'][number];
}

/** Whom attacks are on, and where its own answers are. */
type Victim = Target & { readonly evaluate: Stage };

/**
 * What an experiment consists of: its stages, and which of them each number of the matrix is made of. Nothing is read or
 * computed. Throws a `FailureError` of kind `experiment` for what does not fit together.
 */
export const plan = (of: Experiment, facts: Facts): Plan => {
  const warnings = checkFit(of, facts);
  const stages = newStages(of, facts);
  const { evaluated, measured, measuredAlone, divergence } = measuring(of, stages.add);
  const { undefended, protectedTeacher, preparations, answered } = victimStages(of, facts, stages.add);
  const stolen = thefts(of, facts, stages.add);
  const { network } = of.teacher;
  const victims: VictimPlan[] = [];
  const cells: CellPlan[] = [];
  // Labels are any text, and this object inherits nothing that they could be taken for.
  const baselines: Record<string, string> = Object.create(null);
  const teachers = of.seeds.map(undefended);
  const attackers = new Map(
    of.attacks.map((attacker): [string, Attacker] => [
      attacker.label,
      { attacker, honest: baselineFor(attacker.attack, of, facts.code) },
    ]),
  );

  of.seeds.forEach((seed, index) => {
    const baseline = teachers[index] as Stage;
    const setting = { seed: seed.victim, where: `seed-${seed.label}`, baseline };
    const another = teachers.find((teacher) => teacher !== baseline);
    const targets = new Map<string, Victim>();

    for (const { label, defense } of of.defenses) {
      const { teacher, adversary } = protectedTeacher(defense, label, setting);
      const evaluate = evaluated({ stage: teacher, network });
      const prepared = preparations(defense, label, teacher, setting);
      targets.set(label, { label, defense, teacher, prepared, evaluate });
      const answer = answered(defense, label, [teacher, prepared], setting);
      const tellsClean = changing(wrappersOf(defense), 'label').length === 0;
      // How far two normally trained nets are apart is the scale for a nasty teacher's divergence: the baseline from the
      // adversary where that is another net, else from the teacher of another seed.
      const other = adversary?.stage === baseline ? another && { stage: another, network } : adversary;
      const apart =
        adversary && divergence({ stage: teacher, network }, adversary, other && [{ stage: baseline, network }, other]);
      victims.push({
        defense: label,
        seed: seed.label,
        train: teacher.id,
        evaluate: evaluate.id,
        ...(answer === undefined
          ? measured(evaluate)
          : measured(answer, { clean: evaluate, ...(tellsClean && { tellsClean }) })),
        ...(answer && { answer: answer.id }),
        ...(apart && { divergence: apart.id }),
      });
    }

    for (const student of of.students)
      for (const pairing of of.pairings) {
        const { attacker, honest } = attackers.get(pairing.attack) as Attacker;
        const target = targets.get(pairing.defense) as Victim;
        const { attack } = attacker;
        const cell = { ...pairing, student: student.label, seed: seed.label };
        const reason = whyNot(attack, target);
        if (reason !== undefined) {
          cells.push({ ...cell, reason });
          continue;
        }
        const steal = stolen(attacker, student, target, seed);
        baselines[pairing.attack] = honest.label;
        const alone = stolen(honest, student, undefined, seed);
        const learned = student.learner.network;
        const images = synthesises(attack) ? (steal.inputs.pool ?? steal.id) : undefined;
        const inspect =
          images &&
          stages.add(
            `${steal.label}/images`,
            { kind: 'inspect', teacher: network, verifier: learned },
            { images, victim: steal.inputs.victim as string, verifier: alone.id },
            { select: of.select, teacher: network, verifier: learned },
          );
        cells.push({
          ...cell,
          stages: {
            steal: steal.id,
            ...measured(evaluated({ stage: steal, network: learned }), {
              victim: attack.needs === 'none' ? undefined : target.evaluate,
            }),
            baseline: alone.id,
            baselineMeasure: measuredAlone(evaluated({ stage: alone, network: learned })),
            ...(images && inspect && { images, inspect: inspect.id }),
          },
        });
      }
  });
  return { experiment: of, stages: stages.all(), cells, victims, baselines, warnings };
};

/** The values of which a plan is made: its results depend on the code of the modules that they come from. */
export const plannedValues = (of: Experiment): unknown => [
  of.data,
  of.teacher,
  of.students,
  of.defenses,
  of.attacks,
  of.metrics,
  of.attacks.map(({ attack }) => baselineOf(attack)),
];
