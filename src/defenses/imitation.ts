import * as tf from '@tensorflow/tfjs';
import { awaitable } from '../core/errors.js';
import { clone, dispose, keep, type Tree } from '../core/tree.js';
import { logSoftmax } from '../engine/ops.js';
import type { Context, Doing } from '../train/context.js';
import { byPixels, normalisePixels } from '../train/images.js';
import { type Answers, handedOn } from '../train/oracle.js';
import { type Defense, type DefenseContext, namesAdversary, type Teacher, wrappersOf } from './defense.js';

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
 * Whether who knows a defence can try what it makes of an answer: it changes answers, and needs nothing for it that no attacker has. That is an
 * adversary of the defence's own, and the victim's net where that is asked anew: then the answer that is handed in is no part of what is told.
 */
export const canBeImitated = (defense: Defense): boolean => {
  const wrappers = wrappersOf(defense);
  return (
    wrappers.length > 0 && !wrappers.some((each) => each.answers?.asksAnew || (each.prepare && namesAdversary(each)))
  );
};

export interface Copying {
  /** The images that a defence names as `outliers`. */
  readonly outliersOf: (defense: Defense) => Pick<DefenseContext, 'outliers'>;
  /** Waits for what a plugin does. */
  readonly ran: <A>(start: () => Doing<A>) => Promise<A>;
  /** Images that what remembers is asked about; default: all of the attacker's. */
  readonly images?: number | undefined;
}

/** Images that a defence is asked about at once. */
const imagesAtOnce = 100;

/**
 * A copy of defences that change answers, by an attacker who knows them, their parameters too, and none of their secrets. What they prepare is
 * prepared of the stand-in on the attacker's images; what they draw is drawn with numbers of its own. What remembers questions was asked once about those
 * images, which the stand-in answered, and then comes to remember no more: a victim that is asked on may tell something else.
 */
export const imitationOf = async (
  wrappers: readonly Defense[],
  { teacher, train, validation }: StandIn,
  context: Context,
  { outliersOf, ran, images }: Copying,
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
    const drawn = key.split('call').split(calls++);
    let told = clean;
    const after = wrappers.map(({ answers }, i) => {
      const own = answers as Answers;
      const { logProbabilities, state = {} } = own.answer({
        logProbabilities: handedOn(told, wrappers[i - 1]?.answers, own),
        clean,
        images,
        seed: tf.tensor1d([...drawn.split(i).int32Pair()], 'int32'),
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
      const own = under(`imitation-${i + 1}`, context);
      const owner = () => ({ ...own, ...outliersOf(defense), train, validation, adversary: teacher });
      prepared.push(prepare === undefined ? {} : await ran(() => prepare(teacher, owner())));
    }
    const about = { input: network.input, classes: network.classes };
    memory = wrappers.map(({ answers }, i) => answers?.init?.(prepared[i] as Tree, about) ?? {});
    if (wrappers.some(({ answers }) => answers?.kind === 'stateful'))
      await byPixels(train, { batch: imagesAtOnce, images, key: key.split('asked') }, (pixels) => {
        const seen = normalisePixels(pixels, normalisation);
        const { after } = pass(logSoftmax(network.apply(variables, seen, { mode: 'eval' }).logits), pixels, false);
        const before = memory;
        memory = keep(clone(after));
        dispose(before);
        return [];
      });
  } catch (error) {
    release();
    throw error;
  }
  return { tell: (clean, pixels) => tf.tidy(() => pass(clean, pixels, true).told), release };
};

/** A context that keeps what is made under names of its own; images that are made in it are nobody else's. */
const under = (prefix: string, context: Context): Context => {
  const named = (name: string) => `${prefix}-${name}`;
  return {
    ...context,
    key: context.key.split(prefix),
    fit: (name, spec) => context.fit(named(name), spec),
    loop: (name, { body, ...loop }) =>
      context.loop(named(name), {
        ...loop,
        body: (state, iteration, inner) => body(state, iteration, under(prefix, inner)),
      }),
    ask: (name, victim, images) => context.ask(named(name), victim, images),
    images: (name, make) => awaitable('plugin', make, named(name)),
    pool: async () => [],
    value: (name, make) => context.value(named(name), make),
  };
};
