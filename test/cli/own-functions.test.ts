import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Project, project, tiny } from './project.js';

let at: Project;
beforeAll(() => {
  at = project();
});
afterAll(() => at.remove());

/** What `plan` says of stages by their labels: `cached`, `stale: …`. */
const planned = async (file: string): Promise<ReadonlyMap<string, string>> => {
  const { out } = await at.undistill(['plan', file, '--verbose', '--no-time', '--out', 'runs/tiny']);
  const lines = [...out.matchAll(/^(seed-\S+) +\w+ +(.+)$/gm)];
  return new Map(lines.map(([, label = '', state = '']) => [label, state]));
};

describe('results of functions of one’s own', () => {
  it('are not found again by others of the same name, parameters and text', async () => {
    await at.write(
      'defenses/rounded.ts',
      `import { defineDefense, rounding } from 'undistill';
const rounds = (name: string, digits: number) =>
  ({ name, source: import.meta.url, about: 'Rounds.', exposes: 'probabilities', make: () => ({ answers: rounding(digits).answers! }) }) as const;
/** Declared each time that it is called, by what no option says. */
export const rounded = (digits: number) => defineDefense(rounds('rounded', digits))();
/** Declared once, as the module is loaded. */
export const coarse = defineDefense(rounds('coarse', 2));
`,
    );
    const imports = "import { coarse, rounded } from './defenses/rounded.js';";
    const file = tiny({ imports, defenses: 'none(), rounded(1), coarse()' });
    await at.write('own.ts', file);
    const run = await at.undistill(['run', 'own.ts', '--threads', '1', '--out', 'runs/tiny']);
    expect(run, run.out + run.err).toMatchObject({ code: 0, err: '' });
    expect([...new Set((await planned('own.ts')).values())]).toEqual(['cached']);

    await at.write('own.ts', file.replace('rounded(1)', 'rounded(3)'));
    const defended = await planned('own.ts');
    expect(defended.get('seed-0/rounded/plainCnn/kd')).toMatch(/^stale: /);
    expect(defended.get('seed-0/coarse/plainCnn/kd')).toBe('cached');
    expect(defended.get('seed-0/none/plainCnn/kd')).toBe('cached');

    await at.write('own.ts', file.replace('kd()]', "{ ...kd(), steal: () => { throw new Error('mine'); } }]"));
    const attacked = await planned('own.ts');
    expect(attacked.get('seed-0/none/plainCnn/kd')).toMatch(/^stale: /);
    expect(attacked.get('seed-0/none/plainCnn/scratch') ?? attacked.get('seed-0/plainCnn/scratch')).toBe('cached');
  });

  it('are no other experiment’s of the same file', async () => {
    const mine = `
const mine = (temperature: number) => ({ ...kd(), steal: (victim: never, learner: never, context: never) =>
  kd({ temperature }).steal(victim, learner, context) });
`;
    const [before, experiment] = tiny({ attacks: 'scratch(), mine(temperature)' }).split('export default ');
    await at.write(
      'several.ts',
      `${before}${mine}export default [1, 20].map((temperature) => ${experiment?.replace("'tiny'", '`at$' + '{temperature}`').replace(/;\s*$/, '')});\n`,
    );
    for (const file of ['several.ts', 'several.ts#at20']) {
      const { code, err } = await at.undistill(['plan', file, '--no-time', '--out', 'runs/several']);
      expect({ code, err }).toEqual({
        code: 1,
        err: expect.stringMatching(/two functions of the same text.*, for at1 and for at20/),
      });
    }
  });
});
