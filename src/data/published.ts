import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dataFolder } from '../core/cache-folder.js';

export interface PublishedFile {
  readonly url: string;
  /** Bytes: no more are downloaded. */
  readonly size: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

/** A data set as its authors publish it. */
export interface Published {
  readonly files: readonly PublishedFile[];
  /** Where the checksums are from: those who publish the files give MD5 at most. */
  readonly source: string;
}

export const publishedNames = ['fashion-mnist', 'cifar10', 'cifar100', 'svhn', 'tiny-imagenet'] as const;
export type PublishedName = (typeof publishedNames)[number];

// The repository of its authors has the same files as the address that they name first, which answers by http alone.
const clothing = 'https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion';

export const published: Readonly<Record<PublishedName, Published>> = {
  'fashion-mnist': {
    files: [
      {
        url: `${clothing}/train-images-idx3-ubyte.gz`,
        size: 26_421_880,
        sha256: '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84',
      },
      {
        url: `${clothing}/train-labels-idx1-ubyte.gz`,
        size: 29_515,
        sha256: 'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845',
      },
      {
        url: `${clothing}/t10k-images-idx3-ubyte.gz`,
        size: 4_422_102,
        sha256: '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073',
      },
      {
        url: `${clothing}/t10k-labels-idx1-ubyte.gz`,
        size: 5_148,
        sha256: '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5',
      },
    ],
    source: 'tensorflow_datasets/url_checksums/fashion_mnist.txt',
  },
  cifar10: {
    files: [
      {
        url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
        size: 170_052_171,
        sha256: 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
      },
    ],
    source: 'tensorflow_datasets/url_checksums/cifar10.txt',
  },
  cifar100: {
    files: [
      {
        url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
        size: 168_513_733,
        sha256: '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
      },
    ],
    source: 'tensorflow_datasets/url_checksums/cifar100.txt',
  },
  svhn: {
    files: [
      {
        url: 'https://ufldl.stanford.edu/housenumbers/train_32x32.mat',
        size: 182_040_794,
        sha256: '435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8',
      },
      {
        url: 'https://ufldl.stanford.edu/housenumbers/test_32x32.mat',
        size: 64_275_384,
        sha256: 'cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b',
      },
    ],
    source: 'tensorflow_datasets/url_checksums/svhn_cropped.txt',
  },
  'tiny-imagenet': {
    files: [
      {
        url: 'https://cs231n.stanford.edu/tiny-imagenet-200.zip',
        size: 248_100_043,
        sha256: '6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821',
      },
    ],
    source: 'copies of the file that its users pin, which agree',
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
