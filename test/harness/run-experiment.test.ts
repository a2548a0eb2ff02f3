import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Project, project, register } from '../cli/project.js';

let at: Project;
beforeAll(() => {
  at = project();
});
afterAll(() => at.remove());

/** A user's script that runs an experiment of attacks, written down as an object of them, and says what became of each. */
const script = ({ attacks, run }: { readonly attacks: string; readonly run: string }): string => `\
import {
  adam, constant, crossEntropy, classifier, experiment, kd, labelled, learner, none, plainCnn, runExperiment, synthetic,
} from 'undistill';

const net = (width) => learner(plainCnn({ width }), { epochs: 3, batch: 16, optimizer: adam(), schedule: constant(0.01) });
const attack = (name, steal) => ({ name, params: {}, source: 'file:///SOURCE', needs: 'probabilities', data: labelled, steal });
const of = (attacks) =>
  experiment({
    name: 'scripted',
    data: synthetic({ train: 160, test: 64 }),
    teacher: net(4),
    students: [net(2)],
    defenses: [none()],
    attacks,
    seeds: [0],
  });
const ran = async (attacks, options = {}) => {
  const { matrix } = await runExperiment(of(attacks), { folder: 'scripted', threads: 1, ...options });
  return matrix.cells.map(({ attack, status, reason }) => [attack, status, reason ?? '']);
};
const trained = (factor) => (victim, student, { fit, data }) =>
  fit('student', classifier({
    learner: student,
    data: data.train,
    victim,
    loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels).mul(factor) }),
  }));
${attacks}
${run}
`;

const ranScript = async (name: string, parts: Parameters<typeof script>[0]) => {
  // Where the plugin's own module is another one, only the experiment's file tells what its functions know.
  await at.write('plugin.ts', 'export const plugin = 1;\n');
  await at.write(name, script(parts).replace('file:///SOURCE', `file://${at.folder}/plugin.ts`));
  return at.node(['--import', register, name]);
};

describe('an experiment run in a process of its own', () => {
  it.each([
    ['more threads than a process may start', 'threads: 3000', 'threads is 3000'],
    ['misspelt option', 'theads: 1', 'runExperiment: theads is none of its options'],
    ['steps that are none', 'checkpointEvery: 0', 'runExperiment: checkpointEvery is 0'],
    ['bytes in words', "answers: '4GB'", 'runExperiment: answers is "4GB"'],
    ['executor that is none', 'executor: {}', 'runExperiment: executor is'],
  ])('takes no %s', async (name, option, says) => {
    const { code, err } = await ranScript(`${name}.ts`, {
      attacks: 'const attacks = [kd()];',
      run: `await ran(attacks, { ${option} });`,
    });
    expect(code).not.toBe(0);
    expect(err).toContain(says);
  });

  it('takes no copy of an experiment, which nobody has looked at', async () => {
    const { code, err } = await ranScript('copied.ts', {
      attacks: 'const attacks = [kd()];',
      run: "await runExperiment({ ...of(attacks), fraction: 7 }, { folder: 'copied' });",
    });
    expect(code).not.toBe(0);
    expect(err).toContain('runExperiment: it is given no experiment');
  });

  it('leaves its plan, by which its stages are known to be in use', async () => {
    const { code, err } = await ranScript('kept.ts', {
      attacks: 'const attacks = [kd()];',
      run: "await ran(attacks, { folder: 'kept' });",
    });
    expect([code, err]).toEqual([0, '']);
    const stages = async () =>
      (await readdir(join(at.folder, 'kept/.store'))).filter((name) => /^[0-9a-f]{16}$/.test(name));
    const made = await stages();
    expect(made.length).toBeGreaterThan(3);
    const cleaned = await at.undistill(['clean', 'kept', '--older', '0', '--yes']);
    expect(cleaned).toMatchObject({ code: 0, err: '' });
    expect(await stages()).toEqual(made);
  });

  it('outlives attacks that wait for ever, or throw aside', async () => {
    const { code, out, err } = await ranScript('strays.ts', {
      attacks: `const attacks = [
  attack('never', () => new Promise(() => undefined)),
  attack('throwsLate', () => { setTimeout(() => { throw new Error('too late'); }, 10); return new Promise(() => undefined); }),
  attack('rejectsAside', (...given) => { void Promise.reject(new Error('nobody waits')); return trained(1)(...given); }),
  kd(),
];`,
      run: 'console.log(JSON.stringify(await ran(attacks)));',
    });
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(out)).toEqual([
      ['never', 'failed', expect.stringContaining('waits for a promise that can never be settled')],
      ['throwsLate', 'failed', expect.stringContaining('too late (')],
      ['rejectsAside', 'failed', expect.stringContaining('nobody waits (')],
      ['kd', 'done', ''],
    ]);
  });

  it('fails a stage that chooses another backend, and computes the others as before', async () => {
    const { out, err } = await ranScript('backend.ts', {
      attacks: `import * as tf from '@tensorflow/tfjs';
const chooses = attack('chooses', (...given) => (tf.setBackend('cpu'), trained(1)(...given)));`,
      run: `const numbers = async (attacks, folder) => {
  const { matrix } = await runExperiment(of(attacks), { folder, threads: 1 });
  return matrix.cells.map(({ attack, status, reason, accuracy }) => [attack, status, reason ?? '', accuracy?.mean ?? null]);
};
console.log(JSON.stringify([await numbers([chooses, kd()], 'chosen'), await numbers([kd()], 'left')]));`,
    });
    expect(err).toBe('');
    const [[chose, beside], [alone]] = JSON.parse(out);
    expect(chose).toEqual([
      'chooses',
      'failed',
      expect.stringContaining('another backend of TensorFlow.js, cpu'),
      null,
    ]);
    expect(beside).toEqual(alone);
  });

  it('says what was damaged and is made anew', async () => {
    const { code, out, err } = await ranScript('damaged.ts', {
      attacks: "import { readdirSync, appendFileSync } from 'node:fs';",
      run: `const options = { folder: 'damaged' };
const first = await ran([kd()], options);
const [weights] = readdirSync('damaged', { recursive: true }).filter((name) => name.endsWith('last.safetensors'));
appendFileSync('damaged/' + weights, 'x');
const notes = [];
const second = await ran([kd()], { ...options, onNote: (note) => notes.push(note) });
appendFileSync('damaged/' + weights, 'x');
const third = await ran([kd()], options);
console.log(JSON.stringify([first, second, third, notes]));`,
    });
    const [first, second, third, notes] = JSON.parse(out);
    expect([second, third, code]).toEqual([first, first, 0]);
    expect(notes).toEqual([
      expect.stringMatching(/^seed-0\/.*: last\.safetensors was altered on disk; it is made anew$/),
    ]);
    expect(err).toContain(notes[0]);
  });

  it('says what who makes its stages elsewhere has to note', async () => {
    const { out, err } = await ranScript('elsewhere.ts', {
      attacks: '',
      run: `const executor = async ({ onNote }) => { onNote('nobody answers'); throw new Error('no stages'); };
const notes = [];
const run = (more) => ran([kd()], { executor, ...more }).catch(({ message }) => notes.push(message));
await run({ onNote: (note) => notes.push(note) });
await run();
console.log(JSON.stringify(notes));`,
    });
    expect(JSON.parse(out)).toEqual(['nobody answers', 'no stages', 'no stages']);
    expect(err).toContain('undistill: nobody answers');
  });

  it("leaves to its process what is not the experiment's", async () => {
    const { code, out, err } = await ranScript('own.ts', {
      attacks: '',
      run: `setTimeout(() => { throw new Error('my own'); }, 10);
await ran([attack('slow', () => new Promise((done) => setTimeout(done, 1e8)))]);
console.log('here');`,
    });
    expect(code).not.toBe(0);
    expect(err).toContain('my own');
    expect(out).not.toContain('here');
  });

  it('knows of an attack made by hand what the calling file says', async () => {
    const parts = (factor: string) => ({
      attacks: `const factor = ${factor};\nconst attacks = [attack('mine', (...given) => trained(factor)(...given))];`,
      run: `const { records } = await runExperiment(of(attacks), { folder: 'known', threads: 1 });
console.log(records.find(({ label }) => label.endsWith('mine')).id);`,
    });
    const [first, again, other] = [
      await ranScript('known.ts', parts('1')),
      await ranScript('known.ts', parts('1')),
      await ranScript('known.ts', parts('0.5')),
    ];
    expect([first.code, again.code, other.code]).toEqual([0, 0, 0]);
    expect(again.out).toBe(first.out);
    expect(other.out).not.toBe(first.out);
  });
});
