import * as tf from '@tensorflow/tfjs';
import { clone, dispose, keep, type Tree } from '../core/tree.js';
import { logSoftmax } from '../engine/ops.js';
import type { Context, Doing } from '../train/context.js';
import { byPixels, normalisePixels } from '../train/images.js';
import type { Answers } from '../train/oracle.js';
import { type Defense, type DefenseContext, type Teacher, wrappersOf } from './defense.js';

/** Who takes the place of a victim and its owner: a net of the attacker's, and the images that it owns. Tensors are borrowed. */
export interface StandIn extends Pick<DefenseContext, 'train' | 'validation'> {
  readonly teacher: Teacher;
}

/** An attacker's own copy of how a victim is defended. */
export interface Imitation {
  /**
   * What it makes of clean log-probabilities; [batch, classes] each.
   *
   * @param pixels what is asked about, in [0, 1], [batch, height, width, channels]
   */
  tell(clean: tf.Tensor2D, pixels: tf.Tensor4D): tf.Tensor2D;
  /** Frees what it holds. */
  release(): void;
}

/**
 * Whether who knows a defence can try what it makes of an answer: it changes answers, and none of its parts asks the victim's net anew, so that
 * what it tells is made of another one.
 */
export const canBeImitated = (defense: Defense): boolean => {
  const wrappers = wrappersOf(defense);
  return wrappers.length > 0 && !wrappers.some(({ answers }) => answers?.asksAnew);
};

export interface Copying {
  /** The images that a defence names as `outliers`. */
  readonly outliersOf: (defense: Defense) => Pick<DefenseContext, 'outliers'>;
  /** Waits for what a plugin does. */
  readonly ran: <A>(start: () => Doing<A>) => Promise<A>;
}

/** Images that a defence is asked about at once. */
const together = 100;

/**
 * A copy of defences that change answers, by an attacker who knows them, their parameters too, and none of their secrets. What they prepare is
 * prepared of the stand-in on the attacker's images; what they draw is drawn with numbers of its own; and what remembers questions was asked once about those
 * images, which the stand-in answered.
 */
export const imitationOf = async (
  wrappers: readonly Defense[],
  { teacher, train, validation }: StandIn,
  context: Context,
  { outliersOf, ran }: Copying,
): Promise<Imitation> => {
  const {
    learner: { network },
    variables,
  } = teacher;
  const { normalisation } = train;
  const victim = { network, normalisation, variables };
  const key = context.key.split('imitation');
  const secret = tf.tensor1d([...key.split('secret').int32Pair()], 'int32');
  const prepared: Tree[] = [];
  let memory: readonly Tree[] = [];
  const release = () => dispose([secret, prepared, memory]);
  let calls = 0;
  /** What is told, and what is remembered of it. */
  const pass = (clean: tf.Tensor2D, images: tf.Tensor4D, frozen: boolean) => {
    const own = key.split('call').split(calls++);
    let told = clean;
    const after = wrappers.map(({ answers }, i) => {
      const { logProbabilities, state = {} } = (answers as Answers).answer({
        logProbabilities: told,
        clean,
        images,
        seed: tf.tensor1d([...own.split(i).int32Pair()], 'int32'),
        secret,
        prepared: prepared[i] as Tree,
        state: memory[i] as Tree,
        frozen,
        victim,
      });
      told = logProbabilities;
      return state;
    });
    return { told, after };
  };
  try {
    for (const [i, defense] of wrappers.entries()) {
      const { prepare } = defense;
      const given = { ...under(`imitation-${i + 1}`, context), ...outliersOf(defense), train, validation };
      prepared.push(prepare === undefined ? {} : await ran(() => prepare(teacher, { ...given, adversary: teacher })));
    }
    const about = { input: network.input, classes: network.classes };
    memory = wrappers.map(({ answers }, i) => answers?.init?.(prepared[i] as Tree, about) ?? {});
    if (wrappers.some(({ answers }) => answers?.kind === 'stateful'))
      byPixels(train, { batch: together, key: key.split('asked') }, (pixels) => {
        const seen = normalisePixels(pixels, normalisation);
        const { after } = pass(logSoftmax(network.apply(variables, seen, { mode: 'eval' }).logits), pixels, false);
        const before = memory;
        memory = keep(clone(after));
        dispose(before);
      });
  } catch (error) {
    release();
    throw error;
  }
  return { tell: (clean, pixels) => tf.tidy(() => pass(clean, pixels, true).told), release };
};

/** A context that keeps what is made under names of its own. */
const under = (prefix: string, context: Context): Context => {
  const named = (name: string) => `${prefix}-${name}`;
  return {
    ...context,
    key: context.key.split(prefix),
    fit: (name, spec) => context.fit(named(name), spec),
    loop: (name, loop) => context.loop(named(name), loop),
    ask: (name, victim, images) => context.ask(named(name), victim, images),
    images: (name, make) => context.images(named(name), make),
    value: (name, make) => context.value(named(name), make),
  };
};
