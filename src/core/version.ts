import { readFile } from 'node:fs/promises';

/** This package's version. */
export const version = async (): Promise<string> => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
};
