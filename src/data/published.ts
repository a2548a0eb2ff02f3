import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dataFolder } from '../core/cache-folder.js';

export interface PublishedFile {
  readonly url: string;
  /** Bytes: no more are downloaded. */
  readonly size: number;
  /** In hexadecimal: against damage on the way; it proves nothing about who published the file. */
  readonly md5: string;
}

/** A data set as its authors publish it. */
export interface Published {
  readonly files: readonly PublishedFile[];
  /** Where the checksums are from. */
  readonly source: string;
}

export const publishedNames = ['cifar10', 'cifar100', 'svhn', 'tiny-imagenet'] as const;
export type PublishedName = (typeof publishedNames)[number];

export const published: Readonly<Record<PublishedName, Published>> = {
  cifar10: {
    files: [
      {
        url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
        size: 170_052_171,
        md5: 'c32a1d4ab5d03f1284b67883e8d87530',
      },
    ],
    source: 'https://www.cs.toronto.edu/~kriz/cifar.html',
  },
  cifar100: {
    files: [
      {
        url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
        size: 168_513_733,
        md5: '03b5dce01913d631647c71ecec9e9cb8',
      },
    ],
    source: 'https://www.cs.toronto.edu/~kriz/cifar.html',
  },
  svhn: {
    files: [
      {
        url: 'https://ufldl.stanford.edu/housenumbers/train_32x32.mat',
        size: 182_040_794,
        md5: 'e26dedcc434d2e4c54c9b2d4a06d8373',
      },
      {
        url: 'https://ufldl.stanford.edu/housenumbers/test_32x32.mat',
        size: 64_275_384,
        md5: 'eb5a983be6a315427106f1b164d9cef3',
      },
    ],
    source: 'torchvision/datasets/svhn.py',
  },
  'tiny-imagenet': {
    files: [
      {
        url: 'https://cs231n.stanford.edu/tiny-imagenet-200.zip',
        size: 248_100_043,
        md5: '90528d7ca1a48142e341f4ef8d21d0de',
      },
    ],
    source: 'the loaders of PyTorch users; Stanford publishes none',
  },
};

const fileName = ({ url }: PublishedFile): string => url.slice(url.lastIndexOf('/') + 1);

/** The folder into which `undistill data get` puts a data set. */
export const publishedFolder = (name: PublishedName): string => join(dataFolder(), name);

/** Where one of its files goes. */
export const publishedPath = (name: PublishedName, file: PublishedFile): string =>
  join(publishedFolder(name), fileName(file));

/** The data set that was downloaded, whole: its file, or the folder of its files. */
export const downloaded = (name: PublishedName): string | undefined => {
  const paths = published[name].files.map((file) => publishedPath(name, file));
  if (!paths.every((path) => existsSync(path))) return undefined;
  return paths.length === 1 ? paths[0] : publishedFolder(name);
};
