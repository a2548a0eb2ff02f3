import { adam, cosine, experiment, fashionMnist, learner, none, plainCnn, scratch } from 'undistill';

const cnn = (label: string, precision: 'float32' | 'bfloat16') => ({
  ...learner(plainCnn(), { epochs: 4, batch: 128, optimizer: adam(), schedule: cosine({ rate: 2e-3 }), precision }),
  label,
});

/** Does it matter to accuracy that products are of bfloat16? The same net, three seeds, both ways, on Fashion-MNIST. */
export default experiment({
  name: 'precision',
  about: 'Fashion-MNIST: the five-layer CNN with products of float32 and of bfloat16',
  data: fashionMnist(),
  teacher: cnn('teacher', 'float32'),
  students: [cnn('float32', 'float32'), cnn('bfloat16', 'bfloat16')],
  defenses: [none()],
  attacks: [scratch()],
  seeds: [0, 1, 2],
});
