import type { Network, Objection } from '../public/plugin.js';

/**
 * Why images cannot be made to fit what a victim's batch norms know of its training images; undefined where they can, and where that has no
 * weight.
 *
 * @param weight that of the attack's option `batchNorm`; absent where it cannot do without
 */
export const whyNoBatchNorms = (
  { name, variables }: Pick<Network, 'name' | 'variables'>,
  weight?: number,
): Objection | undefined => {
  if (weight === 0 || variables.some(({ over }) => over === 'images')) return undefined;
  const reason = `${name} has no batch norm over images, whose statistics the images are made to fit`;
  return weight === undefined ? reason : { reason, remedy: 'Choose another network, or give batchNorm 0.' };
};

/**
 * A fraction of so many batches of images: fewer batches first, and shorter ones where a single batch is too many. `length` is the share of a
 * batch's iterations that is left.
 */
export const fewerBatches = (
  batches: number,
  factor: number,
): { readonly batches: number; readonly length: number } => {
  const fewer = Math.max(1, Math.round(factor * batches));
  return { batches: fewer, length: Math.min(1, (factor * batches) / fewer) };
};
