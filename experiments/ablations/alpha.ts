import { experiment, kd, nasty, none, scratch, sweep } from 'undistill';
import { omega, setting } from './setting.js';

/**
 * How much should an attacker listen to the teacher? The paper sweeps α, the weight of its answers against the labels, from 0.1 to
 * 1.0: with a smaller α a nasty teacher harms the student less, and a normal one helps it less.
 */
export default experiment({
  ...setting,
  name: 'ablation-alpha',
  about: "Nasty Teacher: the student's accuracy by the weight of the teacher's answers",
  defenses: [none(), nasty({ omega })],
  attacks: [scratch(), ...sweep(kd, { alpha: [0.1, 0.3, 0.5, 0.7, 0.9, 1] })],
});
