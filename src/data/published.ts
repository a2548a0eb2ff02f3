import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dataFolder } from '../core/cache-folder.js';

/** A data set's file as its authors publish it. */
export interface Published {
  readonly name: PublishedName;
  readonly url: string;
  /** Of the file in the data folder. */
  readonly file: string;
  /** md5 in hexadecimal: against damage on the way; it proves nothing about who published the file. */
  readonly md5: string;
  /** Where the checksum is from. */
  readonly source: string;
}

export const publishedNames = ['cifar10', 'cifar100', 'tiny-imagenet'] as const;
export type PublishedName = (typeof publishedNames)[number];

export const published: Readonly<Record<PublishedName, Published>> = {
  cifar10: {
    name: 'cifar10',
    url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    file: 'cifar-10-binary.tar.gz',
    md5: 'c32a1d4ab5d03f1284b67883e8d87530',
    source: 'https://www.cs.toronto.edu/~kriz/cifar.html',
  },
  cifar100: {
    name: 'cifar100',
    url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    file: 'cifar-100-binary.tar.gz',
    md5: '03b5dce01913d631647c71ecec9e9cb8',
    source: 'https://www.cs.toronto.edu/~kriz/cifar.html',
  },
  'tiny-imagenet': {
    name: 'tiny-imagenet',
    url: 'http://cs231n.stanford.edu/tiny-imagenet-200.zip',
    file: 'tiny-imagenet-200.zip',
    md5: '90528d7ca1a48142e341f4ef8d21d0de',
    source: 'the loaders of PyTorch users; Stanford publishes none',
  },
};

/** Where `undistill data get` puts a data set. */
export const publishedPath = (name: PublishedName, folder = dataFolder()): string => join(folder, published[name].file);

/** The data set that was downloaded, if it was. */
export const downloaded = (name: PublishedName): string | undefined => {
  const path = publishedPath(name);
  return existsSync(path) ? path : undefined;
};
