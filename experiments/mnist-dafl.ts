import {
  adam,
  constant,
  dafl,
  experiment,
  kd,
  learner,
  leNet5,
  leNet5Half,
  mnist,
  nasty,
  noise,
  none,
  scratch,
} from 'undistill';

const small = (length: string, epochs: number) =>
  dafl({ ...dafl.presets.mnistSmall, epochs, label: `dafl, ${length}` });

/**
 * DAFL's MNIST experiment (Chen et al., ICCV 2019): LeNet-5 stolen by its half without data, from a normal and from a nasty
 * teacher, at three lengths of a reduced preset that two processor cores can afford (`dafl.presets.mnistSmall`: batch 128
 * instead of 512, a generator of a quarter of the width), and so accuracy against time. At full length
 * (`dafl({ ...dafl.presets.mnist })`, 24,000 steps) the paper has 98.91 % for the teacher, 98.20 % for the student and 88.01 % for
 * one that saw noise.
 */
export default experiment({
  name: 'mnist-dafl',
  about: 'DAFL on MNIST: LeNet-5 stolen by its half without data',
  data: mnist(),
  teacher: learner(leNet5(), { epochs: 9, batch: 256, optimizer: adam(), schedule: constant(1e-3) }),
  students: [learner(leNet5Half(), { epochs: 9, batch: 256, optimizer: adam(), schedule: constant(1e-3) })],
  defenses: [none(), nasty()],
  attacks: [scratch(), kd(), noise(), small('600 steps', 5), small('2,400 steps', 20), small('7,200 steps', 60)],
  seeds: [0],
});
