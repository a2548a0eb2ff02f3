import { extent, unique } from '../../core/lists.js';
import { percent, signed } from '../../core/text.js';
import type { Cell, Matrix } from '../../results/types.js';
import { meanAndDeviation } from '../numbers.js';
import { type Chart, inPercent, page } from './chart.js';
import { countedIn } from './words.js';

/** Points of a difference from which on colours are the same: a student that learnt nothing would leave none to the others. */
const mostColoured = 10;

/** The matrix with its differences to students trained alone as colours. */
export const heatMap = (matrix: Matrix): readonly Chart[] => {
  const { cells } = matrix;
  if (cells.every(({ accuracy }) => accuracy === undefined)) return [];
  const rows = cells.map((cell) => ({
    student: cell.student,
    attack: cell.attack,
    defense: cell.defense,
    status: cell.status,
    ...(cell.accuracy === undefined ? {} : { accuracy: inPercent(cell.accuracy.mean), seeds: cell.accuracy.count }),
    ...(cell.accuracy?.sd === undefined ? {} : { sd: inPercent(cell.accuracy.sd) }),
    ...(cell.toBaseline === undefined ? {} : { difference: inPercent(cell.toBaseline.mean) }),
    number: cell.accuracy === undefined ? cell.status : meanAndDeviation(cell.accuracy),
    sign: cell.toBaseline === undefined ? '' : signed(cell.toBaseline.mean),
  }));
  const differences = rows.flatMap(({ difference }) => (difference === undefined ? [] : [Math.abs(difference)]));
  const most = Math.min(mostColoured, Math.max(1, extent(differences)[1]));
  const defenses = matrix.defenses.map(({ label }) => label);
  const attacks = matrix.attacks.map(({ label }) => label);
  const long = extent(defenses.map((label) => label.length))[1] > 14;
  const x = {
    field: 'defense',
    type: 'nominal',
    sort: defenses,
    title: null,
    axis: { labelAngle: long ? -30 : 0, ticks: false, domain: false },
  } as const;
  const y = {
    field: 'attack',
    type: 'nominal',
    sort: attacks,
    title: null,
    axis: { ticks: false, domain: false },
  } as const;
  const ink = {
    condition: { test: `abs(datum.difference) > ${0.7 * most}`, value: 'white' },
    value: '#222222',
  };
  const text = (filter: string, field: string, dy: number, fontSize: number) => ({
    transform: [{ filter }],
    mark: { type: 'text', dy, fontSize } as const,
    encoding: { x, y, text: { field }, color: ink },
  });
  const students = unique(rows.map(({ student }) => student));
  const title = 'Attacks and defences';
  const subtitle = [
    'accuracy of the student in %, and below it the difference to one trained alone',
    countedIn(matrix),
  ];
  const description = `${title}. ${cells.map(said).join(' ')}`;
  const drawn = {
    width: { step: 104 },
    height: { step: 40 },
    layer: [
      {
        mark: { type: 'rect', stroke: 'white', strokeWidth: 2 } as const,
        encoding: {
          x,
          y,
          // White where there is none.
          color: {
            field: 'difference',
            type: 'quantitative' as const,
            scale: { scheme: 'blueorange' as const, reverse: true, domain: [-most, most], domainMid: 0, clamp: true },
            legend: {
              title: ['difference', 'in points', ...(most === mostColoured ? ['(±10 and more alike)'] : [])],
              format: '+.2~f',
              gradientLength: 120,
            },
          },
          tooltip: [
            { field: 'attack' },
            { field: 'defense' },
            { field: 'student' },
            { field: 'status' },
            { field: 'accuracy', title: 'accuracy (%)', format: '.2f' },
            { field: 'sd', title: 'standard deviation', format: '.2f' },
            { field: 'difference', title: 'difference (points)', format: '+.2f' },
          ],
        },
      },
      text("datum.sign === ''", 'number', 0, 12),
      text("datum.sign !== ''", 'number', -6, 12),
      text("datum.sign !== ''", 'sign', 9, 10),
    ],
  };
  const head = {
    ...page,
    config: { ...page.config, view: { stroke: null } },
    title: { text: title, subtitle },
    description,
    data: { values: rows },
  };
  return [
    {
      name: 'attacks-and-defences',
      title,
      description,
      spec:
        students.length === 1
          ? { ...head, ...drawn }
          : {
              ...head,
              facet: { field: 'student', type: 'nominal', sort: [...students], title: null },
              columns: 1,
              spec: drawn,
            },
    },
  ];
};

const said = ({ attack, defense, student, status, accuracy, toBaseline }: Cell): string =>
  `${attack} on ${defense}, ${student}: ${
    accuracy === undefined
      ? status
      : `${percent(accuracy.mean)} %${toBaseline === undefined ? '' : ` (${signed(toBaseline.mean)})`}`
  }.`;
