import {
  cifar100,
  experiment,
  kd,
  kdPresets,
  type Learner,
  learner,
  mobileNetV2,
  type NetworkPlugin,
  nasty,
  nastyPresets,
  none,
  type Published,
  recipes,
  resNet,
  resNeXt29,
  scratch,
  shuffleNetV2,
} from 'undistill';

const recipe = recipes.cifar100;
const named = (label: string, network: NetworkPlugin): Learner => ({ ...learner(network, recipe), label });

const shuffleNet = named('ShuffleNetV2', shuffleNetV2());
const mobileNet = named('MobileNetV2', mobileNetV2());
const resNet18 = named('ResNet-18', resNet(18));

/**
 * The nasty teacher's second table: CIFAR-100, three teachers, each with its students and itself, at full length, with the
 * paper's numbers beside one's own. For a graphics card; `--scale 0.05` for a look at it, and `cifar100.ts#cifar100-resnet50`
 * for one teacher. Trained on all images, without choosing a checkpoint: the paper's are the best on the test images.
 */
const table2 = (
  name: string,
  teacher: Learner,
  students: readonly (Learner | 'self')[],
  published: Pick<Published, 'teachers' | 'students'>,
) =>
  experiment({
    name: `cifar100-${name}`,
    about: `Nasty Teacher, table 2: CIFAR-100, ${teacher.label}`,
    data: cifar100(),
    validation: 0,
    teacher,
    students,
    defenses: [none(), nasty(nastyPresets.cifar100)],
    attacks: [scratch(), kd(kdPresets.cifar100)],
    seeds: [0],
    published: {
      source: 'Ma et al., ICLR 2021, table 2',
      provenance: 'recalled',
      note: 'the best epochs on the test images',
      ...published,
    },
  });

// A ResNet-18's students of its own kind are its "self", too.
export default [
  table2('resnet18', resNet18, [shuffleNet, mobileNet, 'self'], {
    teachers: { none: 77.44, nasty: 77.42 },
    students: {
      ShuffleNetV2: { scratch: 71.17, kd: { none: 74.24, nasty: 64.49 } },
      MobileNetV2: { scratch: 69.12, kd: { none: 73.11, nasty: 3.45 } },
      'ResNet-18': { scratch: 77.44, kd: { none: 79.03, nasty: 74.81 } },
    },
  }),
  table2('resnet50', named('ResNet-50', resNet(50)), [shuffleNet, mobileNet, resNet18, 'self'], {
    teachers: { none: 78.12, nasty: 77.14 },
    students: {
      ShuffleNetV2: { scratch: 71.17, kd: { none: 74.0, nasty: 63.16 } },
      MobileNetV2: { scratch: 69.12, kd: { none: 72.81, nasty: 3.36 } },
      'ResNet-18': { scratch: 77.44, kd: { none: 79.65, nasty: 71.94 } },
      'ResNet-50': { scratch: 78.12, kd: { none: 80.02, nasty: 75.03 } },
    },
  }),
  table2('resnext29', named('ResNeXt-29', resNeXt29()), [shuffleNet, mobileNet, resNet18, 'self'], {
    teachers: { none: 81.85, nasty: 80.26 },
    students: {
      ShuffleNetV2: { scratch: 71.17, kd: { none: 74.5, nasty: 58.99 } },
      MobileNetV2: { scratch: 69.12, kd: { none: 72.43, nasty: 1.55 } },
      'ResNet-18': { scratch: 77.44, kd: { none: 80.84, nasty: 68.52 } },
      'ResNeXt-29': { scratch: 81.85, kd: { none: 83.53, nasty: 75.08 } },
    },
  }),
];
