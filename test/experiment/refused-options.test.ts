import { expect, test } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { rounding } from '../../src/defenses/answers.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { preResNet } from '../../src/models/pre-resnet.js';
import { resNet } from '../../src/models/resnet.js';
import { adam, sgd } from '../../src/train/optimizers.js';
import { constant } from '../../src/train/schedules.js';
import { refusal } from '../failures.js';
import { learnerOf, made } from '../run/helpers.js';

/** An experiment with these fields in its student's recipe, which no type has checked. */
const recipeWith = (fields: object) =>
  made({ attacks: [scratch()], students: [learnerOf(undefined, fields as never)] });

// Written out, and not drawn from what options declare of themselves: what is declared may be wrong.
test.each<readonly [string, () => unknown, string, string]>([
  ['adam({ beta1: 1.5 })', () => adam({ beta1: 1.5 }), 'adam', 'beta1 is 1.5'],
  ['adam({ lr: 5 })', () => adam({ lr: 5 } as never), 'adam', 'lr is none of its options'],
  ["adam({ clip: 'false' })", () => adam({ clip: 'false' } as never), 'adam', 'clip is "false"'],
  ['sgd({ momentun: 0.9 })', () => sgd({ momentun: 0.9 } as never), 'sgd', 'momentun is none of its options'],
  ['plainCnn({ widht: 4 })', () => plainCnn({ widht: 4 } as never), 'plainCnn', 'widht is none of its options'],
  ['preResNet(21)', () => preResNet(21 as never), 'preResNet', 'depth is 21'],
  ['resNet(19)', () => resNet(19 as never), 'resNet', 'depth is 19'],
  ["constant({ warmup: '5' })", () => constant({ rate: 1, warmup: '5' as never }), 'constant', 'warmup is "5"'],
  ["{ warmup: '5' }", () => recipeWith({ warmup: '5' }), 'students: tiny', 'warmup is none of its options'],
  ["{ clip: 'false' }", () => recipeWith({ clip: 'false' }), 'students: tiny', 'clip is none of its options'],
  [
    'kd({ temperature: 1e39 })',
    () => kd({ temperature: 1e39 }),
    'kd: temperature',
    'it is larger than a float32, with at most 3.4e38, can be',
  ],
  ['rounding(39)', () => rounding(39), 'rounding', 'digits is 39'],
  ["{ epochs: '5' }", () => recipeWith({ epochs: '5' }), 'students: tiny', 'epochs is "5"'],
])('%s is refused by whose option it is, and by its name', (_, written, where, what) => {
  expect(refusal(written)).toMatchObject({ kind: 'experiment', where, what, remedy: expect.stringMatching(/\.$/) });
});
