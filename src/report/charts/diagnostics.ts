import { extent, unique } from '../../core/lists.js';
import { counted, whole } from '../../core/text.js';
import type { TeacherDiagnostics } from '../../results/diagnose.js';
import { diagnosticsRows } from '../diagnostics.js';
import { type Chart, fileName, page, type Row, type Spec } from './chart.js';
import { styleOf } from './lines.js';

/** Teachers and images that a chart has room for. */
const most = { teachers: 6, images: 5 } as const;

/** More classes than this have no room for their names. */
const named = 30;

/** Classes that have a colour of their own; more have a gradient's, and no legend. */
const coloured = 20;

/** What the teachers of a run answer and where their images lie, as far as that is known. */
export const diagnosticsCharts = (of: TeacherDiagnostics): readonly Chart[] => {
  const names = of.teachers.map(({ defense }) => defense);
  const shown = names.slice(0, most.teachers);
  const some = shown.length < names.length ? [`the first ${shown.length} of ${names.length} teachers`] : [];
  return [...temperatureChart(of), ...responsesCharts(of, shown, some), ...mapsChart(of, shown, some)];
};

interface Said {
  readonly title: string;
  readonly subtitle: readonly string[];
  readonly description: string;
}

const chart = (
  { title, subtitle, description }: Said,
  spec: Readonly<Record<string, unknown>> & { readonly data: { values: Row[] } },
): Chart => {
  const said = `${title}. ${description}`;
  return {
    name: fileName(title),
    title,
    description: said,
    spec: { ...page, title: { text: title, subtitle: [...subtitle] }, description: said, ...spec } as Spec,
  };
};

/** Names that are each of one class alone, in label order. */
const namesOf = (classes: readonly string[]): readonly string[] =>
  classes.map((name, i) => (classes.filter((other) => other === name).length === 1 ? name : `${i} ${name}`));

/** A column a teacher, in the run's order; a name that is wider than its column is cut. */
const teacherColumn = (shown: readonly string[], width: number) => ({
  field: 'teacher',
  type: 'nominal',
  sort: shown,
  header: { labelLimit: width },
});

/* Answers by temperature */

const measures = [
  ['entropy', 'entropy (nats)'],
  ['peaks', 'peaks'],
  ['margin', 'margin of the two likeliest'],
  ['klFromNormal', 'KL from the normal teacher (nats)'],
] as const;

/** How flat each teacher's answers are, and how far from the normal one's, by the temperature that softens them. */
const temperatureChart = ({ teachers, images, peakThreshold }: TeacherDiagnostics): readonly Chart[] => {
  const values = teachers.flatMap(({ defense, answers }) =>
    answers.flatMap((answer) =>
      measures.flatMap(([measure, title]): readonly Row[] => {
        const found = answer[measure];
        if (found === undefined) return [];
        const { mean, sd, count } = found;
        const band = sd === undefined ? {} : { sd, low: mean - sd, high: mean + sd };
        return [{ teacher: defense, temperature: answer.temperature, measure: title, mean, ...band, seeds: count }];
      }),
    ),
  );
  if (values.length === 0) return [];
  const domain = teachers.map(({ defense }) => defense);
  const styles = domain.map((_, i) => styleOf(i));
  const by = <T>(pick: (style: ReturnType<typeof styleOf>) => T) => ({
    field: 'teacher',
    type: 'nominal',
    scale: { domain, range: styles.map(pick) },
    legend: { title: null, symbolOpacity: 1 },
  });
  const temperatures = teachers[0]?.answers.map(({ temperature }) => temperature);
  const x = {
    field: 'temperature',
    type: 'quantitative',
    title: 'temperature',
    scale: { type: 'log', nice: false, padding: 8 },
    axis: { grid: false, values: temperatures, labelFlush: false },
  };
  const y = (field: string) => ({ field, type: 'quantitative', title: null, scale: { zero: false } });
  const color = by((style) => style.color);
  const place = { x, y: y('mean'), color };
  const layer = [
    {
      // Of one seed a band has no height: a panel of nothing but such would have no extent.
      transform: (['low', 'high'] as const).map((end) => ({
        calculate: `isValid(datum.sd) ? datum.${end} : datum.mean`,
        as: `band_${end}`,
      })),
      mark: { type: 'area', opacity: 0.15 },
      encoding: { x, y: y('band_low'), y2: { field: 'band_high' }, color },
    },
    { mark: { type: 'line', strokeWidth: 2 }, encoding: { ...place, strokeDash: by((style) => style.dash) } },
    {
      mark: { type: 'point', filled: true, size: 60, opacity: 1 },
      encoding: {
        ...place,
        shape: by((style) => style.shape),
        tooltip: [
          { field: 'teacher' },
          { field: 'temperature' },
          { field: 'measure' },
          { field: 'mean', format: '.4f' },
          { field: 'sd', title: 'standard deviation', format: '.4f' },
          { field: 'seeds' },
        ],
      },
    },
  ];
  const said = teachers.map(({ defense, answers }) => {
    const kl = answers[0]?.klFromNormal;
    const apart = kl === undefined ? '' : `, KL from the normal teacher ${kl.mean.toPrecision(3)} nats`;
    return `${defense}: entropy ${answers[0]?.entropy.mean.toPrecision(3)} nats at temperature ${answers[0]?.temperature}${apart}.`;
  });
  const seeds = extent(teachers.map((teacher) => teacher.seeds.length))[1];
  return [
    chart(
      {
        title: "Teachers' answers by temperature",
        subtitle: [
          `means over ${whole(images)} images; a peak is a class with a probability above ${peakThreshold}`,
          `${counted(seeds, 'seed')}${seeds > 1 ? '; bands: a standard deviation to either side' : ''}`,
        ],
        description: said.join(' '),
      },
      {
        data: { values },
        facet: { field: 'measure', type: 'nominal', sort: measures.map(([, title]) => title), title: null },
        columns: 2,
        spec: { width: 300, height: 200, layer },
        // Nats, numbers of classes and probabilities.
        resolve: { scale: { y: 'independent' }, axis: { x: 'independent' } },
      },
    ),
  ];
};

/* Answers to single images */

/** Bars of what each teacher answers to single images: an image a row, a teacher a column, a bar a class. */
const responsesCharts = (
  of: TeacherDiagnostics,
  shown: readonly string[],
  some: readonly string[],
): readonly Chart[] => {
  const { responses, classes } = of;
  if (responses === undefined) return [];
  const names = namesOf(classes);
  const width = Math.min(320, Math.max(160, 16 * classes.length));
  const images = responses.images.slice(0, most.images).map(({ image }) => image);
  const rows = diagnosticsRows(of).responses.filter(
    ({ image, defense }) => images.includes(image) && shown.includes(defense),
  );
  const softened = `probability at temperature ${responses.temperature}`;
  const answers = [
    ['logit', 'logit', 'Logits of single images'],
    ['softened', softened, `Probabilities of single images at temperature ${responses.temperature}`],
  ] as const;
  return answers.map(([answer, up, title]) => {
    const values = rows.map((row) => ({
      image: `${row.label} (${row.image})`,
      teacher: row.defense,
      class: names[row.class] ?? String(row.class),
      [answer]: row[answer],
      bar: row.right ? "the image's class" : 'another class',
    }));
    const y = { field: answer, type: 'quantitative', title: null };
    const x = { field: 'class', type: 'nominal', sort: names, title: null };
    const color = {
      field: 'bar',
      type: 'nominal',
      title: null,
      scale: { domain: ["the image's class", 'another class'], range: ['#0072B2', '#999999'] },
      legend: { orient: 'top' },
    };
    return chart(
      {
        title,
        subtitle: [
          'the first images of different classes that all teachers classify rightly; their places among the images in brackets',
          [`seed ${responses.seed}`, ...some].join('; '),
        ],
        description: `What ${shown.join(', ')} answer to ${counted(images.length, 'image')}: ${up} of each class.`,
      },
      {
        data: { values },
        facet: {
          row: {
            field: 'image',
            type: 'nominal',
            sort: unique(values.map(({ image }) => image)),
            header: { labelAngle: 0, labelAlign: 'left' },
          },
          column: teacherColumn(shown, width),
        },
        spec: {
          width,
          height: 80,
          mark: { type: 'bar' },
          encoding: {
            x: classes.length <= named ? x : { ...x, axis: null },
            y,
            color,
            tooltip: [{ field: 'class' }, { field: answer, title: up, format: '.4f' }],
          },
        },
      },
    );
  });
};

/* Maps */

/** Maps of images by their features and logits: a teacher a column, coloured by class. */
const mapsChart = (of: TeacherDiagnostics, shown: readonly string[], some: readonly string[]): readonly Chart[] => {
  const { maps } = of;
  if (maps === undefined) return [];
  const names = namesOf(of.classes);
  const values = diagnosticsRows(of)
    .maps.filter(({ defense }) => shown.includes(defense))
    .map((row) => ({
      of: row.of,
      teacher: row.defense,
      image: row.image,
      class: names[row.class] ?? String(row.class),
      x: row.x,
      y: row.y,
    }));
  const few = names.length <= coloured;
  const side = 240;
  const place = (field: 'x' | 'y') => ({ field, type: 'quantitative', axis: null });
  return [
    chart(
      {
        title: 'Where images lie for each teacher',
        subtitle: [
          `t-SNE of the features and the logits of ${whole(maps.images.length)} images, coloured by class`,
          [`perplexity ${Number(maps.perplexity.toPrecision(3))}`, `seed ${maps.seed}`, ...some].join('; '),
        ],
        description: `Maps of ${whole(maps.images.length)} images by their features and by their logits, for ${shown.join(', ')}.`,
      },
      {
        data: { values },
        facet: {
          row: { field: 'of', type: 'nominal', sort: ['features', 'logits'] },
          column: teacherColumn(shown, side),
        },
        spec: {
          width: side,
          height: side,
          mark: { type: 'circle', size: 18, opacity: 0.7 },
          encoding: {
            x: place('x'),
            y: place('y'),
            color: {
              field: 'class',
              type: 'nominal',
              sort: names,
              title: null,
              scale: { domain: names, scheme: names.length <= 10 ? 'tableau10' : few ? 'tableau20' : 'sinebow' },
              legend: few ? { symbolOpacity: 1 } : null,
            },
            // By the name `image` a tooltip would take it for a picture's address.
            tooltip: [{ field: 'class' }, { field: 'image', title: 'place among the images' }],
          },
        },
        // A map has no units: each fills its place.
        resolve: { scale: { x: 'independent', y: 'independent' } },
      },
    ),
  ];
};
