import { writeFile } from 'node:fs/promises';
import { type Case, Defect, Impossible, type Kind } from '../../chaos/case.js';

/** Defects of each sort, planted, among cases that survive. */
const cases: readonly Case[] = [
  { name: 'fine', attempt: async () => undefined },
  { name: 'fine, seven times', attempt: async () => 7 },
  { name: 'measures', attempt: async () => 'it holds 5 MB' },
  {
    name: 'loses',
    attempt: async () => {
      throw new Defect('lost', 'weights differ');
    },
  },
  {
    name: 'is silent',
    attempt: async () => {
      throw new Defect('silent', 'a cut file was read');
    },
  },
  {
    name: 'throws',
    attempt: async () => {
      throw new TypeError('of undefined');
    },
  },
  { name: 'dies', attempt: async () => process.kill(process.pid, 'SIGKILL') as never },
  { name: 'hangs', attempt: () => new Promise<void>(() => undefined) },
  {
    name: 'cannot be tried',
    attempt: async () => {
      throw new Impossible('no disk');
    },
  },
];

const planted: Kind = { name: 'planted', about: 'defects that were planted', limit: 20, takes: 0, cases: () => cases };
const sound: Kind = {
  name: 'sound',
  about: 'cases that survive',
  limit: 20,
  takes: 0,
  cases: () => Array.from({ length: 40 }, (_, i) => ({ name: String(i), attempt: async () => undefined })),
};
const slow: Kind = { ...sound, name: 'slow', about: 'cases of a day', takes: 86_400 };
/** Its process ends when it has said that all is well. */
const frail: Kind = {
  ...sound,
  name: 'frail',
  about: 'cases after which their process ends',
  cases: () => [
    {
      name: 'dies later',
      attempt: async () => {
        await writeFile('pid', String(process.pid));
        setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50);
      },
    },
  ],
};

export const kinds: readonly Kind[] = [planted, sound, slow, frail];
