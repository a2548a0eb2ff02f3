import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { isFile, readText, readWithin } from '../core/files.js';
import { extent } from '../core/lists.js';
import { decodeImage, encodePng } from '../data/images.js';
import { resizeBilinear } from '../data/resize.js';
import { takesLong } from '../experiment/stage.js';
import { type PlanFile, planName } from '../harness/plan-file.js';
import { type Chart, chartsOf } from '../report/charts/charts.js';
import { svgOf } from '../report/charts/render.js';
import { inAddress } from '../report/html/markup.js';
import type { DrawnChart, Picture, Run, RunImages, RunStage, Thumbnail } from '../report/html/run.js';
import { decodeImagesFile, type ImagesFile, type SynthesisedImage } from '../report/images.js';
import { readLog } from '../report/logs.js';
import { guarded } from '../run/disk.js';
import { logsIn } from '../run/stage-files.js';
import { type StageFolder, stagesIn, storeOf } from '../run/store.js';
import { inNaturalOrder } from './paths.js';
import {
  copiedStage,
  decodeMatrix,
  diagnosticsFiles,
  imageFiles,
  matrixFiles,
  readDiagnostics,
  readPlan,
  reportName,
} from './run-folder.js';

/** Characters of pictures that a report holds at most. */
export const mostEmbedded = 20_000_000;

/** Pixels of the longer side of an image, and of the picture of a comparison. */
const largest = { thumbnail: 64, compare: 720 } as const;

/** Images that a page shows of one student and seed. */
const mostThumbnails = 300;

/** A chart as it is made, with its drawing where that could be made. */
export type Drawn = Chart & Pick<DrawnChart, 'svg'>;

export interface ReadRun extends Run {
  readonly charts: readonly Drawn[];
}

export interface RunReader {
  /** What there is of the run now. */
  read(): Promise<ReadRun>;
  /** A text that is another when there is something new to read. */
  mark(): Promise<string>;
}

export interface Reading {
  /** Characters of pictures that the page holds at most; of those beyond it has the addresses. */
  readonly embed: number;
  /** The folder in which the page lies. Default: the run's. */
  readonly beside?: string;
}

/** Reads a run, also while it is written. */
export const runReader = (folder: string, { embed, beside = folder }: Reading): RunReader => {
  const store = storeOf(folder);
  /** Stages that are finished stay what they are. */
  const finished = new Map<string, RunStage>();

  const stageOf = async (
    planned: PlanFile['stages'][number],
    stored: ReadonlyMap<string, StageFolder>,
  ): Promise<RunStage | undefined> => {
    const { id, label } = planned;
    const kept = finished.get(id);
    if (kept !== undefined) return kept;
    const found = stored.get(id) ?? (await copiedStage(folder, label));
    if (found === undefined) return undefined;
    const logs = takesLong(planned) ? await logsIn(found.folder) : [];
    const stage: RunStage = {
      state: found.state,
      logs: logs.map(({ fit, text }) => ({ fit, epochs: readLog(text) })).sort((a, b) => inNaturalOrder(a.fit, b.fit)),
    };
    if (found.state === 'finished') finished.set(id, stage);
    return stage;
  };

  const planOf = (): Promise<PlanFile | undefined> => readPlan(folder).catch(() => undefined);

  const read = async (): Promise<ReadRun> => {
    const path = join(folder, matrixFiles.json);
    const text = (await isFile(path)) ? await guarded(path, () => readText(path)) : undefined;
    const plan = await planOf();
    const stored = await stagesIn(store);
    const stages = new Map<string, RunStage>();
    for (const stage of plan?.stages ?? []) {
      const found = await stageOf(stage, stored);
      if (found !== undefined) stages.set(stage.id, found);
    }
    const matrix = text === undefined ? undefined : decodeMatrix(text, path);
    const logs = (plan?.stages ?? []).flatMap(({ id, label, kind }) =>
      (stages.get(id)?.logs ?? []).flatMap(({ fit, epochs }) =>
        fit === '' && epochs.length > 0 ? [{ stage: label, kind, epochs }] : [],
      ),
    );
    const diagnostics = plan === undefined ? undefined : await readDiagnostics(folder, plan).catch(() => undefined);
    const charts = matrix === undefined ? [] : chartsOf(matrix, logs, diagnostics);
    return {
      name: basename(folder),
      ...(matrix === undefined ? {} : { matrix }),
      ...(plan === undefined ? {} : { plan }),
      stages,
      images: await imagesOf(folder, { embed, beside }),
      // A page that is served is looked at with scripts.
      charts: embed === 0 ? charts : await Promise.all(charts.map(drawn)),
      files: (await readdir(folder))
        .filter((name) => /^matrix\.\w+$/.test(name))
        .sort()
        .map((name) => ({ name, address: addressOf(join(folder, name), beside) })),
    };
  };

  const mark = async (): Promise<string> => {
    const plan = await planOf();
    const stored = await stagesIn(store);
    const stages = (plan?.stages ?? []).flatMap(({ id }) => stored.get(id) ?? []);
    const begun = stages.filter(({ state }) => state === 'begun');
    const paths = [
      ...[matrixFiles.json, planName, reportName, join(diagnosticsFiles.folder, diagnosticsFiles.json)].map((name) =>
        join(folder, name),
      ),
      ...begun.map(({ folder: own }) => own),
    ];
    const times = await Promise.all(
      paths.map((path) =>
        stat(path).then(
          ({ mtimeMs, size }) => `${mtimeMs} ${size}`,
          () => '',
        ),
      ),
    );
    return JSON.stringify([times, stages.length - begun.length]);
  };

  return { read, mark };
};

/** A chart with its drawing, where it can be drawn. */
const drawn = async (chart: Chart): Promise<Drawn> => {
  const svg = await svgOf(chart).catch(() => undefined);
  return svg === undefined ? chart : { ...chart, svg };
};

/* Pictures */

const dataUri = (png: Uint8Array): string => `data:image/png;base64,${Buffer.from(png).toString('base64')}`;

/** Height and width of a PNG, which its first chunk says. */
const sizeOf = (png: Buffer): { readonly height: number; readonly width: number } => {
  if (png.toString('latin1', 1, 4) !== 'PNG') throw new Error('this is no PNG');
  return { width: png.readUInt32BE(16), height: png.readUInt32BE(20) };
};

/** A picture no larger than `side` each way; as it is where it is no larger. */
const embedded = (png: Buffer, side: number): Picture => {
  const size = sizeOf(png);
  const scale = side / Math.max(size.height, size.width);
  if (scale >= 1) return { source: dataUri(png), ...size };
  const { channels, pixels } = decodeImage(png);
  const to = {
    height: Math.max(1, Math.round(size.height * scale)),
    width: Math.max(1, Math.round(size.width * scale)),
  };
  const small = resizeBilinear(pixels, { ...size, channels }, to);
  return { source: dataUri(encodePng({ ...to, channels, pixels: small })), ...to };
};

const addressOf = (path: string, beside: string): string => relative(beside, path).split(sep).map(inAddress).join('/');

/** What the attacks of a run synthesised. A list that is missing or damaged is left out: `undistill images` says what is wrong. */
const imagesOf = async (folder: string, { embed, beside }: Required<Reading>): Promise<readonly RunImages[]> => {
  const root = join(folder, imageFiles.folder);
  const names = (await readdir(root, { recursive: true }).catch(() => [])).sort(inNaturalOrder);
  let left = embed;

  /** A file of the run's as a picture; undefined where there is none, or it is none. */
  const picture = async (path: string, side: number): Promise<Picture | undefined> => {
    try {
      const png = await readWithin(root, path);
      const small = left > 0 ? embedded(png, side) : undefined;
      left -= small?.source.length ?? 0;
      return small !== undefined && left >= 0 ? small : { source: addressOf(path, beside), ...sizeOf(png) };
    } catch {
      return undefined;
    }
  };

  const thumbnail = async (beside: string, image: SynthesisedImage, place: number): Promise<readonly Thumbnail[]> => {
    if (image.file === undefined) return [];
    const found = await picture(join(beside, image.file), largest.thumbnail);
    if (found === undefined) return [];
    const { label, teacher, verifier } = image;
    const probability = extent(verifier)[1];
    return [
      {
        ...found,
        place,
        label,
        teacher: teacher[label] ?? Number.NaN,
        ...(Number.isFinite(probability) ? { verifier: { label: verifier.indexOf(probability), probability } } : {}),
      },
    ];
  };

  const shown: RunImages[] = [];
  for (const name of names.filter((each) => basename(each) === imageFiles.list)) {
    const place = join(root, dirname(name));
    const file = await listIn(join(root, name));
    if (file === undefined) continue;
    const thumbnails: Thumbnail[] = [];
    for (const [i, image] of file.images.entries()) {
      if (thumbnails.length < mostThumbnails) thumbnails.push(...(await thumbnail(place, image, i)));
    }
    const compare = names.includes(join(dirname(name), imageFiles.compare))
      ? await picture(join(place, imageFiles.compare), largest.compare)
      : undefined;
    const links = [imageFiles.grid, imageFiles.compare, imageFiles.animation].filter((each) =>
      names.includes(join(dirname(name), each)),
    );
    shown.push({
      file,
      thumbnails,
      ...(compare === undefined ? {} : { compare }),
      links: links.map((each) => [each, addressOf(join(place, each), beside)]),
    });
  }
  return shown;
};

const listIn = async (path: string): Promise<ImagesFile | undefined> => {
  try {
    return decodeImagesFile(await readText(path), path);
  } catch {
    return undefined;
  }
};
