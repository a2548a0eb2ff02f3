import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** What is asked of the machine to find the cache; a test passes its own. */
export interface Surroundings {
  readonly env: NodeJS.ProcessEnv;
  readonly platform: string;
  readonly home: string;
}

const here = (): Surroundings => ({ env: process.env, platform: process.platform, home: homedir() });

/**
 * The per-user cache: `$XDG_CACHE_HOME/undistill`, else `~/Library/Caches/undistill` on macOS, `%LOCALAPPDATA%\undistill`
 * on Windows, and `~/.cache/undistill` elsewhere. As its specification has it, a relative `XDG_CACHE_HOME` is ignored.
 */
export const cacheFolder = ({ env, platform, home }: Surroundings = here()): string => {
  const named = env.XDG_CACHE_HOME;
  if (named?.startsWith('/')) return join(named, 'undistill');
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'undistill');
  if (platform === 'win32' && env.LOCALAPPDATA !== undefined) return join(env.LOCALAPPDATA, 'undistill');
  return join(home, '.cache', 'undistill');
};

/** An installed engine: where it is, and what is in it. */
export interface EngineFolder {
  readonly path: string;
  /** The native module that Node loads. */
  readonly binding: string;
  readonly manifest: Manifest;
}

/** Written last, inside the folder: a folder without it, or whose files differ from it, is no engine. */
export interface Manifest {
  readonly name: string;
  readonly tensorflow: string;
  readonly variant: 'cpu' | 'cuda';
  /** Paths relative to the folder, with `/`. */
  readonly files: readonly ManifestFile[];
}

export interface ManifestFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

export const MANIFEST = 'engine.json';
export const BINDING = 'tfjs_binding.node';

/** Where the engine called `name` is, or will be. */
export const enginePath = (cache: string, name: string): string => join(cache, 'engines', name);

const isManifest = (value: unknown): value is Manifest =>
  typeof value === 'object' && value !== null && 'name' in value && 'files' in value && Array.isArray(value.files);

const readManifest = async (folder: string): Promise<Manifest | undefined> => {
  try {
    const value: unknown = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8'));
    return isManifest(value) ? value : undefined;
  } catch {
    return undefined;
  }
};

/** SHA-256 of a file in hexadecimal, read as a stream. */
export const sha256Of = async (path: string): Promise<string> => {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
};

/**
 * The files of `manifest` that are missing or altered in `folder`. By default sizes are compared, which takes no time;
 * with `thorough` the content is read and hashed (seconds).
 */
export const alteredFiles = async (
  folder: string,
  manifest: Manifest,
  thorough = false,
): Promise<readonly string[]> => {
  const altered: string[] = [];
  for (const file of manifest.files) {
    const path = join(folder, file.path);
    const size = await stat(path).then(
      (found) => found.size,
      () => -1,
    );
    if (size !== file.size || (thorough && (await sha256Of(path)) !== file.sha256)) altered.push(file.path);
  }
  return altered;
};

/** The engine called `name` in `cache` if it is there and complete. */
export const findEngine = async (cache: string, name: string): Promise<EngineFolder | undefined> => {
  const path = enginePath(cache, name);
  const manifest = await readManifest(path);
  if (manifest === undefined || manifest.name !== name) return undefined;
  if ((await alteredFiles(path, manifest)).length > 0) return undefined;
  return { path, binding: join(path, BINDING), manifest };
};
