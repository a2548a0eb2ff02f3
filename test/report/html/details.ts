import { inflateRawSync } from 'node:zlib';

/** What `packedInScript` packed. */
export const unpacked = (text: string): unknown => JSON.parse(inflateRawSync(Buffer.from(text, 'base64')).toString());

/** A page, and after it what opens from its cells. */
export const withDetails = (page: string): string =>
  [...page.matchAll(/data-details="[^"]*">([^<]*)</g)].reduce(
    (whole, [, packed = '']) => whole + Object.values(unpacked(packed) as Record<string, string>).join('\n'),
    page,
  );
