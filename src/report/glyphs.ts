/**
 * A bitmap font: letters of 5×7 dots with one row below the line for tails, every character equally wide. A glyph is its
 * five columns from left to right; bit i of a column is the dot in row i from the top.
 */
export type Glyph = readonly number[];

/** Dots of a glyph, without the space around it. */
export const glyphSize = { width: 5, height: 8 } as const;

/** The printable characters of ASCII in order, two hexadecimal digits a column. */
const ascii = `
  0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649552250 0000070000
  001c224100 0041221c00 14083e0814 08083e0808 00e0600000 0008080800 0060600000 6010080403
  3e5149453e 00427f4000 4261514946 2241494936 1814127f10 2745454539 3c4a494930 0171090503
  3649494936 064949291e 006c6c0000 00ec6c0000 0814224100 1414141414 0041221408 0201510906
  3e415d550e 7e0909097e 7f49494936 3e41414122 7f4141413e 7f49494941 7f09090901 3e4149493a
  7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e
  7f09090906 3e4151215e 7f09192946 4649494931 01017f0101 3f4040403f 0f3040300f 7f2018207f
  6314081463 0304780403 6151494543 007f414100 0304081060 0041417f00 0402010204 8080808080
  0001020000 2054545478 7f44444438 3844444428 384444447f 3854545418 087e090900 18a4a4a47c
  7f04040478 00447d4000 0080847d00 7f10284400 00417f4000 7c04780478 7c04040478 3844444438
  fc24242418 18242424fc 7c08040408 4854545424 043f444420 3c4040407c 1c2040201c 3c4038403c
  4428102844 1ca0a0a07c 4464544c44 0836414100 00007f0000 0041413608 0804081008`;

/** What labels have besides: an ellipsis, and the signs of sizes and differences. */
const more = { '…': '4000400040', '×': '2214081422', '±': '44445f4444', '−': '0808080808' } as const;

const unknown = '7f4141417f';

const decoded = (columns: string): Glyph =>
  Array.from({ length: glyphSize.width }, (_, i) => Number.parseInt(columns.slice(2 * i, 2 * i + 2), 16));

const glyphs: ReadonlyMap<string, Glyph> = new Map([
  ...ascii
    .trim()
    .split(/\s+/)
    .map((columns, i) => [String.fromCharCode(0x20 + i), decoded(columns)] as const),
  ...Object.entries(more).map(([character, columns]) => [character, decoded(columns)] as const),
]);

const box = decoded(unknown);

/**
 * The glyph of a character as a reader sees it, which may be several code points. A letter loses the accents that the
 * font lacks, white space of any kind is a space, and what is unknown is a box.
 */
export const glyphOf = (character: string): Glyph => {
  const [letter = ''] = character.normalize('NFD');
  return glyphs.get(/\s/u.test(letter) ? ' ' : letter) ?? box;
};

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** A text's characters as a reader counts them: at most `most` (1 or more), the last an ellipsis where some are missing. */
export const charactersOf = (text: string, most: number): readonly string[] => {
  const taken: string[] = [];
  for (const { segment } of segmenter.segment(text)) {
    if (taken.length === most) return [...taken.slice(0, -1), '…'];
    taken.push(segment);
  }
  return taken;
};
