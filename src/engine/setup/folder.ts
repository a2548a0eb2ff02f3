import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { sha256Of } from '../../core/files.js';
import { TENSORFLOW } from './wheels.js';

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
/** A tiny module of our own that keeps TensorFlow's greetings off the terminal while it is loaded. */
export const QUIET = 'quiet.node';
/** Registers our own operations with TensorFlow. */
export const KERNELS = 'kernels.node';

/** Where the engine called `name` is, or will be. */
export const enginePath = (cache: string, name: string): string => join(cache, 'engines', name);

const anyManifest = v.object({
  name: v.string(),
  tensorflow: v.literal(TENSORFLOW),
  variant: v.picklist(['cpu', 'cuda']),
  files: v.array(v.object({ path: v.string(), size: v.number(), sha256: v.string() })),
});
const isManifest = (value: unknown): value is Manifest => v.is(anyManifest, value);

const readManifest = async (folder: string): Promise<Manifest | undefined> => {
  try {
    const value: unknown = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8'));
    return isManifest(value) ? value : undefined;
  } catch {
    return undefined;
  }
};

const noFile = (_: ManifestFile): boolean => false;
export const everyFile: typeof noFile = () => true;

/**
 * The files of `manifest` that are missing or altered in `folder`. Sizes are compared, which takes no time, and the content of those that are
 * to be `read` is hashed: of all of TensorFlow without CUDA in a second.
 */
export const alteredFiles = async (
  folder: string,
  manifest: Manifest,
  read: (file: ManifestFile) => boolean = noFile,
): Promise<readonly string[]> => {
  const altered: string[] = [];
  for (const file of manifest.files) {
    const path = join(folder, file.path);
    const size = await stat(path).then(
      (found) => found.size,
      () => -1,
    );
    // What cannot be read is as good as altered.
    const isAltered = async () => (await sha256Of(path).catch(() => undefined)) !== file.sha256;
    if (size !== file.size || (read(file) && (await isAltered()))) altered.push(file.path);
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
