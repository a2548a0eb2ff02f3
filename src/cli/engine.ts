import { orThrow } from '../core/errors.js';
import { diagnose } from '../engine/doctor.js';
import { type Engine, prepareEngine } from '../engine/engine.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import { progressTo } from '../engine/setup/progress.js';
import { standardError } from './output.js';
import { type Terminal, terminal } from './terminal.js';

/** The engine, installed first where it is missing, with a progress bar. */
export const readyEngine = (
  out: Terminal,
  options: {
    readonly cuda?: boolean;
    readonly thorough?: boolean;
    readonly threads?: number | undefined;
    readonly execution?: Execution | undefined;
    readonly precision?: CardPrecision | undefined;
  } = {},
): Promise<Engine> =>
  orThrow(
    prepareEngine({
      progress: progressTo(standardError),
      say: (line) => out.log(line),
      ...(options.cuda === undefined ? {} : { cuda: options.cuda }),
      thorough: options.thorough ?? false,
      execution: options.execution,
      precision: options.precision,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    }),
  );

/** `tensorflow-cpu 2.21.0, 2 threads, graph` */
export const engineSaid = ({ class: kind, version, threads, gpus, execution }: Engine): string =>
  [`${kind} ${version}`, `${threads} thread${threads === 1 ? '' : 's'}`, ...gpus, execution].join(', ');

export const installCommand = async (
  { cuda }: { readonly cuda?: boolean },
  out: Terminal = terminal(),
): Promise<number> => {
  const engine = await readyEngine(out, { thorough: true, ...(cuda === true ? { cuda } : {}) });
  out.log(`Ready: ${engineSaid(engine)}${engine.folder === undefined ? '' : `, in ${engine.folder}`}`);
  return 0;
};

export const doctorCommand = async (out: Terminal = terminal()): Promise<number> => {
  const checks = await diagnose();
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, ok, detail, remedy } of checks) {
    out.log(`${ok ? out.paint.good('✓') : out.paint.bad('✗')} ${name.padEnd(width)}  ${detail}`);
    if (!ok && remedy !== undefined) out.log(`${' '.repeat(width + 4)}${remedy}`);
  }
  const faults = checks.filter(({ ok }) => !ok).length;
  out.log(faults === 0 ? 'All is well.' : `${faults} of ${checks.length} checks failed.`);
  return faults === 0 ? 0 : 1;
};
