/** Plugins that never come to an end of their own, each in its way: an attack, and of the other kinds those ways that need no waiting. */
export const deadly = `\
import { type Attack, type Defense, labelled, type Metric } from 'undistill';

const never = () => new Promise(() => undefined);
const ways = {
  never,
  exits: () => process.exit(0),
  throwsLate: () => {
    setTimeout(() => { throw new Error('too late'); }, 10);
    return new Promise((done) => setTimeout(done, 1e8));
  },
  rejectsAside: () => {
    void Promise.reject(new Error('nobody waits'));
    return new Promise((done) => setTimeout(done, 1e8));
  },
  fillsTheHeap: () => {
    const all: number[][] = [];
    for (;;) all.push(Array.from({ length: 1e6 }, (_, i) => i + 0.5));
  },
  crashes: () => process.kill(process.pid, 'SIGSEGV'),
  aborts: () => process.abort(),
  waits: () => new Promise((done) => setTimeout(done, 1e8)),
  loops: () => {
    for (;;);
  },
} as const;

export const deadly = (name: keyof typeof ways): Attack<'probabilities', typeof labelled> => ({
  name,
  params: {},
  source: import.meta.url,
  needs: 'probabilities',
  data: labelled,
  steal: async () => {
    console.log('now', name, process.pid);
    await ways[name]();
    throw new Error('it lives');
  },
});

const die = (name: keyof typeof ways) => (): never => {
  console.log('now', name, process.pid);
  ways[name]();
  throw new Error('it lives');
};

const mine = { params: {}, source: import.meta.url };

export const dying = {
  defense: (name: keyof typeof ways): Defense<'probabilities'> =>
    ({ ...mine, name, exposes: 'probabilities', answers: { kind: 'pure', answer: die(name) } }),
  metric: (name: keyof typeof ways): Metric =>
    ({ ...mine, name, unit: 'number', better: 'neither', describe: 'x', of: die(name) }),
  schedule: (name: keyof typeof ways) => ({ ...mine, name, at: die(name) }),
  network: (name: keyof typeof ways, like: any): any =>
    ({ ...mine, name, build: (...given: any[]) => ({ ...like.build(...given), apply: die(name) }) }),
  optimizer: (name: keyof typeof ways, like: any): any => ({ ...like, ...mine, name, update: die(name) }),
};
`;
