import { expect, test } from 'vitest';
import { scratch } from '../../src/attacks/scratch.js';
import { transfer } from '../../src/attacks/transfer.js';
import { planFor } from '../../src/harness/session.js';
import { dataOf, made, thirds } from '../run/helpers.js';

test('what a plan warns of is told to whom has it made', async () => {
  const notes: string[] = [];
  const images = dataOf({ ...thirds({ train: 30 }), name: 'others', fingerprint: 'others' });
  const { plan } = await planFor(made({ attacks: [scratch(), transfer({ images })] }), 'x', {
    onNote: (note) => notes.push(note),
  });
  expect(plan.warnings).toEqual(["attacks: transfer: its images may be of the victim's classes: top, middle, bottom"]);
  expect(notes).toEqual(plan.warnings);
});
