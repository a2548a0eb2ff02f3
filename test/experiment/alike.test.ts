import { describe, expect, it } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { rounding } from '../../src/defenses/answers.js';
import { defineDefense } from '../../src/defenses/define.js';
import { none } from '../../src/defenses/none.js';
import { refuseAlikeIn } from '../../src/experiment/alike.js';
import type { Answers } from '../../src/train/oracle.js';
import { refusal } from '../failures.js';
import { dataOf, learnerOf, made, thirds, tiny } from '../run/helpers.js';

const mine = (temperature: number) => ({
  ...kd(),
  steal: (...[victim, learner, context]: Parameters<ReturnType<typeof kd>['steal']>) =>
    kd({ temperature }).steal(victim, learner, context),
});

const rounded = (digits: number) =>
  defineDefense({
    ...{ name: 'rounded', source: import.meta.url, about: 'Forgets to say by an option what it was given.' },
    exposes: 'probabilities',
    make: () => ({ answers: { kind: 'pure', answer: (query) => (rounding(digits).answers as Answers).answer(query) } }),
  })();

const metric = (value: number) => ({
  ...{ name: 'mine', title: 'mine', unit: 'number', better: 'lower', describe: 'A number.', source: import.meta.url },
  of: () => value,
});

/** Functions of their own, of which there is one each. */
const shared = { data: dataOf(thirds()), teacher: learnerOf(), students: [learnerOf(tiny(4))] };

type Changes = Parameters<typeof made>[0];

const several = (...all: readonly Changes[]) =>
  all.map((changes, i) => made({ ...shared, attacks: [scratch()], ...changes, name: `number${i + 1}` }));

describe('experiments of one file', () => {
  it.each<[string, string, (value: number) => Changes]>([
    ['attacks', 'kd: steal', (value) => ({ attacks: [scratch(), mine(value)] })],
    ['defences', 'rounded: make', (value) => ({ defenses: [none(), rounded(value)] })],
    ['metrics', 'mine: of', (value) => ({ metrics: [metric(value)] }) as Changes],
  ])('are refused where nothing tells their %s apart', (_, where, of) => {
    const one = of(1);
    expect(refusal(() => refuseAlikeIn(several(one, of(3))))).toMatchObject({
      kind: 'experiment',
      where,
      what: 'there are two functions of the same text, and nothing shows whether they compute the same, for number1 and for number2',
      remedy: expect.stringContaining('params: { … }'),
    });
    refuseAlikeIn(several(one, one, {}));
  });

  it('may have what parameters tell apart, and all that another has', () => {
    const told = (temperature: number) => ({ ...mine(temperature), params: { temperature } });
    refuseAlikeIn(several({ attacks: [scratch(), told(1)] }, { attacks: [scratch(), told(3)] }));
    const both: Changes = { defenses: [none(), { ...rounded(1), label: 'one' }, { ...rounded(3), label: 'three' }] };
    refuseAlikeIn(several(both, both));
  });
});
