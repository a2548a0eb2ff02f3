import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** The Chromium of this machine; undefined where it has none. */
export const browserPath: string | undefined = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((folder) => names.map((name) => join(folder, name)))
  .find(isExecutable);

/** Whether tests in a browser must not be left out. */
export const isDemanded = Boolean(process.env.CI || process.env.UNDISTILL_BROWSER);

export const openBrowser = (): Promise<Browser> => {
  if (browserPath === undefined)
    throw new Error(
      'there is no Chromium on this machine: apt-get install chromium, or unset UNDISTILL_BROWSER and CI',
    );
  // In a container its sandbox cannot be made, and all that it opens is ours.
  return chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
};
