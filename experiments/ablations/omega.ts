import { experiment, kd, nasty, none, scratch, sweep } from 'undistill';
import { setting } from './setting.js';

/**
 * How much nastiness? The paper sweeps ω from 0 to 0.1: the teacher's accuracy falls slowly with it and the student's fast.
 * With ω 0 a nasty teacher is a normal one from another initialisation, and so the sweep's own undefended column.
 */
export default experiment({
  ...setting,
  name: 'ablation-omega',
  about: 'Nasty Teacher: accuracy of the teacher and of its student by omega',
  defenses: [none(), ...sweep(nasty, { omega: [0, 0.004, 0.01, 0.02, 0.04, 0.1] })],
  attacks: [scratch(), kd()],
});
