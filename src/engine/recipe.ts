/**
 * What an engine is made of on each platform: which wheels, which files out of them, and how its binding is linked.
 * Pure: nothing here looks at this machine.
 */

/** The TensorFlow release that the engine runs on. */
export const TENSORFLOW = '2.21.0';
/** The release of `@tensorflow/tfjs-node-gpu` whose kernels and binding source are used. */
export const TFJS_NODE = '4.22.0';

/** One wheel, pinned: pip is asked for exactly this one, and what it brings is checked against size and hash. */
export interface Wheel {
  readonly package: string;
  readonly version: string;
  /** pip's `--platform`. */
  readonly platform: string;
  /** Bytes. */
  readonly size: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

export type Variant = 'cpu' | 'cuda';

export interface Recipe {
  /** Encodes everything that the folder's content depends on, so that an upgrade is a new folder. */
  readonly name: string;
  readonly variant: Variant;
  readonly platform: 'linux' | 'darwin';
  readonly arch: 'x64' | 'arm64';
  readonly wheels: readonly Wheel[];
  /** The two libraries inside the wheel, which the binding is linked to. */
  readonly libraries: readonly string[];
  /** What else is unpacked: prefixes of paths in the wheels. */
  readonly unpack: readonly string[];
  /** Bytes that must be free to begin: the wheels, what is unpacked from them, and room for a stripped copy. */
  readonly diskNeeded: number;
}

/** The oldest glibc that the Linux wheels run on (their `manylinux_2_27` tag). */
export const OLDEST_GLIBC: readonly [number, number] = [2, 27];

const CPU_WHEELS: Readonly<Record<string, Wheel>> = {
  'linux-x64': {
    package: 'tensorflow-cpu',
    version: TENSORFLOW,
    platform: 'manylinux_2_27_x86_64',
    size: 273_829_956,
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
  },
  'linux-arm64': {
    package: 'tensorflow',
    version: TENSORFLOW,
    platform: 'manylinux_2_27_aarch64',
    size: 281_828_020,
    sha256: '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c',
  },
  'darwin-arm64': {
    package: 'tensorflow',
    version: TENSORFLOW,
    platform: 'macosx_12_0_arm64',
    size: 223_405_849,
    sha256: '51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88',
  },
};

/** TensorFlow's wheel for a platform (`process.platform`, `process.arch`), or undefined where there is none. */
export const wheelFor = (platform: string, arch: string, cuda = false): Wheel | undefined =>
  cuda ? undefined : CPU_WHEELS[`${platform}-${arch}`];

const HEADERS = ['tensorflow/c/', 'tensorflow/core/platform/', 'tsl/platform/', 'xla/tsl/c/'];

/** The recipe for a platform, or undefined where TensorFlow has no wheel. */
export const recipeFor = (platform: string, arch: string, cuda = false): Recipe | undefined => {
  const wheel = wheelFor(platform, arch, cuda);
  if (wheel === undefined || (platform !== 'linux' && platform !== 'darwin') || (arch !== 'x64' && arch !== 'arm64'))
    return undefined;
  const variant = cuda ? 'cuda' : 'cpu';
  const library = (name: string) => `tensorflow/lib${name}${platform === 'darwin' ? '.2.dylib' : '.so.2'}`;
  return {
    name: `tensorflow-${TENSORFLOW}-${variant}-${platform}-${arch}-tfjs-${TFJS_NODE}`,
    variant,
    platform,
    arch,
    wheels: [wheel],
    libraries: [library('tensorflow_cc'), library('tensorflow_framework')],
    unpack: HEADERS.map((prefix) => `tensorflow/include/${prefix}`),
    diskNeeded: 1_800_000_000,
  };
};

/** The compiler's arguments that make the binding. Paths are relative to nothing: give them absolute. */
export const compileArguments = (options: {
  readonly platform: 'linux' | 'darwin';
  readonly includes: readonly string[];
  readonly sources: readonly string[];
  readonly libraries: readonly string[];
  readonly output: string;
}): readonly string[] => [
  '-std=c++17',
  '-O2',
  '-fPIC',
  '-shared',
  '-DNAPI_VERSION=8',
  ...options.includes.map((folder) => `-I${folder}`),
  ...options.sources,
  '-o',
  options.output,
  ...options.libraries,
  // Relative to the binding, so that the folder may be renamed. Node's own symbols are resolved when it is loaded.
  ...(options.platform === 'darwin'
    ? ['-undefined', 'dynamic_lookup', '-Wl,-rpath,@loader_path/tensorflow']
    : ['-Wl,-rpath,$ORIGIN/tensorflow']),
];
