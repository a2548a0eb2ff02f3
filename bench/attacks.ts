import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { everyAttack, smallStudent, smallTeacher } from '../experiments/attacks.js';
import type { AnyAttack } from '../src/attacks/attack.js';
import { authorisedKd } from '../src/attacks/authorised-kd.js';
import { inverseKd } from '../src/attacks/inverse-kd.js';
import { inverseKnockoff } from '../src/attacks/knockoff.js';
import { bayesKd, ddaeKd } from '../src/attacks/recovery.js';
import { median } from '../src/core/lists.js';
import { key, uniforms } from '../src/core/random.js';
import { dispose, type Tree } from '../src/core/tree.js';
import { datasetOf } from '../src/data/assemble.js';
import type { DatasetPlugin } from '../src/data/dataset.js';
import { none } from '../src/defenses/none.js';
import { reverseSigmoid } from '../src/defenses/reverse-sigmoid.js';
import { loadEngine } from '../src/engine/engine.js';
import { profile } from '../src/engine/profile.js';
import { take } from '../src/engine/step.js';
import { experiment } from '../src/experiment/experiment.js';
import type { Plan } from '../src/experiment/plan.js';
import type { Stage } from '../src/experiment/stage.js';
import { prepare } from '../src/harness/session.js';
import type { Network } from '../src/models/network.js';
import { gitState } from '../src/run/git.js';
import { type AnyFit, callAt, rehearse } from '../src/run/rehearsal.js';
import type { RunEnvironment } from '../src/run/types.js';
import { allSteps } from '../src/train/fit.js';
import { frameOf, wholeState, wholeStep } from '../src/train/fit-step.js';
import type { Learner } from '../src/train/recipe.js';
import { asInARun, describe, fitting, type Subject, stepping } from './common.js';
import { type Counted, nothing, partsOf, shapesIn, type Unit, unitsOf } from './passes.js';

const usage = `npm run bench:attacks -- [--only TEXT] [--rounds N] [--threads N] [--cpu] [--out FILE]

What a step of each attack costs, at its settings of experiments/attacks.ts for small nets and images of 32×32×1, on an undefended victim
(what undoes a defence on one that answers through a reverse sigmoid), beside what its passes cost alone: each pass of victim, students and
generator, with the gradients that it gives and the optimiser's step after it, is a compiled step of its own on a batch of the same size. They
are taken one after the other, as in the step, so that each finds in the caches what the others left there. Step and passes are timed in turn,
so that they meet the same machine; medians over rounds. What it costs to call a step counts once on either side.

--cpu: times are the processor's that this process took, with --threads 1, where other work runs on the machine. The table goes to --out
too: by default results/attack-costs.md, unless --only leaves some attacks out.`;

/** From where on the work beside its passes makes an attack slower than it should be. */
const limit = 1.3;

/** Milliseconds for which something is timed in a round, at least. */
const turn = 60;

/** Short steps are taken so many times before they are timed: a runner settles how many go into a call. */
const warmUp = 36;

/** Images of nothing, which cost what others do. */
const imagesOf = (name: string): DatasetPlugin => {
  const part = (which: string, count: number) => ({
    images: Uint8Array.from(uniforms(key(`${name}, ${which}`), count * 32 * 32, 128), (value) => value + 128),
    labels: Uint8Array.from({ length: count }, (_, i) => i % 10),
    count,
  });
  return {
    name,
    params: {},
    source: import.meta.url,
    load: () =>
      datasetOf(name, () => ({
        image: { height: 32, width: 32, channels: 1 },
        classes: Array.from({ length: 10 }, (_, i) => `${name} ${i}`),
        train: part('training', 8192),
        test: part('test', 1000),
      })),
  };
};

/** Milliseconds by the clock, or of the processor. */
let now = (): number => performance.now();
const ofProcessor = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Something that is timed, by how many steps at a time. */
interface Timed {
  readonly subject: Pick<Subject, 'run'>;
  readonly steps: number;
}

/** Milliseconds of a step. */
const timeOf = ({ subject, steps }: Timed): number => {
  const started = now();
  subject.run(steps);
  return (now() - started) / steps;
};

const warmed = (subject: Timed['subject']): Timed => {
  subject.run(2);
  const once = timeOf({ subject, steps: 2 });
  if (once < 10) subject.run(warmUp);
  return { subject, steps: once > turn ? 1 : 4 * Math.ceil(turn / timeOf({ subject, steps: 4 }) / 4) };
};

/** Units that are timed, kept from fit to fit. */
const units = new Map<string, Timed>();

const timedUnit = ({ key: name, step, begin }: Unit): Timed => {
  const known = units.get(name);
  if (known !== undefined) return known;
  const { frozen, state } = begin();
  const made = warmed(stepping(step, { frozen, state, next: () => ({ batch: {}, images: 0 }), rate: 1e-4 }));
  units.set(name, made);
  return made;
};

/** A step is each unit as often as it is in one, each in a call of its own. */
const oneByOne = (parts: readonly Counted<Pick<Timed, 'subject'>>[]): Timed['subject'] => ({
  run: (steps) => {
    for (let step = 0; step < steps; step++)
      for (const { subject, times } of parts) for (let i = 0; i < times; i++) subject.run(1);
    return 0;
  },
});

interface Cost {
  readonly attack: string;
  readonly fit: string;
  /** Its steps in a whole attack. */
  readonly steps: number;
  readonly parts: readonly Counted<Unit>[];
  /** Milliseconds of a step, and of its parts alone. */
  readonly step: number;
  readonly alone: number;
  /** The first and third quartile of the rounds' ratios of both. */
  readonly between: readonly [number, number];
  /** What a step above the limit does beside its passes, in words. */
  readonly rest?: string;
}

/** A step of a fit in its middle, at the beginning of an epoch, where batches are whole. */
const middleOf = (steps: number, inEpoch: number): number => {
  const middle = Math.floor(steps / 2);
  return middle - (middle % inEpoch);
};

/** A step of a fit with all that it is of, for the length of `use`. */
const withStep = <A>(spec: AnyFit, at: number, use: (of: ReturnType<typeof stepOf>) => A): A => {
  const of = stepOf(spec, at);
  try {
    return use(of);
  } finally {
    dispose([of.state, of.data, of.call.batch, of.call.inputs]);
  }
};

const stepOf = (spec: AnyFit, at: number) => {
  const source = spec.source(key('batches'));
  const { call } = callAt(spec, source, key('bench'), at);
  const frozen = frameOf(spec, source.data);
  return { step: wholeStep(spec), frozen, state: wholeState(spec, key('bench')), data: source.data, call };
};

const costOf = (
  { attack, fit, steps }: Pick<Cost, 'attack' | 'fit' | 'steps'>,
  spec: AnyFit,
  at: number,
  rounds: number,
): Cost => {
  const parts = withStep(spec, at, ({ step, frozen, state, call }) =>
    unitsOf(
      partsOf(() => {
        const taken = take(step, frozen, state, call);
        dispose([taken.state, taken.metrics]);
      }),
    ),
  );
  const taking = fitting(spec, at);
  const whole = warmed(taking);
  const passes = warmed(oneByOne(parts.map((part) => ({ ...timedUnit(part), times: part.times }))));
  const empty = timedUnit(nothing);
  const emptySingly = warmed(oneByOne([{ ...empty, times: 1 }]));
  const calls = parts.reduce((sum, { times }) => sum + times, 0);
  const found = Array.from({ length: rounds }, () => {
    const [step, call, singly] = [timeOf(whole), timeOf(empty), timeOf(emptySingly)];
    return { step, alone: timeOf(passes) - calls * singly + call };
  });
  taking.dispose();
  const ratios = found.map((round) => round.step / round.alone).sort((a, b) => a - b);
  const quartile = (share: number): number => ratios[Math.round(share * (rounds - 1))] as number;
  const [step, alone] = [median(found.map((round) => round.step)), median(found.map((round) => round.alone))];
  const rest = step > limit * alone ? { rest: restOf(spec, at, parts) } : {};
  return { attack, fit, steps, parts, step, alone, between: [quartile(0.25), quartile(0.75)], ...rest };
};

/** Milliseconds by operation of a step that is taken operation by operation. */
const operationsIn = (of: Parameters<typeof profile<Tree, Tree, Tree, Tree>>): ReadonlyMap<string, number> => {
  const { trace, seconds } = profile(...of);
  const sums = new Map<string, number>();
  trace.nodes.forEach((node, i) => {
    if (node.kind !== 'operation') return;
    sums.set(node.name, (sums.get(node.name) ?? 0) + 1000 * (seconds[i] as number));
  });
  return sums;
};

/** What takes the most time of a step when the operations of its parts are taken away. */
const restOf = (spec: AnyFit, at: number, parts: readonly Counted<Unit>[]): string =>
  withStep(spec, at, ({ step, frozen, state, call }) => {
    const rest = new Map(operationsIn([step as never, { frozen, state, call, steps: 9 }]));
    for (const { step: part, begin, times } of parts) {
      const own = begin();
      const found = operationsIn([part, { ...own, call: { batch: {}, inputs: call.inputs }, steps: 9 }]);
      for (const [name, time] of found) rest.set(name, (rest.get(name) ?? 0) - times * time);
      dispose([own.frozen, own.state]);
    }
    return [...rest]
      .sort(([, a], [, b]) => b - a)
      .slice(0, 5)
      .map(([name, time]) => `${name} ${time.toFixed(1)} ms`)
      .join(', ');
  });

/** What an attack's fits in a stage cost; they are looked at where they would be made. */
const costsIn = async (
  environment: RunEnvironment,
  stage: Stage,
  attack: string,
  rounds: number,
): Promise<readonly Cost[]> => {
  const costs: Cost[] = [];
  await rehearse(environment, stage, {
    fit: (fit, spec, { times }) => {
      const source = spec.source(key('batches'));
      dispose(source.data);
      const steps = allSteps(spec, source.steps);
      costs.push(costOf({ attack, fit, steps: times * steps }, spec, middleOf(steps, source.steps), rounds));
    },
  });
  return costs;
};

/** Whose nets are whose, by the shapes of their weights; others go by their own names. */
const namesOf = (known: Readonly<Record<string, Network>>): ((unit: Unit) => string) => {
  const forms = new Map(Object.entries(known).map(([name, net]) => [JSON.stringify(shapesIn(net)), name]));
  return ({ weights, where }) => {
    const [name, ...others] = Object.keys(weights);
    const own = where.replace(/ on? .*/, '') || (others.length === 0 ? name : 'together');
    return forms.get(JSON.stringify(weights)) ?? own ?? '';
  };
};

/** As in `victim 10 F; student 5 F, 5 FWU`. */
const listed = (parts: readonly Counted<Unit>[], nameOf: (unit: Unit) => string): string => {
  const byNet = new Map<string, Map<string, number>>();
  for (const part of parts) {
    const net = byNet.get(nameOf(part)) ?? new Map<string, number>();
    net.set(part.what, (net.get(part.what) ?? 0) + part.times);
    byNet.set(nameOf(part), net);
  }
  return [...byNet]
    .map(([net, whats]) => `${net} ${[...whats].map(([what, times]) => `${times} ${what}`).join(', ')}`)
    .join('; ');
};

const columns = ['attack', 'fit', 'steps', 'ms a step', 'ms of its passes alone', 'ratio', 'half of the rounds'];

const rowOf = ({ attack, fit, steps, step, alone, between, parts }: Cost, nameOf: (unit: Unit) => string): string => {
  const times = [step.toFixed(2), alone.toFixed(2), `${(step / alone).toFixed(2)}×`];
  const half = between.map((ratio) => ratio.toFixed(2)).join(' to ');
  return `| ${[attack, fit, steps, ...times, half, listed(parts, nameOf)].join(' | ')} |`;
};

const legend = `A step's passes: F forward, I with the gradient to what went in, W with the gradients to the weights, U with the optimiser's step, each on
the step's own batch. Alone, each is a compiled step by itself; they are taken one after the other, and what it costs to call one counts once.
A step has beside them: its batch, and how its images are changed; the losses and their gradients; what it draws, remembers and logs. Steps are
those of a whole attack; what is done between its fits (asking about a whole set, making new points of it) is no step.`;

/** The stages of an attack, on the first of the victims that it is tried on. */
const stagesOf = (plan: Plan, attack: AnyAttack): readonly Stage[] => {
  const thefts = plan.stages.flatMap((stage) => {
    const { work } = stage;
    return (work.kind === 'steal' || work.kind === 'synthesise') && work.attack === attack
      ? [{ stage, alone: work.wrappers.length === 0 }]
      : [];
  });
  const undefended = thefts.some(({ alone }) => alone);
  return thefts.filter(({ alone }) => alone === undefended).map(({ stage }) => stage);
};

/** Which are above the limit, and what they do there. */
const verdictOn = (costs: readonly Cost[]): string => {
  const above = costs.filter(({ rest }) => rest !== undefined);
  if (above.length === 0) return `None takes more than ${limit} times what its passes take alone.`;
  const lines = above.map(
    ({ attack, fit, step, alone, rest }) =>
      `- ${attack}, ${fit}: ${(step / alone).toFixed(2)}×. Beside its passes, operation by operation: ${rest}.`,
  );
  return [`More than ${limit} times what its passes take alone:`, '', ...lines].join('\n');
};

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      rounds: { type: 'string', default: '15' },
      threads: { type: 'string' },
      cpu: { type: 'boolean', default: false },
      out: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const engine = await loadEngine(values.threads === undefined ? {} : { threads: Number(values.threads) });
  if (values.cpu) now = ofProcessor;
  const rounds = Number(values.rounds);
  const attacks = [
    ...everyAttack(imagesOf('other')),
    authorisedKd(),
    inverseKd(),
    inverseKnockoff({ images: imagesOf('other') }),
    bayesKd(),
    ddaeKd(),
  ].filter(({ name }) => name.includes(values.only ?? ''));
  if (attacks.length === 0) throw new Error(`--only ${values.only} is part of no attack's name`);
  const prepared = await prepare(
    experiment({
      name: 'attack-costs',
      data: imagesOf('own'),
      teacher: smallTeacher(6),
      students: [smallStudent(4)],
      defenses: [none(), reverseSigmoid()],
      attacks,
      budget: 1_000_000,
      seeds: [0],
    }),
  );
  const { plan, data } = prepared;
  const netOf = ({ network }: Learner): Network => network.build(data.image, data.classes.length);
  const nameOf = namesOf({ victim: netOf(smallTeacher(6)), student: netOf(smallStudent(4)) });
  const git = await gitState(fileURLToPath(import.meta.url));
  const commit = git === undefined ? '' : ` at commit ${git.commit.slice(0, 7)}${git.dirty ? ', with changes' : ''}`;
  const busy = `a load of ${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores when it began`;
  const lines: string[] = [];
  const say = (...more: readonly string[]): void => {
    for (const line of more) console.log(line);
    lines.push(...more);
  };
  say('# What a step of each attack costs', '');
  say(`\`npm run bench:attacks\`${commit}: ${describe(engine)}; medians of ${rounds} rounds in turn, in milliseconds`);
  say(`${values.cpu ? 'of the processor' : 'by the clock'}; ${busy}.`, '', legend, '');
  say(`| ${[...columns, "a step's passes"].join(' | ')} |`, '|---|---|--:|--:|--:|--:|---|---|');
  const costs: Cost[] = [];
  for (const { label, attack } of plan.experiment.attacks)
    for (const stage of stagesOf(plan, attack)) {
      const found = await costsIn(prepared as unknown as RunEnvironment, stage, label, rounds);
      say(...found.map((cost) => rowOf(cost, nameOf)));
      costs.push(...found);
    }
  say('', verdictOn(costs));
  const out = values.out ?? (values.only === undefined ? 'results/attack-costs.md' : undefined);
  if (out !== undefined) writeFileSync(out, `${lines.join('\n')}\n`);
};

await asInARun(main);
