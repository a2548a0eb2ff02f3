import { defineNetwork } from './define.js';
import { classifier, conv, dense, features, flatten, marked, maxPool, relu, sequential } from './layers.js';
import type { ImageShape } from './network.js';

/** Three 5×5 convolutions without padding take 32×32 to 1×1 exactly. */
const check = ({ height, width }: ImageShape): string | undefined =>
  height === 32 && width === 32 ? undefined : 'LeNet takes images of 32×32: resize the data to that';

const lenet = ([first, second, third, hidden]: readonly [number, number, number, number]) => ({
  check,
  layers: sequential(
    conv('conv1', first, { kernel: 5, bias: true }),
    relu,
    maxPool(2),
    marked('block1'),
    conv('conv2', second, { kernel: 5, bias: true }),
    relu,
    maxPool(2),
    marked('block2'),
    conv('conv3', third, { kernel: 5, bias: true }),
    relu,
    marked('block3'),
    flatten,
    features,
    dense('fc1', hidden),
    relu,
    classifier('fc2'),
  ),
});

/** LeNet-5 as in DAFL, for 32×32 images: 61,706 parameters with one channel and 10 classes; features are 120 numbers. */
export const leNet5 = defineNetwork({
  name: 'leNet5',
  source: import.meta.url,
  about: 'For 32×32 images',
  paper: 'Chen et al., Data-free learning of student networks (DAFL), ICCV 2019',
  make: () => lenet([6, 16, 120, 84]),
});

/** DAFL's student, half of LeNet-5 in every layer: 15,738 parameters; features are 60 numbers. */
export const leNet5Half = defineNetwork({
  name: 'leNet5Half',
  source: import.meta.url,
  about: 'Half of leNet5 in every layer',
  paper: 'Chen et al., Data-free learning of student networks (DAFL), ICCV 2019',
  make: () => lenet([3, 8, 60, 42]),
});
