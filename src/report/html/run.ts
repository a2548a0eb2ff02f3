import type { CellPlan } from '../../experiment/plan.js';
import type { Matrix } from '../../results/types.js';
import type { Chart } from '../charts/chart.js';
import type { ImagesFile } from '../images.js';
import type { Log } from '../logs.js';

/** What there is of a run: any of it may be missing, or half written. */
export interface Run {
  /** For a page without a matrix. */
  readonly name: string;
  readonly matrix?: Matrix;
  readonly plan?: RunPlan;
  /** What is known of stages, by their ids. */
  readonly stages: ReadonlyMap<string, RunStage>;
  readonly images: readonly RunImages[];
  readonly charts: readonly DrawnChart[];
  /** The run's tables as files, with their addresses relative to the page. */
  readonly files: readonly { readonly name: string; readonly address: string }[];
}

/** A plan as far as a page shows it. */
export interface RunPlan {
  readonly experiment: string;
  readonly stages: readonly {
    readonly id: string;
    readonly label: string;
    readonly inputs: Readonly<Record<string, string>>;
  }[];
  readonly cells: readonly CellPlan[];
}

export interface RunStage {
  /** Begun: it has left something and is not finished, because it is at work, was stopped or failed. */
  readonly state: 'finished' | 'begun';
  readonly logs: readonly Log[];
}

/** What an attack synthesised for one student, with pictures that a page can show. */
export interface RunImages {
  readonly file: Pick<ImagesFile, 'attack' | 'defense' | 'student' | 'seed' | 'classes' | 'count' | 'diagnostics'>;
  readonly thumbnails: readonly Thumbnail[];
  /** The same labels and noise on the undefended teacher and on this one. */
  readonly compare?: Picture;
  /** Pictures in the run's folder: their names and addresses relative to the page. */
  readonly links: readonly (readonly [name: string, address: string])[];
}

export interface Picture {
  /** A data URI, or an address relative to the page. */
  readonly source: string;
  readonly width: number;
  readonly height: number;
}

export interface Thumbnail extends Picture {
  /** Its place in the pool: images of two defences at one place were begun with the same label and noise. */
  readonly place: number;
  /** The class it was made for, an index into the classes. */
  readonly label: number;
  /** The teacher's probability of that class. */
  readonly teacher: number;
  /** What another net takes it for, and its probability. */
  readonly verifier?: { readonly label: number; readonly probability: number };
}

/** A chart, with a drawing of it for readers without scripts. */
export interface DrawnChart extends Omit<Chart, 'spec'> {
  /** A vega-lite specification. */
  readonly spec: object;
  readonly svg?: string;
}
