import * as v from 'valibot';
import {
  choice,
  inFile,
  jsonNumber,
  list,
  type Of,
  record,
  text,
  texts,
  versioned,
  wholeAtLeast,
  wholeBetween,
  yesOrNo,
} from '../core/check.js';
import { counted } from '../core/text.js';
import type { Dataset } from '../data/dataset.js';
import type { Diagnostic } from '../metrics/synthesis.js';

/** What a run says of the images that a data-free attack made for one student: its `images.json`. */
export interface ImagesFile {
  readonly version: 1;
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  /** The seed's label. */
  readonly seed: string;
  /** Class names in label order. */
  readonly classes: readonly string[];
  readonly shape: Dataset['image'];
  /** Images in the pool, of which `images` are some. */
  readonly count: number;
  readonly images: readonly SynthesisedImage[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface SynthesisedImage {
  /** A PNG of the image alone, relative to the list; absent where it is not among those shown. */
  readonly file?: string;
  /** Updates that the image, or the generator that made it, took; absent in older files. */
  readonly updates?: number;
  /** The class it was made for, an index into the classes. */
  readonly label: number;
  /** The teacher's probability for each class. */
  readonly teacher: readonly number[];
  /** The probability for each class of a network that the attack has not seen. */
  readonly verifier: readonly number[];
}

const diagnostic: Of<Diagnostic> = record({
  name: text,
  value: v.pipe(v.union([jsonNumber, list(jsonNumber)]), v.title('a number or a list of numbers')),
  of: v.exactOptional(texts),
  describe: v.exactOptional(text),
  sentence: text,
  warning: yesOrNo,
});

/** The probabilities of so many classes. */
const probabilities = (classes: number) =>
  v.pipe(v.array(jsonNumber), v.length(classes), v.title(`a list of ${counted(classes, 'number')}`));

const imagesFile = (classes: number): Of<ImagesFile> =>
  record({
    version: v.literal(1),
    attack: text,
    defense: text,
    student: text,
    seed: text,
    classes: texts,
    shape: record({ height: wholeAtLeast(1), width: wholeAtLeast(1), channels: choice(1, 3) }),
    count: wholeAtLeast(0),
    images: list(
      record({
        file: v.exactOptional(text),
        updates: v.exactOptional(wholeAtLeast(0)),
        label: wholeBetween(0, classes - 1),
        teacher: probabilities(classes),
        verifier: probabilities(classes),
      }),
    ),
    diagnostics: list(diagnostic),
  });

const remedy = 'Run the experiment again to make it anew.';

/** What a run left in the `images.json` at `path`. Throws a `FailureError` of kind `usage` that names the path and what is wrong. */
export const decodeImagesFile = (content: string, path: string): ImagesFile => {
  const value = versioned(content, path, 'list of images', remedy);
  const { classes } = inFile(path, record({ classes: texts }), value, remedy);
  return inFile(path, imagesFile(classes.length), value, remedy);
};
