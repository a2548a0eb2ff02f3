import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { resuming } from '../../src/cli/command-line.js';
import { folderOf } from '../../src/cli/images-folder.js';
import { naming } from '../../src/cli/new.js';
import { progressReporter } from '../../src/cli/progress.js';
import { stageFolder } from '../../src/cli/run-folder.js';
import { cut, terminal } from '../../src/cli/terminal.js';
import { failure } from '../../src/core/errors.js';
import type { Plan } from '../../src/experiment/plan.js';
import type { Stage } from '../../src/experiment/stage.js';
import type { Outcome, StageRecord } from '../../src/run/record.js';
import type { RunEvent } from '../../src/run/scheduler.js';

const screen = (isTTY: boolean, columns = 80) => {
  let text = '';
  const write = (chunk: unknown): boolean => {
    text += String(chunk);
    return true;
  };
  return { stream: { isTTY, columns, write }, text: () => text };
};

/** What is left on the screen of a terminal that knows "up" and "erase below", the only controls that are used. */
const shown = (text: string): readonly string[] => {
  const lines: string[] = [''];
  const parts = text.replaceAll('\x1b[', '␛').split(/(␛\d*[AJ]|\n)/);
  for (const part of parts.filter((each) => each !== '')) {
    const up = /^␛(\d+)A$/.exec(part);
    if (up !== null) lines.splice(lines.length - 1 - Number(up[1]));
    else if (part === '\n' || part === '␛J') lines.push('');
    else lines.push((lines.pop() ?? '') + part);
  }
  return lines.slice(0, -1);
};

const stage = (label: string, kind = 'teacher'): Stage => ({ id: label, label, work: { kind } }) as unknown as Stage;
const progress = (epoch: number) => ({
  epoch,
  epochs: 3,
  step: 1,
  steps: 9,
  metrics: { kl: 0.5, loss: 0.25, accuracy: 0.5 },
  imagesPerSecond: 1234,
  secondsLeft: 61,
});
const done: Outcome = {
  status: 'done',
  record: {
    seconds: 7,
    training: { history: [{ epoch: 2, metrics: { loss: 0.125, accuracy: 0.75 }, validation: 0.5 }] },
  } as unknown as StageRecord,
};

const events = (one: Stage, two: Stage): readonly RunEvent[] => [
  { type: 'start', stage: one, number: 1, of: 3 },
  { type: 'start', stage: two, number: 2, of: 3 },
  { type: 'stage', stage: one, event: { type: 'progress', fit: 'teacher', progress: progress(0) } },
  { type: 'stage', stage: two, event: { type: 'warning', message: 'beware' } },
  { type: 'end', stage: one, outcome: done, ended: 1, of: 3 },
];

describe('a run on a terminal', () => {
  const [one, two, quick] = [stage('one'), stage('two'), stage('one/evaluate', 'evaluate')];
  const plan = { stages: [one, two, quick], cells: [{ stages: { measure: quick.id } }] } as unknown as Plan;

  it('has one live line a running stage, below the lines that stay', () => {
    const { stream, text } = screen(true);
    const tell = progressReporter(terminal(stream, { NO_COLOR: '1', TERM: 'xterm' }), plan);
    const all = events(one, two);
    for (const event of all.slice(0, 4)) tell(event);
    expect(shown(text())).toEqual([
      '! two: beware',
      '  one  epoch 1/3  1 min 1 s left  loss 0.2500  accuracy 50.0 %  1,234 images/s…',
      '  two',
    ]);
    tell(all[4] as RunEvent);
    expect(shown(text())).toEqual([
      '! two: beware',
      '✓ one  7 s  epoch 3/3  loss 0.1250  accuracy 75.0 %  held out 50.0 %',
      '  two',
    ]);
    tell({ type: 'end', stage: two, outcome: { status: 'failed', failure: failure('plugin', 'no') }, ended: 2, of: 3 });
    expect(shown(text()).slice(2)).toEqual(['✗ two: no']);
  });

  it('has plain lines where it is none, and no control characters', () => {
    const { stream, text } = screen(false);
    const tell = progressReporter(terminal(stream, {}), plan);
    for (const event of events(one, two)) tell(event);
    expect(text()).not.toContain('\x1b');
    expect(text().split('\n')).toEqual([
      '  one: begins (1 of 2)',
      '  two: begins (2 of 2)',
      '! two: beware',
      '✓ one  7 s  epoch 3/3  loss 0.1250  accuracy 75.0 %  held out 50.0 %',
      '',
    ]);
  });

  describe('of which many cells are to be filled', () => {
    const [measureOne, measureTwo] = [stage('one/measure', 'measure'), stage('two/measure', 'measure')];
    const cells = [measureOne, measureTwo, stage('of another seed')].map(({ id }) => ({ stages: { measure: id } }));
    const many = { stages: [one, two, measureOne, measureTwo], cells } as unknown as Plan;
    const seconds = ({ id }: Stage): number | undefined => ({ one: 10, two: 30 })[id];
    const at = (share: number): RunEvent => {
      const event = {
        type: 'progress',
        fit: 'teacher',
        progress: { ...progress(0), step: 10 * share, steps: 10 },
      } as const;
      return { type: 'stage', stage: one, event };
    };
    const cached: Outcome = { status: 'cached', record: {} as StageRecord };
    /** By the second at which it comes. */
    const told: readonly (readonly [number, RunEvent])[] = [
      [1, { type: 'start', stage: one, number: 1, of: 4 }],
      // A quarter of a hundredth of all tells no pace.
      [61, at(0.01)],
      [130, at(0.5)],
      [140, { type: 'end', stage: one, outcome: done, ended: 1, of: 4 }],
      [200, { type: 'end', stage: measureOne, outcome: done, ended: 2, of: 4 }],
      [300, { type: 'end', stage: two, outcome: cached, ended: 3, of: 4 }],
      [400, { type: 'end', stage: measureTwo, outcome: done, ended: 4, of: 4 }],
    ];
    const inMinutes = (line: string): string => line.replace(/(\d+ min) \d+ s/, '$1');
    const reported = (isTTY: boolean) => {
      const { stream, text } = screen(isTTY);
      const now = vi.spyOn(performance, 'now').mockReturnValue(0);
      const tell = progressReporter(terminal(stream, { NO_COLOR: '1', TERM: 'xterm' }), many, seconds);
      const after = told.map(([second, event]) => {
        // It goes on a little at each look, since lines are not drawn anew at once.
        let looks = 0;
        now.mockImplementation(() => 1000 * second + 101 * looks++);
        tell(event);
        return inMinutes(shown(text()).at(-1) ?? '');
      });
      now.mockRestore();
      return { after, lines: text().split('\n').map(inMinutes) };
    };

    it('says once a minute how many are, and how long the others take by the time that it took so far', () => {
      const { lines } = reported(false);
      expect(lines.filter((line) => / cells/.test(line))).toEqual([
        '  0 of 2 cells',
        // 5 of 40 expected seconds took 130.
        '  0 of 2 cells, about 15 min left',
        '  1 of 2 cells, about 10 min left',
        // What is there from before took no time, and none is left.
        '  1 of 2 cells',
      ]);
    });

    it('has it below the stages on a screen, until it ends', () => {
      const { after } = reported(true);
      expect(after.slice(0, -1)).toEqual([
        '  0 of 2 cells',
        '  0 of 2 cells',
        '  0 of 2 cells, about 15 min left',
        '  0 of 2 cells, about 7 min left',
        '  1 of 2 cells, about 10 min left',
        '  1 of 2 cells',
      ]);
      expect(after.at(-1)).not.toContain('cells');
    });
  });

  it('says for whom a stage waits, in a line that stays', () => {
    for (const isTTY of [false, true]) {
      const { stream, text } = screen(isTTY);
      const tell = progressReporter(terminal(stream, { NO_COLOR: '1', TERM: 'xterm' }), plan);
      tell({ type: 'start', stage: one, number: 1, of: 3 });
      tell({ type: 'waiting', stage: one, holder: 'process 7 on here' });
      expect(text()).toContain(`  ${one.label}: waiting for process 7 on here\n`);
      if (isTTY) expect(shown(text()).at(-1)).toContain('another process is at it');
    }
  });

  it('counts what is there from before, and is silent about moments', () => {
    const { stream, text } = screen(false);
    const tell = progressReporter(terminal(stream, {}), plan);
    const cached: Outcome = { status: 'cached', record: {} as StageRecord };
    tell({ type: 'end', stage: one, outcome: cached, ended: 1, of: 3 });
    tell({ type: 'end', stage: two, outcome: cached, ended: 2, of: 3 });
    tell({ type: 'start', stage: quick, number: 3, of: 3 });
    tell({ type: 'end', stage: quick, outcome: done, ended: 3, of: 3 });
    expect(text()).toBe('  2 of 2 trainings are there from before\n');
  });

  it('counts all that are there, also where some are found later', () => {
    const { stream, text } = screen(false);
    const three = { ...plan, stages: [...plan.stages, { ...one, id: 'three', label: 'third' }] } as Plan;
    const tell = progressReporter(terminal(stream, {}), three);
    const cached: Outcome = { status: 'cached', record: {} as StageRecord };
    tell({ type: 'end', stage: one, outcome: cached, ended: 1, of: 3 });
    tell({ type: 'start', stage: two, number: 2, of: 3 });
    tell({ type: 'end', stage: three.stages.at(-1) as Stage, outcome: cached, ended: 2, of: 3 });
    tell({ type: 'end', stage: two, outcome: done, ended: 3, of: 3 });
    const counted = text()
      .split('\n')
      .filter((line) => line.includes('there from before'));
    expect(counted).toEqual([1, 2].map((kept) => `  ${kept} of 3 trainings are there from before`));
  });

  it('is coloured where that is wanted', () => {
    const paint = (isTTY: boolean, env: NodeJS.ProcessEnv) => terminal(screen(isTTY).stream, env).paint.bad('x');
    expect(paint(true, {})).toBe('\x1b[31mx\x1b[0m');
    expect([paint(false, {}), paint(true, { NO_COLOR: '1' }), paint(true, { TERM: 'dumb' })]).toEqual(['x', 'x', 'x']);
    expect(terminal(screen(true).stream, { TERM: 'dumb' }).live).toBe(false);
  });

  it('is steered by nothing that is written to it, and coloured by itself alone', () => {
    const evil = 'a\x1b[2J\x1b]0;title\x07\u202eb';
    const spelt = 'a\\x1b[2J\\x1b]0;title\\x07\\u202eb';
    const plain = screen(false);
    const piped = terminal(plain.stream, {});
    piped.log(`${piped.paint.bad(evil)}\ntwo`);
    piped.print(evil);
    expect(plain.text()).toBe(`${spelt}\ntwo\n${evil}`);
    const live = screen(true);
    const out = terminal(live.stream, {});
    out.log(out.paint.bad(evil));
    out.print(evil);
    expect(live.text()).toBe(`\x1b[31m${spelt}\x1b[0m\n${spelt}`);
    const lines = screen(true);
    terminal(lines.stream, { NO_COLOR: '1' }).update('x', `two\nlines ${evil}`);
    expect(lines.text()).toBe(`two\\nlines ${spelt}\n`);
    const colourless = screen(true);
    terminal(colourless.stream, { NO_COLOR: '1' }).log('\x1b[31mred');
    expect(colourless.text()).toBe('\\x1b[31mred\n');
  });

  it('never wraps a line', () => {
    expect(cut('seed-0/teacher', 6)).toBe('seed-…');
    expect(cut('seed', 6)).toBe('seed');
  });
});

describe('the way to go on', () => {
  it('is the same command, and throws nothing away once more', () => {
    expect(resuming(['run', 'a b.ts', '--jobs', '2'], undefined)).toBe("npx undistill run 'a b.ts' --jobs 2");
    expect(resuming(['run', 'a.ts', '--force', '--jobs', '2'], true)).toBe('npx undistill run a.ts --jobs 2');
    expect(resuming(['run', 'a.ts', '--force', 'kd*', '--out', 'x'], 'kd*')).toBe('npx undistill run a.ts --out x');
    expect(resuming(['run', 'a.ts', '--force=kd'], 'kd')).toBe('npx undistill run a.ts');
  });
});

describe("a stage's folder", () => {
  it('is its label, and stays where it belongs', () => {
    expect(stageFolder('seed-0/none/kd(temperature 4)')).toBe('seed-0/none/kd(temperature 4)');
    expect(stageFolder('a/../../b')).toMatch(/^a\/(_~[0-9a-f]{8})\/\1\/b$/);
    expect(stageFolder('what: "this"?')).toMatch(/^what_ _this__~[0-9a-f]{8}$/);
    const long = stageFolder('é'.repeat(300));
    expect(long).toMatch(/^é{100}~[0-9a-f]{8}$/);
    expect(stageFolder('é'.repeat(301))).not.toBe(long);
  });

  it('is no other stage’s, and the folder of a cell’s images no other cell’s', () => {
    const labels = ['rate:0.1', 'rate*0.1', 'rate_0.1', 'rate/0.1', 'rate//0.1', '', '_', '.', '..', 'é?', 'é*'];
    const cells = labels.map((attack) => folderOf({ defense: 'none', attack, student: 'small', seed: '0' }));
    expect(new Set(cells).size).toBe(labels.length);
    const any = fc.string({ unit: fc.constantFrom(...'ab:*_~./ é') });
    fc.assert(fc.property(any, any, (a, b) => (stageFolder(a) === stageFolder(b)) === (a === b)));
  });
});

describe('the name of a plugin', () => {
  it('is kebab or camel case', () => {
    expect(naming('my-attack-2', new Set())).toEqual({ value: 'myAttack2', file: 'my-attack-2' });
    expect(naming('myAttack', new Set())).toEqual({ value: 'myAttack', file: 'myAttack' });
    for (const bad of ['', 'My', '-a', 'a-', '../a', 'a b', '2a', 'new'])
      expect(() => naming(bad, new Set())).toThrow();
    expect(() => naming('kd', new Set(['kd']))).toThrow(/exports something of that name/);
    expect(() => naming('top-5', new Set(), new Set(['top5']))).toThrow(/a number of that name is in the tables/);
  });
});
