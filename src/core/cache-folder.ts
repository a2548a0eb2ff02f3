import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * The per-user folder of what can be made again (the unpacked engine, decoded data sets): `$XDG_CACHE_HOME/undistill`
 * where that variable is set, on every system; else `~/Library/Caches/undistill` on macOS,
 * `%LOCALAPPDATA%\undistill\Cache` on Windows and `~/.cache/undistill` elsewhere. Nothing is created.
 */
export const cacheFolder = (
  environment: Readonly<Record<string, string | undefined>> = process.env,
  platform: NodeJS.Platform = process.platform,
  home: string = homedir(),
): string => {
  // An empty variable counts as unset (XDG Base Directory Specification).
  if (environment.XDG_CACHE_HOME) return resolve(environment.XDG_CACHE_HOME, 'undistill');
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'undistill');
  if (platform === 'win32')
    return join(environment.LOCALAPPDATA ?? join(home, 'AppData', 'Local'), 'undistill', 'Cache');
  return join(home, '.cache', 'undistill');
};

/**
 * The per-user folder of what was downloaded to be kept (data sets): `$XDG_DATA_HOME/undistill` where that variable is
 * set, on every system; else `~/Library/Application Support/undistill` on macOS, `%LOCALAPPDATA%\undistill\Data` on
 * Windows and `~/.local/share/undistill` elsewhere. Nothing is created.
 */
export const dataFolder = (
  environment: Readonly<Record<string, string | undefined>> = process.env,
  platform: NodeJS.Platform = process.platform,
  home: string = homedir(),
): string => {
  if (environment.XDG_DATA_HOME) return resolve(environment.XDG_DATA_HOME, 'undistill');
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', 'undistill');
  if (platform === 'win32')
    return join(environment.LOCALAPPDATA ?? join(home, 'AppData', 'Local'), 'undistill', 'Data');
  return join(home, '.local', 'share', 'undistill');
};
