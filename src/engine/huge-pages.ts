import { readFileSync } from 'node:fs';

const said = '/sys/kernel/mm/transparent_hugepage/enabled';
const tunable = 'glibc.malloc.hugetlb';

/**
 * The environment of a process that is to compute: on Linux its tensors lie in pages of 2 MB wherever the kernel gives
 * them on request ("madvise", the usual setting). In a virtual machine, where each look-up of a page is two, steps in
 * pages of 4 KB took 1.07 to 1.9 times as long (results/bench.md). It is glibc (2.35 and newer) that asks the kernel,
 * and only of a process that was begun so; others ignore it. What a user has set stays.
 */
export const withHugePages = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv => {
  const { GLIBC_TUNABLES: set = '' } = environment;
  if (set.includes(tunable)) return environment;
  return { ...environment, GLIBC_TUNABLES: [...(set === '' ? [] : [set]), `${tunable}=1`].join(':') };
};

/** When this system gives pages of 2 MB, in words; undefined where that is not known. */
export const hugePages = (file = said): string | undefined => {
  try {
    const [, chosen] = /\[(\w+)]/.exec(readFileSync(file, 'utf8')) ?? [];
    if (chosen === 'never') return `in pages of 4 KB, which makes steps slower (${file} says never)`;
    return chosen === undefined ? undefined : `in pages of 2 MB ${chosen === 'always' ? 'always' : 'on request'}`;
  } catch {
    // No Linux, or one without them.
    return undefined;
  }
};
