import {
  adaptiveMisinformation,
  adversarialSparse,
  antidistillation,
  compose,
  type DatasetPlugin,
  dcp,
  emma,
  experiment,
  fashionMnist,
  gaussianNoise,
  grad2,
  highConfidence,
  ini,
  keepArgmax,
  labelOnly,
  labelSmoothing,
  mad,
  meco,
  mildlyNasty,
  misleader,
  mnist,
  modelGuard,
  nasty,
  none,
  productOfExperts,
  randomClass,
  reversedLogits,
  reverseSigmoid,
  rounding,
  safeDistillationBox,
  scratch,
  selfDistilled,
  smoothTeacher,
  stingy,
  strongest,
  sweep,
  topK,
} from 'undistill';
import { smallStudent, smallTeacher } from './attacks.js';

/**
 * Every defence against the strongest attackers, who have the victim's images, or others: what `undistill rank` makes a table of. Attackers without
 * images are left out, which take several times as long as these together: `strongest({ has: 'none', size: 'small' })` adds them; and so is a
 * student of another net, which `students` adds.
 *
 * A fifth of the images, where answers tell a student more than its labels do: of all of them, labels alone make it as good as the victim. In four
 * epochs of its own it asks 43,200 times, and as often of others; against noise it asks again, and is not held to that.
 */
export const rankingOn = (name: string, data: DatasetPlugin, images: DatasetPlugin) =>
  experiment({
    name,
    about: 'Every defence, by what the strongest attacker gets of it',
    data,
    fraction: 0.2,
    teacher: smallTeacher(12),
    students: [smallStudent(4)],
    defenses: [
      none(),
      labelOnly(),
      // What is told is less.
      ...sweep(rounding, { digits: [1, 2] }),
      ...sweep(topK, { k: [1, 3] }),
      ...sweep(stingy, { ratio: [0.2, 0.5] }),
      ...sweep(highConfidence, { cutoff: [0.25, 0.75] }),
      reversedLogits(),
      // What is told is something else: yardsticks first.
      ...sweep(randomClass, { epsilon: [0.1, 0.2, 0.5, 1] }),
      keepArgmax({ defense: randomClass({ epsilon: 1 }) }),
      ...sweep(gaussianNoise, { sd: [0.1, 0.2] }),
      ...sweep(reverseSigmoid, { beta: [0.21, 0.8] }),
      ...sweep(dcp, { beta: [0.8, 1, 1.5] }),
      ...sweep(mad, { epsilon: [0.1, 0.2, 0.5, 1] }),
      ...sweep(mad, { epsilon: [0.2, 0.5] }, { oracle: 'extreme' }),
      ...sweep(modelGuard, { variant: ['W', 'S'], epsilon: [0.5, 1] }),
      // By a net that stands for the attacker's.
      ...sweep(
        adaptiveMisinformation,
        { threshold: [0.7, 0.99] },
        { ...adaptiveMisinformation.presets.mnistSmall, outliers: images },
      ),
      ...sweep(grad2, { epsilon: [0.2, 0.5, 1] }, grad2.presets.mnistSmall),
      ...sweep(
        antidistillation,
        { variant: ['adsC', 'ads'], lambda: [0.05, 0.2, 1, 5, 25] },
        antidistillation.presets.mnistSmall,
      ),
      antidistillation({ variant: 'cts', ...antidistillation.presets.mnistSmall }),
      productOfExperts(productOfExperts.presets.mnistSmall),
      ...sweep(productOfExperts, { gamma: [0.3, 0.6] }, { ...productOfExperts.presets.mnistSmall, keepLabel: true }),
      // By a weaker net than the teacher's own.
      antidistillation({
        ...antidistillation.presets.mnistSmall,
        lambda: 5,
        surrogate: smallStudent(4).network,
        label: 'antidistillation(variant adsC, lambda 5), weaker proxy',
      }),
      productOfExperts({
        ...productOfExperts.presets.mnistSmall,
        surrogate: smallStudent(4).network,
        label: 'productOfExperts(gamma 0.6), weaker proxy',
      }),
      ...[0.03, 0.3].map((align) => emma({ ...emma.presets.mnistSmall, align })),
      // Teachers that are trained anew.
      ...sweep(nasty, { omega: [0.01, 0.04] }),
      ...sweep(mildlyNasty, { part: ['light', 'deep'] }, mildlyNasty.presets.mnistSmall),
      // Its teacher is trained anew, and so as long as any.
      mildlyNasty({ part: 'half', label: 'mildlyNasty(part half, omega 0.04)' }),
      mildlyNasty({ part: 'deep', omega: 0.01, ...mildlyNasty.presets.mnistSmall }),
      mildlyNasty({ ...mildlyNasty.presets.doge, ...mildlyNasty.presets.mnistSmall, label: 'dogeHead' }),
      safeDistillationBox(safeDistillationBox.presets.mnistSmall),
      adversarialSparse(adversarialSparse.presets.small),
      ini({ outliers: images }),
      ...sweep(meco, { strength: [0.27, 0.5] }),
      misleader(misleader.presets.mnistSmall),
      ...sweep(smoothTeacher, { epsilon: [0.1, 0.3] }),
      selfDistilled(),
      // Several at once.
      compose(nasty(), reverseSigmoid({ beta: 0.8 })),
    ],
    attacks: [
      scratch(),
      ...sweep(labelSmoothing, { epsilon: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6] }),
      ...strongest(),
      ...strongest({ has: 'other', images, extent: 'quick', budget: 43_200 }),
    ],
    seeds: [0, 1, 2],
  });

export default rankingOn('ranking-mnist', mnist(), fashionMnist());
