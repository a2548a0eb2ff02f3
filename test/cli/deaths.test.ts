import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { deadly } from './deadly.js';
import { type Project, project, tiny } from './project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write('attacks/deadly.ts', deadly);
});
afterAll(() => at.remove());

const experimentOf = (...names: readonly string[]): string =>
  tiny({
    imports: "import { deadly } from './attacks/deadly.js';",
    attacks: [...names.map((name) => `deadly('${name}')`), 'kd()'].join(', '),
    defenses: 'none()',
  });

const run = (file: string, out: string, ...more: string[]): string[] => [
  ...['run', file, '--threads', '1', '--out', out],
  ...more,
];

/** Does something once, when a run has said what is looked for. */
const once = (says: RegExp, act: (child: ChildProcess, found: RegExpExecArray) => void) => {
  let done = false;
  return (said: string, child: ChildProcess): void => {
    const found = done ? null : says.exec(said);
    if (found === null) return;
    done = true;
    act(child, found);
  };
};

/** An attack says when it begins, and in which process. */
const begun = /\nnow \w+ (\d+)/;

/** Whether a process of that id is alive. */
const lives = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Resolves when something holds, as it will: the test's own limit ends it else. */
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 50));
};

describe('a plugin that would end the run', () => {
  const deaths = [
    ['never', 'it waits for a promise that can never be settled', 'new Promise'],
    ['exits', 'it called process.exit(0)', 'leave process.exit out'],
    ['throwsLate', 'too late (', 'deadly.ts'],
    ['rejectsAside', 'nobody waits (', 'deadly.ts'],
    ['fillsTheHeap', "was aborted (SIGABRT): JavaScript's heap was full", '--max-old-space-size'],
    ['crashes', 'its process crashed in native code (SIGSEGV)', 'undistill doctor'],
    ['aborts', 'its process was aborted (SIGABRT)', 'run again'],
  ] as const;

  it.each([[[]], [['--jobs', '2']]])('is a failed stage that says how, and no more: %j', async (how) => {
    const out = `deaths${how.length}/tiny`;
    await at.write('deaths.ts', experimentOf(...deaths.map(([name]) => name)));
    const { code, out: said } = await at.undistill(run('deaths.ts', out, ...how), {
      // The heap's end comes in seconds.
      env: { NODE_OPTIONS: '--max-old-space-size=300' },
    });
    expect(code).toBe(1);
    for (const [name, what, remedy] of deaths) {
      const end = said
        .slice(said.lastIndexOf(`✗ seed-0/none/plainCnn/${name}: `))
        .split('\n', 2)
        .join('\n');
      expect(end, name).toContain(what);
      expect(end, name).toContain(remedy);
    }
    const { cells } = await at.matrix(out);
    expect(cells.map(({ attack, status }) => [attack, status])).toEqual([
      ...deaths.map(([name]) => [name, 'failed']),
      ['kd', 'done'],
    ]);
    expect(await at.read(`${out}/report.html`)).toContain('<script>');
  });
});

describe('a plugin that fails', () => {
  it('leaves nothing to the stages after it', async () => {
    await at.write(
      'attacks/polluting.ts',
      `import { type Attack, labelled } from 'undistill';
export const polluting: Attack<'probabilities', typeof labelled> = {
  ...{ name: 'polluting', params: {}, source: import.meta.url, needs: 'probabilities', data: labelled },
  steal: async () => {
    (Object.prototype as Record<string, unknown>).polluted = 1;
    throw new Error('it failed');
  },
};
`,
    );
    const imports = "import { polluting } from './attacks/polluting.js';";
    await at.write('polluting.ts', tiny({ imports, attacks: 'polluting, kd()', defenses: 'none()' }));
    const { out } = await at.undistill(run('polluting.ts', 'polluting/tiny'));
    expect(out).toContain('seed-0/none/plainCnn/polluting: it failed');
    const { cells } = await at.matrix('polluting/tiny');
    expect(cells.map(({ attack, status }) => [attack, status])).toEqual([
      ['polluting', 'failed'],
      ['kd', 'done'],
    ]);
  });
});

describe('Ctrl-C', () => {
  // The other one is what a batch system sends before it kills.
  it.each(['SIGINT', 'SIGTERM'] as const)(
    'stops a run whose attack never gives way, with a report: %s',
    async (signal) => {
      await at.write('loops.ts', experimentOf('loops'));
      const { code, out, err } = await at.undistill(run('loops.ts', `loops-${signal}/tiny`), {
        env: { UNDISTILL_GRACE: '1' },
        watch: once(begun, (child) => child.kill(signal)),
      });
      expect([code, err]).toEqual([130, '']);
      expect(out).toContain('seed-0/none/plainCnn/loops: it did not stop within 1 s, and its process was ended');
      expect(out).toMatch(/To go on, run the same again/);
      expect(out).toMatch(/^report: .*report\.html$/m);
      expect(out).not.toContain('✗');
    },
  );

  it.each(['waits', 'loops'])('a second time ends a run at once whose attack %s, and its worker', async (name) => {
    await at.write('second.ts', experimentOf(name));
    let worker = 0;
    const { code, out } = await at.undistill(run('second.ts', `second-${name}/tiny`), {
      env: { UNDISTILL_GRACE: '100000' },
      watch: once(begun, (child, [, pid]) => {
        worker = Number(pid);
        child.kill('SIGINT');
        // Within half a second it would be the same keystroke.
        setTimeout(() => child.kill('SIGINT'), 600);
      }),
    });
    expect(code).toBe(130);
    expect(out).toContain('Stopping after this step; once more stops at once.');
    expect(out).not.toContain('report:');
    await until(() => !lives(worker));
  });
});

describe('a run that is killed while a plugin never gives way', () => {
  it('leaves no worker behind', async () => {
    await at.write('orphan.ts', experimentOf('loops'));
    let worker = 0;
    const { code } = await at.undistill(run('orphan.ts', 'orphan/tiny'), {
      watch: once(begun, (child, [, pid]) => {
        worker = Number(pid);
        child.kill('SIGKILL');
      }),
    });
    expect(code).toBe('SIGKILL');
    await until(() => !lives(worker));
  });
});

describe('a run that stands still', () => {
  it('says so, and what to do', async () => {
    await at.write('still.ts', experimentOf('waits'));
    const { code, out } = await at.undistill(run('still.ts', 'still/tiny'), {
      env: { UNDISTILL_SILENCE: '1', UNDISTILL_GRACE: '1' },
      watch: once(/plainCnn\/waits: no step for \d+ s/, (child) => child.kill('SIGINT')),
    });
    expect(code).toBe(130);
    expect(out).toMatch(/! seed-0\/none\/plainCnn\/waits: no step for \d+ s\. .*Ctrl-C stops the run/);
  });
});

test('an experiment file that throws where nobody waits is said, and fails the run, whose cells are made', async () => {
  const aside =
    "void Promise.reject(new Error('nobody waits'));\nsetTimeout(() => { throw new Error('too late'); }, 10);";
  await at.write('throws.ts', `${tiny({ attacks: 'kd()', defenses: 'none()' })}\n${aside}\n`);
  const { code, out, err } = await at.undistill(run('throws.ts', 'throws/tiny'));
  expect(code).toBe(1);
  expect(err).toMatch(
    /^nobody waits \(.*throws\.ts:\d+:\d+\)\n {2}A timer, an event or a promise that nobody waits for/,
  );
  expect(err).not.toMatch(/process\.exit|\n +at /);
  expect(out).toMatch(/best attack +kd/);
});

describe('an experiment file that ends the process', () => {
  it.each([
    ['process.exit(0);', 'called process.exit(0)', 1],
    ['await new Promise(() => undefined);', 'waits for a promise that can never be settled', 13],
  ])('is a failure that is said: %s', async (line, says, expected) => {
    await at.write('ends.ts', `${experimentOf('waits')}\n${line}\n`);
    const { code, err } = await at.undistill(run('ends.ts', 'ends/tiny'));
    expect(code).toBe(expected);
    expect(err).toContain(says);
  });
});
