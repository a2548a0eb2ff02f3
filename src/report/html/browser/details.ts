/// <reference lib="dom" />
// What opens from a cell, out of the packs in which the page has it.

type Details = Readonly<Record<string, string>>;

const unpacked = async (packed: string): Promise<Details> => {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Response(stream).json();
};

/** By the element that they lie in, which another takes the place of when they change. */
const opened = new WeakMap<Element, Promise<Details>>();

/** The details of an address, as HTML that is safe; undefined where it has none. */
export const detailOf = async (id: string): Promise<string | undefined> => {
  const pack = document.querySelector(`script[data-details~="${CSS.escape(id)}"]`);
  if (pack === null) return undefined;
  const details = opened.get(pack) ?? unpacked(pack.textContent ?? '');
  opened.set(pack, details);
  return (await details)[id];
};
