/** A whole number with thousands separated: `10,000`. */
export const whole = (count: number): string => Math.round(count).toLocaleString('en');

/** `1 seed`, `3,000 files`. */
export const counted = (count: number, noun: string, plural = `${noun}s`): string =>
  `${whole(count)} ${count === 1 ? noun : plural}`;

/** The first few of a list and how many more. */
export const firstFew = (items: readonly string[], shown = 5): string =>
  items.length <= shown ? items.join(', ') : `${items.slice(0, shown).join(', ')} and ${items.length - shown} more`;

/** A value as the text of a JSON file that a person may read. */
export const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** A share that somebody chose, to three significant digits: 1/3 as `33.3 %`. */
export const percentage = (share: number): string => `${Number((100 * share).toPrecision(3))} %`;

/** A share that was measured, in percent without the sign: `97.12`; below 0, as an interval's bound may be, `−0.42`. */
export const percent = (share: number): string => {
  const text = (100 * Math.abs(share)).toFixed(2);
  return share < 0 && Number(text) !== 0 ? `−${text}` : text;
};

/** A difference of shares in percentage points, with its sign: `+0.21`, `−4.18`, `±0.00`. */
export const signed = (difference: number): string => {
  const text = percent(Math.abs(difference));
  if (Number(text) === 0) return `±${text}`;
  return `${difference < 0 ? '−' : '+'}${text}`;
};

/**
 * Whether a text is what a pattern says, in which `*` is any text. No regular expression, which some patterns would keep busy
 * for ever.
 *
 * @param one what stands for any one character; default: nothing does
 */
export const isLike = (pattern: string, text: string, one?: string): boolean => {
  const [wanted, given] = [Array.from(pattern), Array.from(text)];
  let [p, t, star, after] = [0, 0, -1, 0];
  while (t < given.length) {
    if (wanted[p] === '*') {
      star = p++;
      after = t;
    } else if (p < wanted.length && (wanted[p] === one || wanted[p] === given[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      // The last star takes one more.
      p = star + 1;
      t = ++after;
    } else return false;
  }
  return wanted.slice(p).every((each) => each === '*');
};

/** `8 s`, `2 min 5 s`, `1 h 4 min`. */
export const showSeconds = (seconds: number): string => {
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  return `${Math.floor(all / 3600)} h ${Math.floor((all % 3600) / 60)} min`;
};

/**
 * A text in lines of at most `width` characters, broken at spaces, after commas, and after the dots of a name (`recipe.epochs`); what
 * has none of them is broken where the line ends.
 */
export const wrapped = (text: string, width: number): readonly string[] => {
  const most = Math.max(1, width);
  const lines: string[] = [];
  let line = '';
  const end = (): void => {
    if (line.trimEnd() !== '') lines.push(line.trimEnd());
    line = '';
  };
  // A piece takes the spaces behind it along, which may stand beyond the line.
  for (const piece of text.split(/(?<=\s)(?=\S)|(?<=,)(?=[^\s,])|(?<=\.)(?=\p{L})/u)) {
    if ([...(line + piece.trimEnd())].length > most) end();
    let rest = Array.from(piece);
    for (; Array.from(rest.join('').trimEnd()).length > most; rest = rest.slice(most))
      lines.push(rest.slice(0, most).join(''));
    line += rest.join('');
  }
  end();
  return lines.length === 0 ? [''] : lines;
};

/** A name in the code as words: `engineVersion` as `engine version`. */
export const inWords = (name: string): string =>
  name.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** `274 MB`, `3.4 GB`: decimal units. */
export const showBytes = (bytes: number): string => {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
};

const units: Readonly<Record<string, number>> = { kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 };

/** `4GB`, `500 MB` as bytes; undefined where it is neither. */
export const readBytes = (text: string): number | undefined => {
  const [, number, unit] = /^(\d+(?:\.\d+)?) ?([kmgt]b)$/i.exec(text.trim()) ?? [];
  return number === undefined ? undefined : Number(number) * (units[(unit as string).toLowerCase()] as number);
};

/** `\x1b`, `\u202e`: a character as a person can see it. */
const spelt = (character: string): string => {
  const code = (character.codePointAt(0) as number).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
};

/** What steers a terminal or an editor and is no letter, but for lines and tabs: control characters, and marks of the direction of writing. */
const steering = /[^\P{Cc}\n\t]|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Text that may be from anywhere as a terminal may have it: nothing in it steers, and what would is spelt out. */
export const visible = (text: string): string => text.replace(steering, spelt);

/** The same in one line. */
export const inOneLine = (text: string): string => visible(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t');

/** A word as a shell takes it. */
export const quoted = (word: string): string =>
  /^[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
