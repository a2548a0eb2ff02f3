import { kd, nasty, recipes, tinyImageNet } from 'undistill';
import { threeTeachers } from './three-teachers.js';

/**
 * The nasty teacher's third table, Tiny-ImageNet, at full length, with the paper's numbers beside one's own. For a graphics card; `--scale 0.05` for
 * a look at it, and `tiny-imagenet.ts#tiny-imagenet-resnet50` for one teacher.
 */
export default threeTeachers({
  number: 3,
  name: 'tiny-imagenet',
  title: 'Tiny-ImageNet',
  data: tinyImageNet(),
  recipe: recipes.tinyImageNet,
  nasty: nasty.presets.tinyImageNet,
  kd: kd.presets.tinyImageNet,
  published: {
    resnet18: {
      teachers: { none: 58.73, nasty: 57.77 },
      students: {
        ShuffleNetV2: { scratch: 55.74, kd: { none: 58.09, nasty: 23.16 } },
        MobileNetV2: { scratch: 51.72, kd: { none: 55.99, nasty: 1.82 } },
        'ResNet-18': { scratch: 58.73, kd: { none: 61.45, nasty: 44.73 } },
      },
    },
    resnet50: {
      teachers: { none: 62.01, nasty: 60.06 },
      students: {
        ShuffleNetV2: { scratch: 55.74, kd: { none: 58.01, nasty: 41.84 } },
        MobileNetV2: { scratch: 51.72, kd: { none: 54.18, nasty: 1.41 } },
        'ResNet-18': { scratch: 58.73, kd: { none: 62.01, nasty: 48.24 } },
        'ResNet-50': { scratch: 62.01, kd: { none: 63.91, nasty: 51.27 } },
      },
    },
    resnext29: {
      teachers: { none: 62.81, nasty: 60.21 },
      students: {
        ShuffleNetV2: { scratch: 55.74, kd: { none: 57.87, nasty: 42.73 } },
        MobileNetV2: { scratch: 51.72, kd: { none: 54.34, nasty: 1.09 } },
        'ResNet-18': { scratch: 58.73, kd: { none: 62.38, nasty: 54.53 } },
        'ResNeXt-29': { scratch: 62.81, kd: { none: 64.22, nasty: 59.54 } },
      },
    },
  },
});
