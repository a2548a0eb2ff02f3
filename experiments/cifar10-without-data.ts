import { cifar10, cosine, dfq, experiment, fast, kd, nasty, none, scratch } from 'undistill';
import { teacher } from './cifar10-zoo.js';

/** Fast-meta as released for CIFAR-10, but for how much of it; the student's batches, and so its rate, are half as large as released. */
const shorter = (batches: number, warmup: number, stepsBetween: number, label: string) =>
  fast({
    ...fast.presets.cifar10,
    batches,
    warmup,
    resetAt: warmup + Math.round(0.6 * (batches - warmup)),
    stepsBetween,
    schedule: cosine({ rate: 0.1, floor: 1e-4 }),
    label,
  });

/**
 * What a thief makes of a PreResNet-20 without one image, by the time that it takes: Fast-meta at three lengths, the longest with all of its
 * batches and three eighths of the student's steps, of half as many images each, and DFQ in 30 of its 200 epochs. The teachers are those of `cifar10-zoo.ts` where both are run
 * in one folder, and the student is of the teacher's architecture; `kd` is what it would learn with all images. One seed.
 */
export default experiment({
  name: 'cifar10-without-data',
  about: 'A PreResNet-20 on CIFAR-10, normal and nasty, stolen without data',
  data: cifar10(),
  validation: 0,
  teacher,
  students: ['self'],
  defenses: [none(), nasty({ omega: 0.1 })],
  attacks: [
    scratch(),
    kd(),
    shorter(40, 8, 60, 'fast, short'),
    shorter(100, 10, 100, 'fast, middle'),
    shorter(220, 20, 150, 'fast, long'),
    dfq({ ...dfq.presets.cifar10, epochs: 30, label: 'dfq' }),
  ],
  seeds: [0],
});
