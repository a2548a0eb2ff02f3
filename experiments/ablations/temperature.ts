import { experiment, kd, nasty, none, scratch, sweep } from 'undistill';
import { omega, setting } from './setting.js';

/**
 * At which temperature should an attacker distil? The paper sweeps τ_S from 1 to 20 (the range is quoted from memory,
 * unverified): the softer the nasty teacher's answers, the more they harm the student. The teacher's own τ_A stays 4 here.
 */
export default experiment({
  ...setting,
  name: 'ablation-temperature',
  about: "Nasty Teacher: the student's accuracy by the temperature of its distillation",
  defenses: [none(), nasty({ omega })],
  attacks: [scratch(), ...sweep(kd, { temperature: [1, 2, 4, 10, 20] })],
});
