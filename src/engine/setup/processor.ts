import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** A processor, as its system describes it. */
export interface Processor {
  /** `process.arch`. */
  readonly arch: string;
  /** What it can do, as Linux spells it in /proc/cpuinfo; empty where the system does not say. */
  readonly flags: ReadonlySet<string>;
}

const avx512 = ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl'];

/** Levels of vector extensions, the highest first, and the flags that each demands. */
const levels: Readonly<Record<string, readonly (readonly [level: string, flags: readonly string[]])[]>> = {
  x64: [
    ['amx', [...avx512, 'avx512_bf16', 'amx_tile', 'amx_bf16']],
    ['avx512-bf16', [...avx512, 'avx512_bf16']],
    ['avx512', avx512],
    ['avx512f', ['avx512f']],
    ['avx2-bf16', ['avx2', 'avx_ne_convert']],
    ['avx2', ['avx2']],
    // TensorFlow's wheels need it.
    ['avx', []],
  ],
  arm64: [
    ['sve2', ['sve2']],
    ['sve-bf16', ['sve', 'bf16']],
    ['sve', ['sve']],
    ['neon-bf16', ['bf16']],
    ['neon', []],
  ],
};

/**
 * The highest level of vector extensions that a processor has, such as `avx2`, `avx512` or `amx`: by it kernels are chosen
 * at run time, which may sum in another order, or without fused multiply-adds, and so round differently. Our own ask for AVX-512F (`native/convolution.cc`,
 * and the clones of `native/workers.h`) and for AMX (`native/amx.cc`); TensorFlow's oneDNN has a level of its own for each
 * of them (its "CPU dispatcher control"). Processors of one level may still differ in what oneDNN reads of their caches.
 */
export const vectorLevel = ({ arch, flags }: Processor): string =>
  levels[arch]?.find(([, needed]) => needed.every((flag) => flags.has(flag)))?.[0] ?? arch;

/** The flags in Linux's /proc/cpuinfo, those of the first processor: `flags` on x86-64, `Features` on arm64. */
export const flagsOfLinux = (cpuinfo: string): ReadonlySet<string> =>
  new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1]?.trim().split(/\s+/));

/** Those in the output of macOS's `sysctl hw.optional`, a name and 0 or 1 a line, in Linux's spelling. */
export const flagsOfMac = (sysctl: string): ReadonlySet<string> =>
  new Set(
    Array.from(sysctl.matchAll(/^hw\.optional\.(?:arm\.FEAT_)?(\w+): 1$/gm), ([, name = '']) =>
      name.toLowerCase().replace(/^(avx\d)_0$/, '$1'),
    ),
  );

const readFlags = (platform: NodeJS.Platform): ReadonlySet<string> => {
  try {
    if (platform === 'linux') return flagsOfLinux(readFileSync('/proc/cpuinfo', 'utf8'));
    if (platform === 'darwin') return flagsOfMac(execFileSync('sysctl', ['hw.optional'], { encoding: 'utf8' }));
  } catch {
    // A sandbox may hide them.
  }
  return new Set();
};

let known: Processor | undefined;

/** This machine's. It is asked once a process. */
export const thisProcessor = (): Processor => {
  known ??= { arch: process.arch, flags: readFlags(process.platform) };
  return known;
};

let name: string | undefined;

/** This machine's processor by its name, such as `AMD EPYC`; `unknown` where the system does not say. It is read once: each look takes a millisecond. */
export const processorName = (): string => {
  name ??= cpus()[0]?.model.trim() || 'unknown';
  return name;
};
