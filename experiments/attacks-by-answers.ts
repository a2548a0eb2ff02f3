import {
  adaptiveKnockoff,
  dfme,
  disguide,
  dualStudents,
  experiment,
  fashionMnist,
  hardLabel,
  kd,
  knockoff,
  maze,
  mnist,
  nasty,
  noise,
  none,
  scratch,
  transfer,
} from 'undistill';
import { smallStudent, smallTeacher } from './attacks.js';

const images = fashionMnist();

/** How much each attack on a black box gets for how many answers; those that make their images train for as long as these last. */
export default experiment({
  name: 'attacks-by-answers',
  about: 'Attacks on black boxes by the answers that they may ask for',
  data: mnist(),
  teacher: smallTeacher(6),
  students: [smallStudent(4)],
  defenses: [none(), nasty()],
  attacks: [
    scratch(),
    ...[10_000, 30_000, 100_000, 300_000].flatMap((budget) => [
      kd({ budget }),
      hardLabel({ budget }),
      transfer({ images, budget }),
      knockoff({ images, budget }),
      adaptiveKnockoff({ images, budget }),
      noise({ budget }),
      dfme({ ...dfme.presets.mnistSmall, epochs: undefined, budget }),
      maze({ ...maze.presets.mnistSmall, epochs: undefined, budget }),
      dualStudents({ ...dualStudents.presets.mnistSmall, epochs: undefined, budget }),
      disguide({ ...disguide.presets.mnistSmall, epochs: undefined, budget }),
      disguide({ ...disguide.presets.mnistSmall, answers: 'label', epochs: undefined, budget }),
    ]),
  ],
  seeds: [0, 1, 2],
});
