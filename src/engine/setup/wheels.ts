import { ownHash } from './own-source.js';

/**
 * What an engine is made of on each platform: which wheels, which files out of them, and how its binding is linked.
 * Nothing here looks at this machine.
 */

/** The TensorFlow release that the engine runs on. */
export const TENSORFLOW = '2.21.0';
/** The release of `@tensorflow/tfjs-node-gpu` whose kernels and binding source are used. */
export const TFJS_NODE = '4.22.0';
/** Raised whenever the way of building changes what is built from the same sources. */
const BUILD = 3;

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
  /** Prefixes of the paths of the headers, which are only needed to build the binding. */
  readonly headers: readonly string[];
  /** Patterns (`*` within a name) of what else is unpacked and kept. */
  readonly others: readonly string[];
  /** Bytes that must be free to begin, by measurement: the largest amount that the staging folder holds at any time. */
  readonly diskNeeded: number;
}

/** The oldest glibc that the Linux wheels run on (their `manylinux_2_27` tag). */
export const OLDEST_GLIBC: readonly [number, number] = [2, 27];

const pinned = (name: string, version: string, platform: string, size: number, sha256: string): Wheel => ({
  package: name,
  version,
  platform,
  size,
  sha256,
});

// Sizes and hashes were taken from the wheels themselves, each downloaded once with pip (2026-11-23).
// biome-ignore format: one wheel a line
const CPU_WHEELS: Readonly<Record<string, Wheel>> = {
  'linux-x64': pinned('tensorflow-cpu', TENSORFLOW, 'manylinux_2_27_x86_64', 273_829_956, '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c'),
  'linux-arm64': pinned('tensorflow', TENSORFLOW, 'manylinux_2_27_aarch64', 281_828_020, '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c'),
  'darwin-arm64': pinned('tensorflow', TENSORFLOW, 'macosx_12_0_arm64', 223_405_849, '51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88'),
};

// TensorFlow with CUDA and what its `and-cuda` extra names, in the newest versions that the extra's ranges admit.
// biome-ignore format: one wheel a line
const CUDA_WHEELS: readonly Wheel[] = [
  pinned('tensorflow', TENSORFLOW, 'manylinux_2_27_x86_64', 572_440_367, '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124'),
  pinned('nvidia-cublas-cu12', '12.9.3.13', 'manylinux_2_27_x86_64', 581_217_458, 'd7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72'),
  pinned('nvidia-cuda-cupti-cu12', '12.9.79', 'manylinux_2_25_x86_64', 10_814_997, '096bcf334f13e1984ba36685ad4c1d6347db214de03dbb6eebb237b41d9d934f'),
  pinned('nvidia-cuda-nvcc-cu12', '12.9.86', 'manylinux2010_x86_64', 40_546_229, '5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0'),
  pinned('nvidia-cuda-nvrtc-cu12', '12.9.86', 'manylinux2010_x86_64', 89_568_129, '210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4'),
  pinned('nvidia-cuda-runtime-cu12', '12.9.79', 'manylinux2014_x86_64', 3_493_179, '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3'),
  pinned('nvidia-cudnn-cu12', '9.28.0.42', 'manylinux_2_27_x86_64', 716_538_495, '9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375'),
  pinned('nvidia-cufft-cu12', '11.4.1.4', 'manylinux2014_x86_64', 200_877_592, 'c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28'),
  pinned('nvidia-curand-cu12', '10.3.10.19', 'manylinux_2_27_x86_64', 68_295_626, '49b274db4780d421bd2ccd362e1415c13887c53c214f0d4b761752b8f9f6aa1e'),
  pinned('nvidia-cusolver-cu12', '11.7.5.82', 'manylinux_2_27_x86_64', 338_117_415, '15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88'),
  pinned('nvidia-cusparse-cu12', '12.5.10.65', 'manylinux2014_x86_64', 366_465_088, '73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78'),
  pinned('nvidia-nccl-cu12', '2.32.3', 'manylinux_2_27_x86_64', 351_526_311, 'bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c'),
  pinned('nvidia-nvjitlink-cu12', '12.9.86', 'manylinux2010_x86_64', 39_748_338, 'e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9'),
];

/**
 * TensorFlow's wheel for a platform (`process.platform`, `process.arch`), or undefined where there is none. With CUDA
 * there is one for Linux on x86-64 alone.
 */
export const wheelFor = (platform: string, arch: string, cuda = false): Wheel | undefined =>
  cuda ? (platform === 'linux' && arch === 'x64' ? CUDA_WHEELS[0] : undefined) : CPU_WHEELS[`${platform}-${arch}`];

const CUDA_FILES = ['nvidia/*/lib/*.so*', 'nvidia/cuda_nvcc/bin/ptxas', 'nvidia/cuda_nvcc/nvvm/libdevice/*'];

const HEADERS = [
  'tensorflow/c/',
  'tensorflow/core/common_runtime/next_pluggable_device/c/',
  'tensorflow/core/platform/',
  'tsl/platform/',
  'xla/tsl/c/',
];

/** The recipe for a platform, or undefined where TensorFlow has no wheel. */
export const recipeFor = (platform: string, arch: string, cuda = false): Recipe | undefined => {
  const wheel = wheelFor(platform, arch, cuda);
  if (wheel === undefined || (platform !== 'linux' && platform !== 'darwin') || (arch !== 'x64' && arch !== 'arm64'))
    return undefined;
  const variant = cuda ? 'cuda' : 'cpu';
  const library = (name: string) => `tensorflow/lib${name}${platform === 'darwin' ? '.2.dylib' : '.so.2'}`;
  return {
    name: `tensorflow-${TENSORFLOW}-${variant}-${platform}-${arch}-tfjs-${TFJS_NODE}-build-${BUILD}-${ownHash()}`,
    variant,
    platform,
    arch,
    wheels: cuda ? CUDA_WHEELS : [wheel],
    libraries: [library('tensorflow_cc'), library('tensorflow_framework')],
    headers: HEADERS.map((prefix) => `tensorflow/include/${prefix}`),
    // CUDA's libraries lie in `nvidia/`, beside `tensorflow/`, where TensorFlow's own search path looks for them. XLA needs
    // `ptxas` and `libdevice` of `cuda_nvcc`.
    others: cuda ? CUDA_FILES : [],
    diskNeeded: cuda ? 7_500_000_000 : 1_600_000_000,
  };
};

const SHARED = ['-std=c++17', '-O2', '-fPIC', '-shared', '-DNAPI_VERSION=8'] as const;

/** The compiler's arguments that make a Node module of `sources`, linked to `libraries`. All paths are absolute. */
export const compileArguments = (options: {
  readonly platform: 'linux' | 'darwin';
  readonly includes: readonly string[];
  readonly sources: readonly string[];
  readonly libraries: readonly string[];
  readonly output: string;
}): readonly string[] => [
  ...SHARED,
  ...options.includes.map((folder) => `-I${folder}`),
  ...options.sources,
  '-o',
  options.output,
  ...options.libraries,
  // The libraries are found relative to the module, so that the folder may be renamed; Node's own symbols when it is loaded.
  ...(options.platform === 'darwin'
    ? ['-undefined', 'dynamic_lookup', '-Wl,-rpath,@loader_path/tensorflow']
    : ['-Wl,-rpath,$ORIGIN/tensorflow']),
];

/** pip's arguments that fetch one wheel, whatever Python runs pip. */
export const pipArguments = (wheel: Wheel, folder: string): readonly string[] => [
  '-m',
  'pip',
  'download',
  '--no-deps',
  '--only-binary=:all:',
  // The wheel is deleted once it is unpacked: a copy in pip's cache would double the space.
  '--no-cache-dir',
  '--disable-pip-version-check',
  '--no-input',
  '--progress-bar=off',
  '--python-version=3.11',
  '--implementation=cp',
  `--platform=${wheel.platform}`,
  '--dest',
  folder,
  `${wheel.package}==${wheel.version}`,
];
