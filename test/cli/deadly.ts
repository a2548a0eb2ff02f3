/** Attacks that never come to an end of their own, each in its way. */
export const deadly = `\
import { type Attack, labelled } from 'undistill';

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
`;
