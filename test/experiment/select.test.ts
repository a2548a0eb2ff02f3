import { describe, expect, it } from 'vitest';
import { matcher } from '../../src/experiment/select.js';

const matching = (pattern: string, labels: readonly string[]): readonly string[] => labels.filter(matcher(pattern));

describe('a pattern', () => {
  const labels = ['kd', 'partialKd', 'kd(temperature 20)', 'seed-0/none/cnn/kd', 'seed-0/none/cnn/kd/evaluate', 'a+b'];

  it('matches where it occurs as a whole word', () => {
    expect(matching('kd', [...labels, 'dkd', 'kd2', 'kd_2', 'my-kd'])).toEqual([
      ...['kd', 'kd(temperature 20)', 'seed-0/none/cnn/kd', 'seed-0/none/cnn/kd/evaluate', 'my-kd'],
    ]);
    expect(matching('omega 0', ['nasty(omega 0)', 'nasty(omega 0.1)', 'nasty(omega 01)'])).toEqual(['nasty(omega 0)']);
    expect(matching('seed-1', ['seed-1/teacher', 'seed-10/teacher'])).toEqual(['seed-1/teacher']);
    expect(matching('a+b', labels)).toEqual(['a+b']);
    expect(matching('(temperature', labels)).toEqual(['kd(temperature 20)']);
  });

  it('with * or ? matches whole parts between slashes', () => {
    expect(matching('k?', labels)).toEqual(['kd', 'seed-0/none/cnn/kd', 'seed-0/none/cnn/kd/evaluate']);
    expect(matching('*Kd', labels)).toEqual(['partialKd']);
    expect(matching('none/*/kd', labels)).toEqual(['seed-0/none/cnn/kd', 'seed-0/none/cnn/kd/evaluate']);
    expect(matching('kd(*)', labels)).toEqual(['kd(temperature 20)']);
    expect(matching('non?', labels)).toHaveLength(2);
    expect(matching('o*', labels)).toEqual([]);
  });
});

it('a pattern of many stars is done with at once', () => {
  const label = `${'a'.repeat(200)}/${'a'.repeat(200)}`;
  expect(matching(`${'*'.repeat(60)}x`, [label])).toEqual([]);
  expect(matching(`${'*a'.repeat(40)}*x`, [label])).toEqual([]);
  expect(matching(`${'*a'.repeat(40)}*`, [label])).toEqual([label]);
});
