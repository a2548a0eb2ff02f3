/** A point with a label, in the units of its axes. */
export interface Labelled {
  readonly label: string;
  readonly x: number;
  readonly y: number;
}

/** A chart of so many pixels, and the ends of its axes. */
export interface Area {
  readonly width: number;
  readonly height: number;
  readonly x: readonly [least: number, most: number];
  readonly y: readonly [least: number, most: number];
}

/** Where a label goes: it begins to the right of its point, or ends to the left of it, at some height on the y axis. */
export interface Placed {
  readonly align: 'left' | 'right';
  /** More than a line away from its point. */
  readonly far: boolean;
  readonly at: number;
}

/** Pixels between a point's middle and its label. */
export const gap = 10;

/** Half of a point's width, in pixels. */
const radius = 7;

/** Around a label's letters, in pixels; letters are about as wide on average. */
const [lineHeight, letter] = [14, 7];

/** Lines that a label may be away from its point, up or down. */
const furthest = 20;

/** The widest that a label becomes in a chart of that width; longer ones are cut. */
export const widest = (width: number): number => width / 2;

/** Where a label may go, nearest first: to the right of its point or to the left, and lines higher or lower. */
const places = [0, ...Array.from({ length: furthest }, (_, i) => [-(i + 1), i + 1]).flat()].flatMap((lines) =>
  (['left', 'right'] as const).map((align) => ({ align, down: lines * lineHeight, far: Math.abs(lines) > 1 })),
);

interface Box {
  readonly left: number;
  readonly right: number;
  /** Of its middle, from above. */
  readonly height: number;
}

const meets = (a: Box, b: Box): boolean =>
  a.left < b.right && b.left < a.right && Math.abs(a.height - b.height) < lineHeight;

/** Labels beside their points, where no other label and no other point is; where all is full, over them. */
export const placeLabels = (
  points: readonly Labelled[],
  { width, height, x: [left, right], y: [bottom, top] }: Area,
): readonly Placed[] => {
  const perPixel = (top - bottom) / height;
  const boxes = points.map(({ x, y }): Box => {
    const across = ((x - left) / (right - left)) * width;
    return { left: across - radius, right: across + radius, height: (top - y) / perPixel };
  });
  const taken: Box[] = [...boxes];
  return points.map(({ label }, i) => {
    const point = boxes[i] as Box;
    const wide = Math.min(letter * [...label].length, widest(width));
    const all = places.map(({ align, down, far }) => {
      const begin = align === 'left' ? point.left + radius + gap : point.right - radius - gap - wide;
      return { align, far, box: { left: begin, right: begin + wide, height: point.height + down } };
    });
    const inside = all.filter(
      ({ box }) => box.left >= 0 && box.right <= width && box.height > 0 && box.height < height,
    );
    const free = inside.find(({ box }) => !taken.some((other) => other !== point && meets(box, other)));
    const { align, far, box } = free ?? inside[0] ?? (all[0] as (typeof all)[number]);
    taken.push(box);
    return { align, far, at: top - box.height * perPixel };
  });
};
