import type { ChildProcess } from 'node:child_process';
import { appendFile, mkdir, readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tryLock } from '../../src/core/lock.js';
import { lasting, type Project, project, register, tensorsIn, tiny } from './project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write('tiny.ts', tiny({ defenses: 'none(), nasty(), labelOnly()' }));
});
afterAll(() => at.remove());

const run = (out: string, ...more: string[]): string[] => ['run', 'tiny.ts', '--threads', '1', '--out', out, ...more];

describe('a run', () => {
  it('writes its tables, logs and records, and finds everything the next time', async () => {
    const { code, out } = await at.undistill(run('whole/tiny'));
    expect(out).toContain('best attack');
    expect(code).toBe(0);
    expect((await readdir(join(at.folder, 'whole/tiny'))).sort()).toEqual([
      'charts',
      'matrix.csv',
      'matrix.json',
      'matrix.md',
      'plan.json',
      'report.html',
      'stages',
    ]);
    expect(out.trimEnd().split('\n').at(-1)).toBe('report: whole/tiny/report.html');
    const log = await at.read('whole/tiny/stages/seed-0/none/plainCnn/kd/metrics.jsonl');
    const epochs = log
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(epochs.map(({ epoch }) => epoch)).toEqual([0, 1, 2]);
    expect(epochs[2].metrics.loss).toBeLessThan(epochs[0].metrics.loss);
    expect(JSON.parse(await at.read('whole/tiny/stages/seed-0/teacher/record.json')).kind).toBe('teacher');
    // A head, and a line for each of 2 attacks on 3 defences.
    expect((await at.read('whole/tiny/matrix.csv')).trim().split('\r\n')).toHaveLength(7);

    const first = await at.read('whole/tiny/matrix.json');
    const again = await at.undistill(run('whole/tiny'));
    expect(again).toMatchObject({ code: 0, err: '' });
    expect(again.out).toContain('5 of 5 trainings are there from before');
    expect(await at.read('whole/tiny/matrix.json')).toBe(first);
  });

  it('trains nothing for another metric, and names one that gives no model a number', async () => {
    const numberless = (of: string): string =>
      tiny({ defenses: 'none(), nasty(), labelOnly()' }).replace(
        'attacks:',
        `metrics: [{ name: 'mine', title: 'mine', unit: 'number', better: 'lower', describe: 'A number.', source: import.meta.url, of: ${of} }],
  attacks:`,
      );
    await at.write('measured.ts', numberless('() => undefined'));
    const measure = (): ReturnType<Project['undistill']> =>
      at.undistill(['run', 'measured.ts', '--threads', '1', '--out', 'whole/measured']);
    const said = 'mine gives no model a number: its `of` returns undefined for all';
    const none = await measure();
    expect(none, none.err).toMatchObject({ code: 0, out: expect.stringContaining(said) });
    expect(none.out).toContain('5 of 5 trainings are there from before');
    // No number of the victims, but of each student.
    await at.write('measured.ts', numberless('({ victim }) => victim && 1'));
    const some = await measure();
    expect(some, some.err).toMatchObject({ code: 0 });
    expect(some.out).not.toContain(said);
  });

  it('prints its matrix again, in every format', async () => {
    for (const [format, says] of [
      ['text', /^kd {3,}.* n\/a ¹$/m],
      ['md', /^\| kd \| .* \| n\/a ¹ \|$/m],
      ['csv', /kd,labelOnly,0,n\/a,kd needs probabilities; labelOnly exposes label,/],
      ['json', /"experiment": "tiny"/],
    ] as const) {
      const { code, out } = await at.undistill(['matrix', 'whole/tiny', '--format', format]);
      expect(code).toBe(0);
      expect(out).toMatch(says);
    }
  });

  it('tells what it would do, and why', async () => {
    const cached = await at.undistill(['plan', 'tiny.ts', '--out', 'whole/tiny']);
    expect(cached).toMatchObject({ code: 0 });
    expect(cached.out).toContain('n/a: kd on labelOnly: kd needs probabilities; labelOnly exposes label');
    expect(cached.out).toMatch(/16 cached\.\nNothing is left to do\./);

    await at.write('changed.ts', (await at.read('tiny.ts')).replace('kd()', 'kd({ temperature: 5 })'));
    const stale = await at.undistill(['plan', 'changed.ts', '--out', 'whole/tiny', '--verbose']);
    expect(stale.out).toMatch(/seed-0\/none\/plainCnn\/kd +steal +stale: attack\.params\.temperature: 4 → 5\n/);
    expect(stale.out).toMatch(/seed-0\/teacher +teacher +cached/);
    expect(stale.out).toMatch(/Time left: about .*, by a few steps of each kind on this machine\./);

    const brief = await at.undistill(['plan', 'changed.ts', '--out', 'whole/tiny', '--no-time']);
    expect(brief.out).not.toContain('seed-0/');
    expect(brief.out).toMatch(/^stale: attack\.params\.temperature: 4 → 5 \(\d+ stages?\)$/m);
    expect(brief.out).toMatch(/^To make: \d+ students?\.\nDisk: about \d+ kB/m);

    const nothing = await at.undistill(['plan', 'tiny.ts', '--out', 'elsewhere/tiny']);
    expect(nothing.out).toMatch(/16 to do\.\n(.*\n)*Time left: about \d+ s, by a few steps/);
    const untimed = await at.undistill(['plan', 'tiny.ts', '--out', 'elsewhere/tiny', '--no-time']);
    expect(untimed.out).not.toContain('Time left');
    const cache = { XDG_CACHE_HOME: join(at.folder, 'empty') };
    const installedNothing = await at.undistill(['plan', 'tiny.ts', '--out', 'elsewhere/tiny'], { env: cache });
    expect(installedNothing).toMatchObject({ code: 0, err: '' });
    expect(installedNothing.out).toMatch(
      /^Time left: not known: TensorFlow is not installed, or not completely\. Run: npx undistill engine install$/m,
    );
  });

  it('removes what was left half-written by one that died', async () => {
    const store = join(at.folder, 'whole/.store');
    const left = 'whole/tiny/matrix.json.99999.tmp';
    await at.write(left, '{');
    await utimes(join(at.folder, left), 1, 1);
    await mkdir(join(store, 'fedcba9876543210.partial'));
    expect(await at.undistill(run('whole/tiny'))).toMatchObject({ code: 0 });
    expect((await readdir(join(at.folder, 'whole/tiny'))).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect(await readdir(store)).not.toContain('fedcba9876543210.partial');
  });

  it('rebuilds what was altered on disk, and says so', async () => {
    const { id } = JSON.parse(await at.read('whole/tiny/stages/seed-0/nasty/plainCnn/kd/record.json'));
    const before = await tensorsIn(join(at.folder, 'whole/.store'));
    await appendFile(join(at.folder, 'whole/.store', id, 'last.safetensors'), 'x');
    const { code, out } = await at.undistill(run('whole/tiny'));
    expect(code).toBe(0);
    expect(out).toContain('seed-0/nasty/plainCnn/kd: last.safetensors was altered on disk; it is made anew');
    expect(await tensorsIn(join(at.folder, 'whole/.store'))).toEqual(before);
  });

  it('makes anew what it is forced to', async () => {
    const { code, out } = await at.undistill(run('whole/tiny', '--force', 'nasty/plainCnn/kd'));
    expect(code).toBe(0);
    expect(out).toContain('✓ seed-0/nasty/plainCnn/kd');
    expect(out).toContain('4 of 5 trainings are there from before');
  });

  it('removes nothing of what it is forced to make while another process makes a part of it', async () => {
    const { id } = JSON.parse(await at.read('whole/tiny/stages/seed-0/nasty/plainCnn/kd/record.json'));
    const lock = await tryLock(join(at.folder, 'whole/.store/locks', id));
    const before = await tensorsIn(join(at.folder, 'whole/.store'));
    const { code, err } = await at.undistill(run('whole/tiny', '--force'));
    await lock?.release();
    expect(code).toBe(1);
    expect(err).toMatch(
      new RegExp(
        `seed-0/nasty/plainCnn/kd: this stage is being made by process ${process.pid} on .*\\n.*Nothing was removed`,
      ),
    );
    expect(await tensorsIn(join(at.folder, 'whole/.store'))).toEqual(before);
  });

  it('does only what it is asked for, with what that needs', async () => {
    const { code, out } = await at.undistill(run('part/tiny', '--only', 'none/*/kd'));
    expect(code).toBe(0);
    expect(out).not.toContain('seed-0/nasty/teacher');
    expect(out).toContain('✓ seed-0/teacher');
    const { cells } = await at.matrix('part/tiny');
    expect(cells.map(({ attack, defense, status }) => `${attack} ${defense} ${status}`)).toEqual([
      'scratch none done',
      'scratch nasty done',
      'scratch labelOnly done',
      'kd none done',
      'kd nasty not run',
      'kd labelOnly n/a',
    ]);
    // What it is compared with comes along: the honest student, and its victim.
    expect(cells[3]?.seeds[0]).toMatchObject({ toBaseline: expect.any(Number), teacherAccuracy: expect.any(Number) });
    const more = await at.undistill(run('part/tiny', '--only', 'labelOnly'));
    expect(more.code).toBe(0);
    expect((await at.matrix('part/tiny')).cells.filter(({ status }) => status === 'done')).toHaveLength(4);
    expect(more.out).not.toContain('nasty/teacher');
  });
});

/** Does something once, when the teacher is trained. */
const onceTaught = (act: (child: ChildProcess) => void): ((said: string, child: ChildProcess) => void) => {
  let done = false;
  return (said, child) => {
    if (done || !said.includes('✓ seed-0/teacher')) return;
    done = true;
    act(child);
  };
};

describe('a run that is killed', () => {
  it('at once or by a signal that it hears ends with the same bits as one that was not', async () => {
    const resumable = run('broken/tiny', '--checkpoint-every', '4');
    const killed = await at.undistill(resumable, { env: { STOP: 'SIGKILL teacher 13' } });
    expect(killed.code).toBe('SIGKILL');
    const left = await readdir(join(at.folder, 'broken/.store'), { recursive: true });
    expect(left.filter((name) => name.includes('checkpoint'))).toHaveLength(1);
    const stopped = await at.undistill(resumable, { env: { STOP: 'SIGINT student 22' } });
    expect(stopped.code).toBe(130);
    expect(stopped.out).toMatch(/To go on, run the same again:\n {2}npx undistill run tiny\.ts/);
    expect((await at.undistill(resumable)).code).toBe(0);
    expect(lasting(await at.matrix('broken/tiny'))).toEqual(lasting(await at.matrix('whole/tiny')));
    const [broken, whole] = await Promise.all(
      ['broken', 'whole'].map((of) => tensorsIn(join(at.folder, of, '.store'))),
    );
    expect(broken).toEqual(whole);
  });
});

describe('Ctrl-C in a terminal, or a polite kill, which all processes of a run get', () => {
  it.each<readonly [NodeJS.Signals, readonly string[]]>([
    ['SIGINT', []],
    ['SIGINT', ['--jobs', '2']],
    ['SIGTERM', ['--jobs', '2']],
  ])('stops it with what is needed to go on, and a report: %s %j', async (signal, how) => {
    const out = `${signal}${how.length}/tiny`;
    const stopped = await at.undistill(run(out, ...how), {
      // Twice at once: npm passes on to its child what a terminal sends to both.
      watch: onceTaught((child) => {
        process.kill(-(child.pid as number), signal);
        child.kill(signal);
      }),
    });
    expect(stopped).toMatchObject({ code: 130, err: '', out: expect.stringMatching(/^report: .*report\.html$/m) });
    expect(stopped.out).not.toContain('✗');
    expect(stopped.out).toMatch(/To go on, run the same again/);
    expect(await at.read(`${out}/report.html`)).toContain('<script>');
    expect((await at.undistill(run(out, ...how))).code).toBe(0);
    expect(lasting(await at.matrix(out))).toEqual(lasting(await at.matrix('whole/tiny')));
  });
});

describe('several processes', () => {
  it('are shared out by themselves, with the same numbers on two threads as on one', async () => {
    const { code, out, err } = await at.undistill(['run', 'tiny.ts', '--threads', '2', '--out', 'auto/tiny']);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('2 threads');
    expect(lasting(await at.matrix('auto/tiny'))).toEqual(lasting(await at.matrix('whole/tiny')));
  });

  it('lose a stage with a worker that dies, and no more', async () => {
    const jobs = ['--jobs', '2', '--checkpoint-every', '4'];
    const broken = await at.undistill(run('died/tiny', ...jobs), { env: { STOP: 'SIGKILL student 22 alone' } });
    expect(broken.code).toBe(1);
    expect(broken.out).toMatch(/✗ seed-0\/plainCnn\/scratch: its process was killed \(SIGKILL\)/);
    expect(broken.out).toContain('✓ seed-0/nasty/teacher');
    // A worker too says of a file that was altered.
    const store = join(at.folder, 'died/.store');
    const { stages } = JSON.parse(await at.read('died/tiny/plan.json')) as { stages: { id: string; label: string }[] };
    const scratch = stages.find(({ label }) => label === 'seed-0/plainCnn/scratch');
    await appendFile(join(store, `${scratch?.id}.partial`, 'fits/student/checkpoint.safetensors'), 'x');
    const resumed = await at.undistill(run('died/tiny', ...jobs));
    expect(resumed.out).toContain(
      'seed-0/plainCnn/scratch: fits/student/checkpoint.safetensors was altered on disk; it is made anew',
    );
    expect(resumed.out).toContain('2 jobs of tensorflow');
    expect(resumed.code).toBe(0);
    expect(lasting(await at.matrix('died/tiny'))).toEqual(lasting(await at.matrix('whole/tiny')));
  });

  it('share a store: two runs at once', async () => {
    const [one, two] = await Promise.all([at.undistill(run('both/one')), at.undistill(run('both/two'))]);
    expect([one.code, two.code]).toEqual([0, 0]);
    for (const name of ['both/one', 'both/two']) {
      expect(lasting(await at.matrix(name))).toEqual(lasting(await at.matrix('whole/tiny')));
    }
  });
});

describe('a plugin that fails', () => {
  it('is a failed cell with its message; the others complete', async () => {
    await at.write(
      'attacks/bad.ts',
      `import { type Attack, classifier, crossEntropy, labelled } from 'undistill';
const bad = (name: string, factor: number, error?: string): Attack<'probabilities', typeof labelled> => ({
  name,
  params: { factor },
  source: import.meta.url,
  needs: 'probabilities',
  data: labelled,
  steal: (victim, learner, { fit, data }) => {
    if (error !== undefined) throw new Error(error);
    return fit('student', classifier({
      learner,
      data: data.train,
      victim,
      loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels).mul(factor) }),
    }));
  },
});
export const throws = () => bad('throws', 1, 'out of ideas');
export const notANumber = () => bad('notANumber', Number.NaN);
`,
    );
    await at.write(
      'failing.ts',
      tiny({
        imports: "import { notANumber, throws } from './attacks/bad.js';",
        attacks: 'throws(), notANumber(), kd()',
        defenses: 'none()',
      }),
    );
    const args = ['run', 'failing.ts', '--threads', '1', '--out', 'failing/tiny'];
    const { code, out, err } = await at.undistill(args);
    expect(code).toBe(1);
    expect(err).toBe('');
    expect(out).toMatch(/✗ seed-0\/none\/plainCnn\/throws: out of ideas/);
    expect(out).toMatch(/✗ seed-0\/none\/plainCnn\/notANumber: loss became NaN in epoch 1/);
    expect(out).toMatch(/the first NaN was made by Mul in step 1/);
    expect(out).toMatch(/\n {2}Look at what it was given/);
    expect(out).toContain('2 of 3 cells failed, or lack a seed.');
    // Where it was thrown, in the plugin's own file; no raw stack.
    expect(out).toMatch(/\n +at .*attacks\/bad\.ts:9:\d+/);
    expect(out).not.toMatch(/\n +at (?!.*bad\.ts)/);
    const { cells } = await at.matrix('failing/tiny');
    expect(cells.map(({ attack, status }) => [attack, status])).toEqual([
      ['throws', 'failed'],
      ['notANumber', 'failed'],
      ['kd', 'done'],
    ]);
    // A divergence is a result, and is not tried again; a mistake is.
    await at.write('attacks/bad.ts', (await at.read('attacks/bad.ts')).replace(", 'out of ideas'", ''));
    expect((await at.undistill(args)).out).toContain('✓ seed-0/none/plainCnn/throws');
  });
});

describe('a file of several experiments', () => {
  it('is run one after the other with shared stages, planned, and one of it chosen', async () => {
    const second = "experiment({ ...one, name: 'second', attacks: one.attacks.slice(0, 1) })";
    await at.write(
      'several.ts',
      `${tiny({ defenses: 'none()' }).replace('export default experiment', 'const one = ')}
export default [experiment(one), ${second}];
`,
    );
    const both = await at.undistill(['run', 'several.ts', '--threads', '1', '--out', 'several', '--jobs', '2']);
    expect(both).toMatchObject({ code: 0, err: '' });
    expect(both.out).toContain('2 of 2 trainings are there from before');
    expect((await at.matrix('several/tiny')).experiment).toBe('tiny');
    expect((await at.matrix('several/second')).cells).toHaveLength(1);

    const plan = await at.undistill(['plan', 'several.ts', '--out', 'several']);
    expect(plan.out).toMatch(/^tiny:\n[\s\S]*Nothing is left to do\.[\s\S]*\nsecond:\n[\s\S]*Nothing is left to do\./);

    const chosen = await at.undistill(['run', 'several.ts#second', '--threads', '1', '--out', 'alone/second']);
    expect(chosen.code).toBe(0);
    expect(await readdir(join(at.folder, 'alone'))).toEqual(['.store', 'second']);
  });
});

describe('undistill new', () => {
  it('writes plugins that work, with tests that pass, and overwrites nothing', async () => {
    expect((await at.undistill(['new', 'attack', 'my-attack'])).out).toContain(
      "import { myAttack } from './attacks/my-attack.js';",
    );
    expect((await at.undistill(['new', 'defense', 'myDefense'])).code).toBe(0);
    const again = await at.undistill(['new', 'attack', 'my-attack']);
    expect(again).toMatchObject({ code: 2, err: expect.stringContaining('there is such a file already') });
    expect((await at.undistill(['new', 'trained-defense', 'apart'])).out).toContain('defenses: [apart()],');
    expect((await at.undistill(['new', 'network', 'my-net'])).out).toContain('students: [learner(myNet(), { … })],');
    expect((await at.undistill(['new', 'metric', 'my-metric'])).out).toContain('metrics: [myMetric],');
    expect((await at.undistill(['new', 'data-free', 'dream'])).out).toContain('attacks: [dream()],');
    expect((await at.undistill(['new', 'dataset', 'my-images'])).out).toContain('data: myImages(),');
    const plugins = [
      'attacks/my-attack',
      'attacks/dream',
      'defenses/myDefense',
      'defenses/apart',
      'networks/my-net',
      'metrics/my-metric',
      'data/my-images',
    ];
    const tests = plugins.map((file) => join(at.folder, `${file}.test.ts`));
    const { code, out, err } = await at.node(['--import', register, '--test', ...tests]);
    expect(code, `${out}${err}`).toBe(0);
  });

  it('writes a project that can be planned at once, and overwrites none', async () => {
    const { code, out } = await at.undistill(['new', 'project', 'my-project']);
    expect(code).toBe(0);
    expect(out).toMatch(/cd my-project\n {2}npm install\n {2}npm test\n {2}npm start\n$/);
    const { dependencies, scripts } = JSON.parse(await at.read('my-project/package.json'));
    // A checkout by its path, and an installed package as it was asked for.
    if (process.env.UNDISTILL_INSTALLED === undefined) expect(dependencies.undistill).toBe(`file:${process.cwd()}`);
    else expect(dependencies.undistill).toMatch(/^file:.*\.tgz$|^\d/);
    expect(scripts.start).toBe('undistill run experiment.ts');
    const plan = await at.undistill([
      'plan',
      'my-project/experiment.ts',
      '--verbose',
      '--no-time',
      '--out',
      'my-project/runs/x',
    ]);
    expect(plan, plan.err).toMatchObject({ code: 0, out: expect.stringContaining('myDefense') });
    expect(await at.undistill(['new', 'project', 'my-project'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('there is such a folder already'),
    });
  });

  it('gives an attack that resumes without a line of its own', async () => {
    await at.write(
      'mine.ts',
      tiny({
        imports:
          "import { myAttack } from './attacks/my-attack.js';\nimport { myDefense } from './defenses/myDefense.js';",
        attacks: 'myAttack()',
        defenses: 'myDefense()',
      }),
    );
    const mine = (out: string): string[] => [
      'run',
      'mine.ts',
      '--threads',
      '1',
      '--checkpoint-every',
      '4',
      '--out',
      out,
    ];
    expect((await at.undistill(mine('mine/whole'))).code).toBe(0);
    const killed = await at.undistill([...mine('killed/broken'), '--only', 'myAttack'], {
      env: { STOP: 'SIGKILL student 22' },
    });
    expect(killed.code).toBe('SIGKILL');
    expect((await at.undistill(mine('killed/broken'))).code).toBe(0);
    expect(lasting(await at.matrix('killed/broken'))).toEqual(lasting(await at.matrix('mine/whole')));
    expect(await tensorsIn(join(at.folder, 'killed/.store'))).toEqual(await tensorsIn(join(at.folder, 'mine/.store')));
  });
});
