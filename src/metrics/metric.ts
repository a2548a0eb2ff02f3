import { accuracy } from '../train/accuracy.js';
import type { Logits } from '../train/logits.js';
import { agreement } from './agreement.js';
import { calibrationError } from './calibration.js';
import { klToVictim } from './divergence.js';
import { negativeLogLikelihood } from './likelihood.js';

/** What is known of a student on the test set. */
export interface Evaluation {
  readonly logits: Logits;
  /** One class a row. */
  readonly labels: ArrayLike<number>;
  /** The victim's answers to the same images, where there is a victim. */
  readonly victim?: Logits | undefined;
}

export type MetricName =
  | 'accuracy'
  | 'agreement'
  | 'klToVictim'
  | 'softKlToVictim'
  | 'calibrationError'
  | 'negativeLogLikelihood';

export interface Metric {
  /** One line for a person: what it is, its unit and which way is better. */
  readonly describe: string;
  /** Undefined where the metric does not apply: a comparison with a victim where there is none. */
  readonly compute: (evaluation: Evaluation) => number | undefined;
}

/** τ of `softKlToVictim`: Nasty Teacher's for CIFAR-10 (facts 1.2). */
export const softTemperature = 4;

const versus =
  (compare: (student: Logits, victim: Logits) => number): Metric['compute'] =>
  ({ logits, victim }) =>
    victim === undefined ? undefined : compare(logits, victim);

/** Every metric of a stored evaluation. Total, so that a name without its entry does not compile. */
export const metrics: { readonly [name in MetricName]: Metric } = {
  accuracy: {
    describe: 'Fraction of examples classified rightly, 0 to 1',
    compute: ({ logits, labels }) => accuracy(logits, labels),
  },
  agreement: {
    describe: "Fraction of examples on which the student's class is the victim's, 0 to 1",
    compute: versus(agreement),
  },
  klToVictim: {
    describe: 'Mean KL(victim ‖ student) in nats, 0 when they answer alike',
    compute: versus((student, victim) => klToVictim(student, victim)),
  },
  softKlToVictim: {
    describe: `Mean KL(victim ‖ student) in nats, both softened at temperature ${softTemperature}`,
    compute: versus((student, victim) => klToVictim(student, victim, softTemperature)),
  },
  calibrationError: {
    describe: 'Expected calibration error over 15 bins of equal width, 0 to 1, lower is better',
    compute: ({ logits, labels }) => calibrationError(logits, labels),
  },
  negativeLogLikelihood: {
    describe: 'Mean negative log-likelihood of the labels in nats, lower is better',
    compute: ({ logits, labels }) => negativeLogLikelihood(logits, labels),
  },
};
