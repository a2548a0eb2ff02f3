import { deflateRawSync } from 'node:zlib';

/** HTML that is safe to put into a page: what was put into it has been escaped. */
export class Markup {
  constructor(readonly text: string) {}
}

/** What a template takes: text is escaped, markup is not, undefined and false are nothing. */
export type Part = string | number | undefined | false | Markup | readonly Part[];

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for an element or a quoted attribute. Control characters, which HTML has no way to write, become U+FFFD. */
export const escaped = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    .replace(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|[\ud800-\udfff]/gu, '\ufffd')
    .replace(/[&<>"']/g, (character) => entities[character] as string);

const textOf = (part: Part): string => {
  if (part === undefined || part === false) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'object') return part.map(textOf).join('');
  return escaped(String(part));
};

/** A template of HTML in which every value is escaped. Attributes must be quoted. */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Markup =>
  new Markup(strings.map((text, i) => `${text}${i < parts.length ? textOf(parts[i]) : ''}`).join(''));

/**
 * A name from outside: its direction of writing stays its own, and `labelSmoothing(rate 0.1)` may be broken where its words meet and
 * before its options.
 */
export const name = (text: string): Markup =>
  new Markup(`<bdi>${escaped(text).replace(/(?<=[a-z])(?=[A-Z])|(?<=\w)(?=\()/g, '<wbr>')}</bdi>`);

/** JSON inside a script element: nothing in it can end the element or begin a comment. */
export const jsonInScript = (value: unknown): Markup =>
  new Markup(
    JSON.stringify(value).replace(
      /[<>\u2028\u2029]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ),
  );

/** A value inside a script element, packed: text of which much is alike takes little room. `unpacked` of the page's script reads it. */
export const packedInScript = (value: unknown): Markup =>
  new Markup(deflateRawSync(JSON.stringify(value)).toString('base64'));

/** A drawing as a picture, of which only the description is read out: what its marks say of themselves is left out. */
export const drawing = (svg: string, description: string): Markup =>
  html`<img alt="${description}" src="data:image/svg+xml;base64,${Buffer.from(svg.replace(/ aria-\w+="[^"]*"/g, '')).toString('base64')}">`;

/** Code inside a script element, where the text that ends the element can stand in strings alone. */
export const codeInScript = (code: string): string => code.replace(/<(?=\/script|!--)/gi, '\\x3c');

/** The part of an address for a name, whatever its characters. */
export const inAddress = (text: string): string => encodeURIComponent(text.replace(/[\ud800-\udfff]/gu, '\ufffd'));
