import { cpSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitepress';

const here = fileURLToPath(import.meta.url);

/** The pages that typedoc made, as a part of the sidebar; it makes them before this is read. */
const api = JSON.parse(readFileSync(new URL('../api/typedoc-sidebar.json', import.meta.url), 'utf8'));

/** Links to pages; the place of one that is not written yet stays free. */
const pages = (...of: readonly (readonly [text: string, page: string])[]) =>
  of
    .filter(([, page]) => existsSync(new URL(`../${page}.md`, import.meta.url)))
    .map(([text, page]) => ({ text, link: `/docs/${page}` }));

/** Pages outside of this folder would look for Vue beside themselves, where it is not. */
const vueFromHere: Plugin = {
  name: 'vue-from-here',
  enforce: 'pre',
  resolveId(source, importer, { ssr }) {
    if (!/^vue(\/|$)/.test(source) || importer === here) return null;
    return ssr ? { id: source, external: true } : this.resolve(source, here, { skipSelf: true });
  },
};

export default defineConfig({
  title: 'undistill',
  description: 'Steal neural networks by knowledge distillation, and make them hard to steal.',
  lang: 'en',
  // The pages lie where their links are right in the repository too.
  srcDir: '..',
  srcExclude: ['README.md', 'dist/**', 'runs/**', '.github/**', '**/node_modules/**'],
  rewrites: { 'docs/index.md': 'index.md' },
  base: process.env.DOCS_BASE ?? '/',
  outDir: '.vitepress/dist',
  cleanUrls: false,
  // What pages lead to that is no page: numbers, the files that they were made by, and the source.
  buildEnd: ({ outDir }) => {
    for (const folder of ['results', 'experiments', 'src'])
      cpSync(fileURLToPath(new URL(`../../${folder}`, import.meta.url)), join(outDir, folder), {
        recursive: true,
        filter: (path) => !path.endsWith('.md'),
      });
  },
  vite: { plugins: [vueFromHere] },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'First steps', link: '/docs/first-steps' },
      { text: 'Write', link: '/docs/writing' },
      { text: 'Plugins', link: '/docs/plugins' },
      { text: 'API', link: '/docs/api/' },
    ],
    sidebar: [
      {
        text: 'Use',
        items: pages(
          ['First steps', 'first-steps'],
          ['The fields of an experiment', 'experiment'],
          ['Running and comparing', 'running'],
          ['Reading the report', 'report'],
          ['Images', 'images'],
          ["PyTorch's weights", 'pytorch'],
          ['On a cluster', 'cluster'],
          ['The ranking', 'ranking'],
        ),
      },
      {
        text: 'Write',
        items: pages(
          ['Coming from PyTorch', 'from-pytorch'],
          ['Rules, and a first file', 'writing'],
          ['An attack', 'attack'],
          ['A data-free attack', 'data-free'],
          ['A defence', 'defense'],
          ['A network', 'network'],
          ['A metric', 'metric'],
          ['A data set', 'dataset'],
          ['All kinds in one experiment', 'testing'],
          ['Methods of the literature', 'methods'],
        ),
      },
      {
        text: 'Look up',
        items: [
          { text: 'Results', link: '/results/README' },
          ...pages(
            ['Plugins', 'plugins'],
            ['Experiments and results', 'experiments'],
            ['Speed', 'speed'],
            ['Glossary', 'glossary'],
          ),
          { text: 'API', link: '/docs/api/', collapsed: true, items: api },
        ],
      },
      {
        text: 'Understand',
        items: [
          ...pages(['Architecture', 'architecture']),
          {
            text: 'Decisions',
            collapsed: false,
            items: pages(
              ['TensorFlow 2.21', 'decisions/tensorflow'],
              ['Convolutions of our own', 'decisions/convolutions'],
              ['Pools are PNG files', 'decisions/pools'],
              ['One ledger', 'decisions/ledger'],
            ),
          },
          { text: 'Contributing', link: '/CONTRIBUTING' },
          { text: 'Changelog', link: '/CHANGELOG' },
        ],
      },
    ],
  },
});
