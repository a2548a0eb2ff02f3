import { experiment, nasty, none, partialKd, scratch, sweep } from 'undistill';
import { omega, setting } from './setting.js';

/**
 * How many images must an attacker own? The paper sweeps the share of the training images from 10 to 90 % (the range is quoted from
 * memory, unverified): at every share the nasty teacher's student is below the normal teacher's. Each is also
 * compared with the student that learns from the labels of the same images alone.
 */
export default experiment({
  ...setting,
  name: 'ablation-fraction',
  about: "Nasty Teacher: the student's accuracy by the share of the training images that the attacker owns",
  defenses: [none(), nasty({ omega })],
  attacks: [scratch(), ...sweep(partialKd, { fraction: [0.1, 0.3, 0.5, 0.7, 0.9] })],
});
