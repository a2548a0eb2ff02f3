import * as tf from '@tensorflow/tfjs';
import { type ImageShape, type Named, type Network, type Shape, v } from '../public/plugin.js';
import { attentionDistance } from '../public/train.js';

/** Activations to be compared: the victim's and the student's. */
export type Pair = readonly [victim: string, student: string];

/** An option that names a pair. */
export const anyPair = v.pipe(
  v.tuple([v.string(), v.string()]),
  v.title("a pair of activations, the victim's and the student's: ['layer2', 'block1']"),
);

/** An option that names pairs. */
export const anyPairs = v.pipe(
  v.array(anyPair),
  v.minLength(1),
  v.title("pairs of activations, the victim's and the student's: [['layer2', 'block1']]"),
);

/** The names of the victim's activations, or of the student's, each once. */
export const namesOf = (pairs: readonly Pair[], of: 'victim' | 'student'): readonly string[] => [
  ...new Set(pairs.map((pair) => pair[of === 'victim' ? 0 : 1])),
];

/** The sum over pairs of how far the attention maps of student and victim are apart. */
export const attentionBetween = (pairs: readonly Pair[], student: Named, victim: Named): tf.Scalar =>
  tf.addN(
    pairs.map(([theirs, own]) => attentionDistance(student[own] as tf.Tensor4D, victim[theirs] as tf.Tensor4D)),
  ) as tf.Scalar;

/** The shape of an activation that is an image. */
export const imageAt = ({ activations }: Network, name: string): ImageShape | undefined => {
  const shape: Shape | undefined = activations[name];
  return shape?.kind === 'image' ? shape : undefined;
};

export const sideOf = ({ height, width }: ImageShape): number => Math.max(height, width);

/** The last activation of each size, from large to small. */
const stagesOf = (network: Network): readonly string[] => {
  const bySide = new Map<number, string>();
  for (const name of Object.keys(network.activations)) {
    const image = imageAt(network, name);
    if (image !== undefined && sideOf(image) > 1) bySide.set(sideOf(image), name);
  }
  return [...bySide].sort(([a], [b]) => b - a).map(([, name]) => name);
};

/** To the last activation of each size of the student's, the victim's of the size next to it. */
export const pairsOf = (victim: Network, student: Network): readonly Pair[] => {
  const size = (network: Network, name: string): number => Math.log(sideOf(imageAt(network, name) as ImageShape));
  return stagesOf(student).flatMap((own) => {
    const apart = (name: string): number => Math.abs(size(victim, name) - size(student, own));
    const [nearest] = [...stagesOf(victim)].sort((a, b) => apart(a) - apart(b));
    return nearest === undefined ? [] : [[nearest, own] as const];
  });
};

/** Why pairs cannot be compared: one of them is not there, or no image. */
export const whyNoPairs = (victim: Network, student: Network, pairs: readonly Pair[]): string | undefined => {
  if (pairs.length === 0) {
    const without = stagesOf(student).length === 0 ? student : victim;
    return `${without.name} has no activations that are images`;
  }
  return pairs
    .flatMap(([theirs, own]) => [whyNoImage(victim, theirs), whyNoImage(student, own)])
    .find((why) => why !== undefined);
};

/** Why an activation that is asked for cannot be had as an image. */
export const whyNoImage = (network: Network, asked: string): string | undefined => {
  const { name, activations } = network;
  if (activations[asked] === undefined)
    return `${name} has no activation ${asked}; it has ${Object.keys(activations).join(', ') || 'none'}`;
  return imageAt(network, asked) === undefined ? `the activation ${asked} of ${name} is no image` : undefined;
};
