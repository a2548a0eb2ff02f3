import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { RendererEvent } from 'typedoc';

/**
 * Leads to a heading by its name alone where its page has no other of that name: typedoc also counts some that it does not
 * show, and links to `#name-1`.
 */
export const load = (app) => {
  app.renderer.on(RendererEvent.END, ({ outputDirectory }) => {
    const paths = readdirSync(outputDirectory, { recursive: true })
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(outputDirectory, name));
    const texts = new Map(paths.map((path) => [path, readFileSync(path, 'utf8')]));
    const count = (path, name) =>
      [...(texts.get(path) ?? '').matchAll(/^#+ (\w+)/gm)].filter(([, each]) => each.toLowerCase() === name).length;
    for (const [path, text] of texts)
      writeFileSync(
        path,
        text.replace(/\(([^()#\s]*)#(\w+)-1\)/g, (link, to, name) =>
          count(to === '' ? path : join(dirname(path), to), name) === 1 ? `(${to}#${name})` : link,
        ),
      );
  });
};
