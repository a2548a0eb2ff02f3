import { classifier, conv, dense, features, flatten, marked, maxPool, network, relu, sequential } from './layers.js';
import type { ImageShape, NetworkPlugin } from './network.js';

/** Three 5×5 convolutions without padding take 32×32 to 1×1 exactly. */
const check = ({ height, width }: ImageShape): string | undefined =>
  height === 32 && width === 32 ? undefined : 'LeNet takes images of 32×32: resize the data to that';

const lenet = (
  name: string,
  [first, second, third, hidden]: readonly [number, number, number, number],
): NetworkPlugin =>
  network({
    name,
    source: import.meta.url,
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
export const leNet5 = (): NetworkPlugin => lenet('leNet5', [6, 16, 120, 84]);

/** DAFL's student, half of LeNet-5 in every layer: 15,738 parameters; features are 60 numbers. */
export const leNet5Half = (): NetworkPlugin => lenet('leNet5Half', [3, 8, 60, 42]);
