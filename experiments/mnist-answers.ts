import {
  adam,
  cmi,
  constant,
  cosine,
  dfme,
  experiment,
  gaussianNoise,
  hardLabel,
  kd,
  learner,
  mnist,
  modelGuard,
  nasty,
  none,
  plainCnn,
  scratch,
  sgd,
  skeptical,
} from 'undistill';

/**
 * MNIST: answers that are changed on the way, and attackers who see nothing else. Settings are for two processor cores and none of a
 * paper's.
 */
export default experiment({
  name: 'mnist-answers',
  about: 'MNIST: noise on the answers and ModelGuard, asked by students with data and by one without',
  data: mnist(),
  fraction: 0.2,
  teacher: learner(plainCnn({ width: 8 }), {
    epochs: 3,
    batch: 128,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1 }),
  }),
  students: [learner(plainCnn({ width: 4 }), { epochs: 3, batch: 64, optimizer: adam(), schedule: constant(1e-3) })],
  defenses: [
    none(),
    nasty(),
    gaussianNoise(),
    gaussianNoise({ draw: 'sticky' }),
    modelGuard(),
    modelGuard({ variant: 'S' }),
  ],
  attacks: [
    scratch(),
    kd(),
    skeptical(),
    hardLabel(),
    dfme({ batch: 128, latent: 64, width: 32, generatorRate: 1e-3, epochs: 6 }),
    cmi(cmi.presets.mnistSmall),
  ],
  seeds: [0, 1],
});
