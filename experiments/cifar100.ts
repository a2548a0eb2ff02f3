import { cifar100, kd, nasty, recipes } from 'undistill';
import { threeTeachers } from './three-teachers.js';

/**
 * The nasty teacher's second table, CIFAR-100, at full length, with the paper's numbers beside one's own. For a graphics card; `--scale 0.05` for
 * a look at it, and `cifar100.ts#cifar100-resnet50` for one teacher.
 */
export default threeTeachers({
  number: 2,
  name: 'cifar100',
  title: 'CIFAR-100',
  data: cifar100(),
  recipe: recipes.cifar100,
  nasty: nasty.presets.cifar100,
  kd: kd.presets.cifar100,
  published: {
    resnet18: {
      teachers: { none: 77.44, nasty: 77.42 },
      students: {
        ShuffleNetV2: { scratch: 71.17, kd: { none: 74.24, nasty: 64.49 } },
        MobileNetV2: { scratch: 69.12, kd: { none: 73.11, nasty: 3.45 } },
        'ResNet-18': { scratch: 77.44, kd: { none: 79.03, nasty: 74.81 } },
      },
    },
    resnet50: {
      teachers: { none: 78.12, nasty: 77.14 },
      students: {
        ShuffleNetV2: { scratch: 71.17, kd: { none: 74.0, nasty: 63.16 } },
        MobileNetV2: { scratch: 69.12, kd: { none: 72.81, nasty: 3.36 } },
        'ResNet-18': { scratch: 77.44, kd: { none: 79.65, nasty: 71.94 } },
        'ResNet-50': { scratch: 78.12, kd: { none: 80.02, nasty: 75.03 } },
      },
    },
    resnext29: {
      teachers: { none: 81.85, nasty: 80.26 },
      students: {
        ShuffleNetV2: { scratch: 71.17, kd: { none: 74.5, nasty: 58.99 } },
        MobileNetV2: { scratch: 69.12, kd: { none: 72.43, nasty: 1.55 } },
        'ResNet-18': { scratch: 77.44, kd: { none: 80.84, nasty: 68.52 } },
        'ResNeXt-29': { scratch: 81.85, kd: { none: 83.53, nasty: 75.08 } },
      },
    },
  },
});
