import { describe, expect, it } from 'vitest';
import { arithmeticOf } from '../../../src/engine/engine.js';
import { flagsOfLinux, flagsOfMac, thisProcessor, vectorLevel } from '../../../src/engine/setup/processor.js';

const levelOf = (arch: string, flags: string): string => vectorLevel({ arch, flags: new Set(flags.split(' ')) });

describe('the level of vector extensions', () => {
  const core = 'avx avx2 fma avx512f avx512bw avx512dq avx512vl';
  it.each([
    ['x64', 'sse2 avx', 'avx'],
    ['x64', 'avx avx2 fma', 'avx2'],
    ['x64', 'avx avx2 fma avx_vnni avx_ne_convert', 'avx2-bf16'],
    // Our own convolution asks for no more than this.
    ['x64', 'avx avx2 fma avx512f avx512cd', 'avx512f'],
    ['x64', core, 'avx512'],
    ['x64', `${core} avx512_vnni avx512_bf16`, 'avx512-bf16'],
    ['x64', `${core} avx512_bf16 amx_tile amx_int8`, 'avx512-bf16'],
    ['x64', `${core} avx512_bf16 amx_tile amx_bf16 amx_int8`, 'amx'],
    ['x64', '', 'avx'],
    ['arm64', 'fp asimd', 'neon'],
    ['arm64', 'fp asimd bf16', 'neon-bf16'],
    ['arm64', 'fp asimd sve', 'sve'],
    ['arm64', 'fp asimd sve bf16 i8mm', 'sve-bf16'],
    ['arm64', 'fp asimd sve sve2 bf16 i8mm', 'sve2'],
    ['arm64', '', 'neon'],
    ['riscv64', 'v', 'riscv64'],
  ])('on %s with %j is %s', (arch, flags, level) => {
    expect(levelOf(arch, flags)).toBe(level);
  });

  it('of this machine is one of its architecture', () => {
    expect(vectorLevel(thisProcessor())).toMatch(process.arch === 'x64' ? /^(avx|amx)/ : /^(neon|sve)/);
  });
});

describe('flags are read', () => {
  it('from /proc/cpuinfo on x86-64', () => {
    const text =
      'processor\t: 0\nmodel name\t: Some\nflags\t\t: fpu avx avx2\nbugs\t\t: none\n\nprocessor\t: 1\nflags\t\t: x\n';
    expect([...flagsOfLinux(text)]).toEqual(['fpu', 'avx', 'avx2']);
  });

  it('and on arm64', () => {
    expect([...flagsOfLinux('processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n')]).toEqual([
      'fp',
      'asimd',
      'sve',
    ]);
  });

  it('none where it says nothing of them', () => {
    expect(flagsOfLinux('processor\t: 0\n').size).toBe(0);
  });

  it('from sysctl on macOS, of either architecture', () => {
    const intel = 'hw.optional.avx1_0: 1\nhw.optional.avx2_0: 1\nhw.optional.avx512f: 0\n';
    expect(vectorLevel({ arch: 'x64', flags: flagsOfMac(intel) })).toBe('avx2');
    const apple = 'hw.optional.neon: 1\nhw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_SME: 0\n';
    expect(vectorLevel({ arch: 'arm64', flags: flagsOfMac(apple) })).toBe('neon-bf16');
    expect([...flagsOfMac(apple)]).toEqual(['neon', 'bf16']);
  });
});

describe('the arithmetic by which stages are known', () => {
  const cpu = { class: 'tensorflow-cpu', execution: 'graph', precision: 'float32', own: 'ab12cd34' } as const;

  it('names the level of vector extensions on a processor, which a store keeps apart', () => {
    expect(arithmeticOf({ ...cpu, vectors: 'avx512' })).toBe('tensorflow-cpu+ab12cd34+avx512');
    expect(arithmeticOf({ ...cpu, vectors: 'avx2' })).not.toBe(arithmeticOf({ ...cpu, vectors: 'avx512' }));
    expect(arithmeticOf({ ...cpu, execution: 'xla', vectors: 'amx' })).toBe('tensorflow-cpu+ab12cd34+amx+xla');
  });

  it('and not where JavaScript or a graphics card computes', () => {
    expect(arithmeticOf({ class: 'tfjs-cpu', execution: 'eager', precision: 'float32' })).toBe('tfjs-cpu');
    expect(arithmeticOf({ class: 'tensorflow-cuda', execution: 'xla', precision: 'tf32' })).toBe(
      'tensorflow-cuda+xla+tf32',
    );
  });
});
