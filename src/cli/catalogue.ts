import * as v from 'valibot';
import type { AnyAttack } from '../attacks/attack.js';
import { wordsOf } from '../core/options.js';
import { type Declaration, type Declared, isDeclared, type PluginKind } from '../core/plugin.js';
import type { DatasetPlugin } from '../data/dataset.js';
import { fashionMnist } from '../data/idx.js';
import { rounding } from '../defenses/answers.js';
import type { Defense } from '../defenses/defense.js';
import { randomClass } from '../defenses/gaussian-noise.js';
import { nasty } from '../defenses/nasty.js';
import * as index from '../index.js';
import type { NetworkPlugin } from '../models/network.js';
import { plainCnn } from '../models/plain-cnn.js';
import type { Optimizer } from '../train/optimizers.js';
import type { Recipe } from '../train/recipe.js';
import { recipes as named } from '../train/recipes.js';
import type { Schedule } from '../train/schedules.js';

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
  { write: '0.1', value: 0.1 },
  { write: '2', value: 2 },
  { write: "'…'", value: '…' },
  { write: '[60, 120]', value: [60, 120] },
  { write: 'fashionMnist()', value: fashionMnist() },
  { write: 'plainCnn()', value: plainCnn() },
  { write: 'randomClass()', value: randomClass() },
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
export const networks = listed<NetworkPlugin>('network');
export const optimizers = listed<Optimizer>('optimizer');
export const schedules = listed<Schedule>('schedule');
export const data = listed<DatasetPlugin>('dataset');

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
  {
    write: 'recipes.cifar10Fast',
    plugin: named.cifar10Fast,
    about: 'airbench() on CIFAR-10 in ten epochs',
    source: 'Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024',
  },
  { write: 'recipes.cifar10FastResNet', plugin: named.cifar10FastResNet, about: 'ResNets on CIFAR-10 in 16 epochs' },
  {
    write: 'recipes.cifar10FastPreResNet',
    plugin: named.cifar10FastPreResNet,
    about: 'PreResNets on CIFAR-10 in 30 epochs',
  },
];
