import {
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
  tinyImageNet,
} from 'undistill';

const recipe = recipes.tinyImageNet;
const named = (label: string, network: NetworkPlugin): Learner => ({ ...learner(network, recipe), label });

const shuffleNet = named('ShuffleNetV2', shuffleNetV2());
const mobileNet = named('MobileNetV2', mobileNetV2());
const resNet18 = named('ResNet-18', resNet(18));

/**
 * The nasty teacher's third table: Tiny-ImageNet, three teachers, each with its students and itself, at full length, with the
 * paper's numbers beside one's own. For a graphics card; `--scale 0.05` for a look at it, and `tiny-imagenet.ts#tiny-imagenet-resnet50`
 * for one teacher. Trained on all images, without choosing a checkpoint: the paper's are the best on the test images.
 */
const table3 = (
  name: string,
  teacher: Learner,
  students: readonly (Learner | 'self')[],
  published: Pick<Published, 'teachers' | 'students'>,
) =>
  experiment({
    name: `tiny-imagenet-${name}`,
    about: `Nasty Teacher, table 3: Tiny-ImageNet, ${teacher.label}`,
    data: tinyImageNet(),
    validation: 0,
    teacher,
    students,
    defenses: [none(), nasty(nastyPresets.tinyImageNet)],
    attacks: [scratch(), kd(kdPresets.tinyImageNet)],
    seeds: [0],
    published: {
      source: 'Ma et al., ICLR 2021, table 3',
      provenance: 'recalled',
      note: 'the best epochs on the test images',
      ...published,
    },
  });

// A ResNet-18's students of its own kind are its "self", too.
export default [
  table3('resnet18', resNet18, [shuffleNet, mobileNet, 'self'], {
    teachers: { none: 58.73, nasty: 57.77 },
    students: {
      ShuffleNetV2: { scratch: 55.74, kd: { none: 58.09, nasty: 23.16 } },
      MobileNetV2: { scratch: 51.72, kd: { none: 55.99, nasty: 1.82 } },
      'ResNet-18': { scratch: 58.73, kd: { none: 61.45, nasty: 44.73 } },
    },
  }),
  table3('resnet50', named('ResNet-50', resNet(50)), [shuffleNet, mobileNet, resNet18, 'self'], {
    teachers: { none: 62.01, nasty: 60.06 },
    students: {
      ShuffleNetV2: { scratch: 55.74, kd: { none: 58.01, nasty: 41.84 } },
      MobileNetV2: { scratch: 51.72, kd: { none: 54.18, nasty: 1.41 } },
      'ResNet-18': { scratch: 58.73, kd: { none: 62.01, nasty: 48.24 } },
      'ResNet-50': { scratch: 62.01, kd: { none: 63.91, nasty: 51.27 } },
    },
  }),
  table3('resnext29', named('ResNeXt-29', resNeXt29()), [shuffleNet, mobileNet, resNet18, 'self'], {
    teachers: { none: 62.81, nasty: 60.21 },
    students: {
      ShuffleNetV2: { scratch: 55.74, kd: { none: 57.87, nasty: 42.73 } },
      MobileNetV2: { scratch: 51.72, kd: { none: 54.34, nasty: 1.09 } },
      'ResNet-18': { scratch: 58.73, kd: { none: 62.38, nasty: 54.53 } },
      'ResNeXt-29': { scratch: 62.81, kd: { none: 64.22, nasty: 59.54 } },
    },
  }),
];
