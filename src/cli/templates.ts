/** A new plugin's files, by the name of its value (`myAttack`), the base of its files, and the heading. */
export interface Naming {
  readonly value: string;
  readonly file: string;
}

const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

export const attackTemplate = ({ value }: Naming): string => `\
import { type Attack, between, checked, classifier, distillation, labelled } from 'undistill';

export interface ${capital(value)}Options {
  /** Above 0: 1 takes the victim's probabilities as they are, more brings its small ones out. */
  readonly temperature?: number;
  /** The weight of the victim's answers against the labels, in 0..1. */
  readonly alpha?: number;
}

/** Say here what the attacker does, and where it comes from: a paper and its equation. */
export const ${value} = ({ temperature = 4, alpha = 0.5 }: ${capital(value)}Options = {}): Attack<
  'probabilities',
  typeof labelled
> => {
  checked('${value}', { temperature: between(0.1, 100), alpha: between(0, 1) }, { temperature, alpha });
  return {
    name: '${value}',
    // What two uses of this attack may differ in: part of a result's identity, as is the code of this file.
    params: { temperature, alpha },
    source: import.meta.url,
    // What the victim must answer: 'none', 'label', 'probabilities', 'logits' or 'weights'.
    needs: 'probabilities',
    // What the attacker owns: labelled, unlabelled, or { kind: 'none' }.
    data: labelled,
    // Everything made by \`fit\` is kept, checkpointed and resumed under its name.
    steal: (victim, student, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner: student,
          data: data.train,
          validation: data.validation,
          queriesPerImage: 1,
          frozen: victim.frozen,
          // Asked about each augmented, normalised batch; no gradient flows into the answers.
          target: (frozen, images) => ({ teacher: victim.logProbabilities(frozen, images) }),
          // Batch means. Use nothing but operations on tensors here: this may be compiled.
          loss: ({ logits, target: { teacher }, batch: { labels } }) =>
            distillation({ logits, teacher, labels, temperature, alpha }),
        }),
      ),
  };
};
`;

export const defenseTemplate = ({ value }: Naming): string => `\
import { between, checked, type Defense, soften } from 'undistill';

export interface ${capital(value)}Options {
  /** Above 0: more than 1 flattens the answers, less sharpens them. The most likely class stays the same. */
  readonly temperature?: number;
}

/** Say here what the owner does, and where it comes from: a paper and its equation. */
export const ${value} = ({ temperature = 0.5 }: ${capital(value)}Options = {}): Defense<'probabilities'> => {
  checked('${value}', { temperature: between(0.01, 100) }, { temperature });
  return {
    name: '${value}',
    // What two uses of this defence may differ in: part of a result's identity, as is the code of this file.
    params: { temperature },
    source: import.meta.url,
    // What the world can still ask: 'label' or 'probabilities' for a wrapper of answers.
    exposes: 'probabilities',
    // Labels are passed on as they are, so that an attack on labels need not be run again.
    leaves: 'label',
    // Wraps the answers. To train another teacher, give \`protect: (teacher, { fit, train, validation }) => fit('teacher', …)\`.
    expose: ({ frozen, labels, logProbabilities }) => ({
      frozen,
      labels,
      // Log-probabilities [batch, classes] in and out. Use nothing but operations on tensors here.
      logProbabilities: (tensors, images) => soften(logProbabilities(tensors, images), temperature),
    }),
  };
};
`;

export const attackTestTemplate = ({ value, file }: Naming): string => `\
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { adam, constant, experiment, learner, none, plainCnn, runExperiment, synthetic } from 'undistill';
import { ${value} } from './${file}.js';

const small = learner(plainCnn({ width: 4 }), { epochs: 4, batch: 16, optimizer: adam(), schedule: constant(0.01) });

test('${value} steals a small network', async () => {
  const folder = await mkdtemp(join(tmpdir(), '${file}-'));
  try {
    const { matrix, records } = await runExperiment(
      experiment({
        name: 'test',
        data: synthetic(),
        teacher: small,
        students: ['self'],
        defenses: [none()],
        attacks: [${value}()],
        seeds: [0],
      }),
      { folder },
    );
    const cell = matrix.cells[0];
    assert.equal(cell?.status, 'done', cell?.reason);
    const losses = records
      .find(({ kind, label }) => kind === 'steal' && label.endsWith('/${value}'))
      ?.training?.history.map(({ metrics }) => metrics.loss ?? Number.NaN);
    assert.ok(losses !== undefined && losses.length === 4);
    assert.ok(Number(losses.at(-1)) < Number(losses[0]), \`the loss does not fall: \${losses.join(', ')}\`);
    // Four classes: guessing gives a quarter.
    assert.ok(Number(cell?.accuracy?.mean) > 0.5, \`accuracy \${cell?.accuracy?.mean}\`);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ temperature: 0 }), /temperature is 0/);
});
`;

export const defenseTestTemplate = ({ value, file }: Naming): string => `\
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { adam, constant, experiment, kd, learner, none, plainCnn, runExperiment, synthetic } from 'undistill';
import { ${value} } from './${file}.js';

const small = learner(plainCnn({ width: 4 }), { epochs: 4, batch: 16, optimizer: adam(), schedule: constant(0.01) });

test('${value} stands beside an undefended teacher', async () => {
  const folder = await mkdtemp(join(tmpdir(), '${file}-'));
  try {
    const { matrix } = await runExperiment(
      experiment({
        name: 'test',
        data: synthetic(),
        teacher: small,
        students: ['self'],
        defenses: [none(), ${value}()],
        attacks: [kd()],
        seeds: [0],
      }),
      { folder },
    );
    for (const { defense, status, reason } of matrix.cells) assert.equal(status, 'done', \`\${defense}: \${reason}\`);
    const [undefended, defended] = matrix.victims;
    // A wrapper of answers leaves the teacher's own accuracy alone; one that trains may cost some.
    assert.ok(Number(defended?.accuracy?.mean) >= Number(undefended?.accuracy?.mean) - 0.1);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('${value} refuses what makes no sense', () => {
  assert.throws(() => ${value}({ temperature: 0 }), /temperature is 0/);
});
`;
