/**
 * What the sweeps on CIFAR-10 have in common, at a size for two processor cores. The nasty teacher's authors swept a ResNet-18
 * (160 epochs) and its students; here the victim is the ten-epoch net and its student the five-layer CNN. Their curves are published as
 * figures only, so that a direction can be compared and no number. Run in one folder they share their normal teachers and most of the rest.
 */
export { setting } from '../cifar10-fast.js';

/** ω in the sweeps of something else: the largest of the paper's sweep. */
export const omega = 0.1;
