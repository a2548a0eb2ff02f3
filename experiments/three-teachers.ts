import {
  type DatasetPlugin,
  type Experiment,
  experiment,
  kd,
  type Learner,
  learner,
  mobileNetV2,
  type NetworkPlugin,
  nasty,
  none,
  type Published,
  type Recipe,
  resNet,
  resNeXt29,
  scratch,
  shuffleNetV2,
} from 'undistill';

/** What the nasty teacher's tables 2 and 3 differ in. */
interface Table {
  readonly number: number;
  readonly name: string;
  readonly title: string;
  readonly data: DatasetPlugin;
  readonly recipe: Recipe;
  readonly nasty: Parameters<typeof nasty>[0];
  readonly kd: Parameters<typeof kd>[0];
  /** The paper's numbers, by teacher. */
  readonly published: Readonly<Record<'resnet18' | 'resnet50' | 'resnext29', Pick<Published, 'teachers' | 'students'>>>;
}

/**
 * The nasty teacher's second or third table: three teachers, each with its students and itself, as an experiment each. Trained
 * on all images, without choosing a checkpoint: the paper's are the best on the test images.
 */
export const threeTeachers = ({ recipe, published, ...table }: Table): readonly Experiment[] => {
  const named = (label: string, network: NetworkPlugin): Learner => ({ ...learner(network, recipe), label });
  const small = [named('ShuffleNetV2', shuffleNetV2()), named('MobileNetV2', mobileNetV2())];
  const resNet18 = named('ResNet-18', resNet(18));
  const of = (name: keyof typeof published, teacher: Learner, students: readonly (Learner | 'self')[]): Experiment =>
    experiment({
      name: `${table.name}-${name}`,
      about: `Nasty Teacher, table ${table.number}: ${table.title}, ${teacher.label}`,
      data: table.data,
      validation: 0,
      teacher,
      students,
      defenses: [none(), nasty(table.nasty)],
      attacks: [scratch(), kd(table.kd)],
      seeds: [0],
      published: {
        source: `Ma et al., ICLR 2021, table ${table.number}`,
        provenance: 'recalled',
        note: 'the best epochs on the test images',
        ...published[name],
      },
    });
  return [
    // Its students of its own kind are its "self", too.
    of('resnet18', resNet18, [...small, 'self']),
    of('resnet50', named('ResNet-50', resNet(50)), [...small, resNet18, 'self']),
    of('resnext29', named('ResNeXt-29', resNeXt29()), [...small, resNet18, 'self']),
  ];
};
