// All methods of the benchmark: the plain ones, sums with chosen weights, and every form of MoLE that was tried.
import { join } from 'node:path';
import type { TrainGateRequest } from '../../../src-main/contract/training.ts';
import { root } from '../programs.ts';
import type { Composition } from './compositions.ts';
import { isValidationPair, pairs, stackOf } from './compositions.ts';
import { drawing } from './draw.ts';
import { gateOf, trainingOf, lessons, singles, type KeptGate, type Stack } from './gates.ts';
import { gated, plainMethods, tunedSum, type Bench, type Method, type Served, type Strengths } from './methods.ts';
import { masking } from './masking.ts';
import { foundBy, mixtureAt, search, spaces, type SearchSpace } from './search.ts';

/** What a form of MoLE is trained with, beside the defaults of train-gate. */
interface Form {
  readonly id: string;
  readonly label: string;
  readonly wish: Partial<TrainGateRequest>;
  /** Drawings of each expert alone instead of both together. */
  readonly alone?: boolean;
  /** Taught without one style, to see what transfers. */
  readonly withoutStyle?: boolean;
  /** Taught by the subjects of the benchmark beside the four bundled ones. */
  readonly many?: boolean;
  /** A gate for each style, taught by its own lessons alone. */
  readonly perStyle?: boolean;
  /** A gate for each pair, taught by drawings of its own two experts, each alone: the paper's use of its method. For fifteen pairs. */
  readonly perPair?: boolean;
  /** Draws with the gate of another form. */
  readonly gate?: string;
  /** Experts in the stack that the prompt does not ask for, in the lessons and in the pictures. */
  readonly unasked?: number;
  /** Strengths beside the gates, as an artist sets them. */
  readonly strengths?: Strengths;
}

/** Adam moves a logit by about rate times the root of thousands of features: 0.005 suits the pooled form. */
const composing = { steps: 300, batch: 4, learningRate: 0.005, balance: 0, amplitude: 'free' } as const;
const time = { ...composing, timestep: true } as const;
const timeAlone = { ...time, steps: 400, learningRate: 0.01, decay: true, listens: false } as const;
/** Taught by what a small CLIP sees in each step of the drawing, as the paper's code does it. */
const drawn = {
  ...timeAlone,
  batch: 2,
  loss: 'clip',
  clip: join(root, 'models/atelier-mini-clip'),
  drawing: { steps: drawing.steps, cfgScale: drawing.cfgScale },
} as const;

const trained: readonly Form[] = [
  { id: 'mole-steps', label: 'MoLE, block, timestep alone', wish: timeAlone },
  { id: 'mole-drawn', label: 'MoLE, block, timestep alone, CLIP on the way of drawing', wish: drawn },
  {
    id: 'mole-contrast',
    label: 'MoLE, block, timestep alone, CLIP with contrast on the way of drawing',
    wish: { ...drawn, contrast: true },
  },
  {
    id: 'mole-way',
    label: 'MoLE, block, timestep, on the way of drawing',
    wish: { ...time, batch: 2, steps: 400, decay: true, drawing: { steps: drawing.steps, cfgScale: drawing.cfgScale } },
  },
  {
    id: 'mole-style',
    label: 'MoLE, block, timestep, a gate for each style',
    wish: { ...time, steps: 160 },
    perStyle: true,
  },
  { id: 'mole-block-time', label: 'MoLE, block, timestep', wish: time },
  { id: 'mole-block', label: 'MoLE, block', wish: composing },
  { id: 'mole-layer-time', label: 'MoLE, layer, timestep', wish: { ...time, granularity: 'layer' } },
  { id: 'mole-matrix-time', label: 'MoLE, matrix, timestep', wish: { ...time, granularity: 'matrix' } },
  { id: 'mole-network-time', label: 'MoLE, network, timestep', wish: { ...time, granularity: 'network' } },
  { id: 'mole-block-convex', label: 'MoLE, block, convex', wish: { ...composing, amplitude: 'convex' } },
  { id: 'mole-block-balance', label: 'MoLE, block, balance loss', wish: { ...composing, balance: 0.5 } },
  {
    id: 'mole-paper',
    label: "MoLE, block, the paper's form, convex, balance loss",
    wish: { ...composing, form: 'paper', amplitude: 'convex', balance: 0.5, learningRate: 0.0005 },
  },
  {
    id: 'mole-alone-convex',
    label: 'MoLE, block, convex, balance loss, from each expert alone',
    wish: { ...composing, amplitude: 'convex', balance: 0.5 },
    alone: true,
  },
  {
    id: 'mole-own',
    label: 'MoLE, block, convex, balance loss, a gate for each pair from its experts alone',
    wish: { ...composing, amplitude: 'convex', balance: 0.5, steps: 160 },
    alone: true,
    perPair: true,
  },
  { id: 'mole-distil', label: 'MoLE, block, timestep, distil', wish: { ...time, loss: 'distil' } },
  ...[1, 2, 3, 4].map((unasked): Form => ({
    id: `mole-among-${2 + unasked}`,
    label: `MoLE, block, timestep, ${2 + unasked} experts, two asked for`,
    wish: { ...time, steps: 500 },
    many: true,
    unasked,
  })),
  { id: 'mole-many', label: 'MoLE, block, timestep, 14 subjects', wish: { ...time, steps: 500 }, many: true },
  {
    id: 'mole-many-drawn',
    label: 'MoLE, block, timestep alone, CLIP on the way of drawing, 14 subjects',
    wish: { ...drawn, steps: 600 },
    many: true,
  },
  {
    id: 'mole-many-contrast',
    label: 'MoLE, block, timestep alone, CLIP with contrast on the way of drawing, 14 subjects',
    wish: { ...drawn, contrast: true, steps: 600 },
    many: true,
  },
  { id: 'mole-four', label: 'MoLE, block, timestep alone, one style unseen', wish: timeAlone, withoutStyle: true },
];

/** The same gates under other strengths: the grid of the tuned sum, for MoLE. */
const strengthened = [
  'mole-block-time',
  'mole-steps',
  'mole-contrast',
  'mole-way',
  'mole-style',
  'mole-many',
  'mole-many-drawn',
  'mole-many-contrast',
].flatMap((id) =>
  (
    [
      [1.25, 1, 1],
      [1.5, 1, 1],
      [1.25, 1.25, 1],
      [1, 0.8, 1],
      [1.25, 0.8, 1],
      [1, 1, 0.75],
      [1.25, 1, 0.75],
      [1, 1, 0.5],
      [1, 1, [0.5, 1]],
      [1, 1, [0.75, 1]],
      [1.25, 1, [0.5, 1]],
      [1.25, 1, [0.75, 1]],
      [1, 1.25, [0.5, 1]],
      [1, 0.8, 0.75],
      [1.25, 0.8, 0.75],
      [1.5, 1, 0.75],
      [1, 1, [0.25, 1]],
      [1, 0.6, 0.5],
      [1.25, 0.8, 0.5],
    ] as const
  ).map(([subject, style, unguided]): Form => {
    const form = trained.find((one) => one.id === id)!;
    const strengths = { subject, style, unguided };
    return {
      ...form,
      id: `${id}-${idOf(strengths)}`,
      label: `${form.label}, ${labelOf(strengths)}`,
      gate: id,
      strengths,
    };
  }),
);

interface Point {
  readonly subject: number;
  readonly style: number;
  readonly unguided: number | readonly [number, number];
}
function idOf({ subject, style, unguided }: Point): string {
  const share = typeof unguided === 'number' ? String(unguided) : unguided.join('-');
  return `${subject}-${style}${unguided === 1 ? '' : `-${share}`}`;
}
function labelOf({ subject, style, unguided }: Point): string {
  const share = typeof unguided === 'number' ? String(unguided) : unguided.join(' and ');
  return `at ${subject} and ${style}${unguided === 1 ? '' : `, ${share} of it unguided`}`;
}

/** Judged on the test half too: the gate that the design before had chosen. */
export const alsoJudged: readonly string[] = ['mole-many-1.25-1-0.5-1'];

export const forms: readonly Form[] = [...trained, ...strengthened];

const servesPairs = ({ styles, half }: Composition): boolean => styles.length === 1 || half === 'test';
const isPair = ({ styles }: Composition): boolean => styles.length === 1;
/** On the test half only the style that was in no lesson. */
const showsTransfer = ({ styles, half }: Composition): boolean =>
  styles.length === 1 && (half === 'validation' || styles.includes(pairs.unseenStyle));
const firstPairs = pairs.validation.pairs.slice(0, 15).map((names) => names.join('-'));
const servesFirstPairs = ({ name }: Composition): boolean => firstPairs.includes(name);
const sumAt = (point: Point, kind: Method['kind']): Served => ({
  ...tunedSum(`sum-${idOf(point)}`, `sum ${labelOf(point)}`, point, kind),
  serves: servesPairs,
});

/** The grids of the tuned sum, on the validation half: strengths alone, and with asymmetric guidance. */
export const grid: readonly Served[] = [
  ...[0.8, 1, 1.25].flatMap((subject) => [0.6, 0.8, 1].map((style) => sumAt({ subject, style, unguided: 1 }, 'tuned'))),
  ...(
    [
      [1, 1, [0.5, 1]],
      [1, 1, [0.75, 1]],
      [1, 0.8, [0.75, 1]],
      [0.8, 0.8, [0.5, 1]],
      [0.8, 0.8, [0.75, 1]],
      [1, 0.8, [1, 0.5]],
    ] as const
  ).map(([subject, style, unguided]) => sumAt({ subject, style, unguided }, 'asymmetric')),
  ...[0.8, 1, 1.25].flatMap((subject) =>
    [0.5, 0.6, 0.8, 1].flatMap((style) =>
      [0.5, 0.75].map((unguided) => sumAt({ subject, style, unguided }, 'asymmetric')),
    ),
  ),
];

/** The sums with experts that nobody asked for. */
const crowded: readonly Served[] = [1, 2, 3, 4].flatMap((unasked) =>
  (['sum', 'normalised'] as const).map((mode) => ({
    ...tunedSum(
      `${mode}-of-${2 + unasked}`,
      `${mode === 'sum' ? 'sum' : 'normalised sum'}, ${2 + unasked} experts, two asked for`,
      {},
      'crowded',
      {
        unasked,
        mode,
      },
    ),
    serves: isValidationPair,
  })),
);

/** Gates for a subject and a style, found by finished pictures. */
function searched(bench: Bench, modelPath: string, space: SearchSpace, kind: Method['kind']): Served {
  return {
    id: space === spaces.full ? 'mole-searched' : `searched-${space.id}`,
    label: space.label,
    kind,
    trained: () => foundBy(space),
    async mixture(_, { subject, styles }) {
      return mixtureAt(bench, await search(bench, modelPath, space), [subject, ...styles]);
    },
    ...(space === spaces.full ? {} : { serves: space === spaces.unmet ? showsTransfer : isPair }),
  };
}

export function methodsOf(bench: Bench, modelPath: string): readonly Served[] {
  return [
    // Three seeds for those that the comparison is about, two for the rest.
    ...plainMethods.map((method) => (['sum', 'np'].includes(method.id) ? method : { ...method, seeds: 2 })),
    ...grid,
    ...crowded,
    searched(bench, modelPath, spaces.full, 'mole-asymmetric'),
    searched(bench, modelPath, spaces.still, 'searched'),
    searched(bench, modelPath, spaces.network, 'searched'),
    searched(bench, modelPath, spaces.sum, 'searched'),
    searched(bench, modelPath, spaces.unmet, 'transfer'),
    ...masking(bench, modelPath),
    ...forms.map((form): Served => {
      const known = new Map<string, Promise<KeptGate>>();
      const styles = pairs.styles.filter((style) => form.withoutStyle !== true || style !== pairs.unseenStyle);
      const isOfStyle = (own: readonly string[]): boolean => form.perStyle === true && own.length === 1;
      const nameFor = ([subject, ...own]: readonly string[]): string => {
        const narrow = form.perPair === true ? [subject, ...own] : isOfStyle(own) ? own : [];
        return [form.gate ?? form.id, ...narrow, own.length + 1].join('-');
      };
      const gateFor = ({ subject, styles: own }: Composition): Promise<KeptGate> => {
        const name = nameFor([subject, ...own]);
        const taught =
          form.perPair === true
            ? [{ experts: [subject, ...own], images: [] }]
            : stacksFor(own.length, isOfStyle(own) ? own : styles, form.many === true);
        const all = taught.map(({ experts: [one, ...others], images }) => ({
          experts: stackOf(one!, others, form.unasked),
          images,
        }));
        const found =
          known.get(name) ?? gateOf(bench, modelPath, name, form.alone === true ? singles(all) : all, form.wish);
        known.set(name, found);
        return found;
      };
      const method = gated(
        form.id,
        form.label,
        async (composition) => (await gateFor(composition)).gate,
        () => trainingOf(nameFor(pairs.validation.pairs[0]!)),
        form.strengths,
        form.unasked,
      );
      const { unguided = 1 } = form.strengths ?? {};
      if (form.unasked !== undefined) return { ...method, kind: 'crowded', serves: isValidationPair };
      if (form.perPair === true) return { ...method, serves: servesFirstPairs };
      return unguided === 1 ? method : { ...method, kind: 'mole-asymmetric' };
    }),
  ];
}

/** The stacks that teach gates of one subject and `count` styles. */
function stacksFor(count: number, styles: readonly string[], many: boolean): readonly Stack[] {
  const subjects = many ? [...pairs.taught, ...pairs.lessons] : pairs.taught;
  if (count === 1) {
    return lessons(
      styles.map((style) => [style]),
      subjects,
    );
  }
  const doubles = [
    ['ink', 'pixel'],
    ['blueprint', 'pixel'],
  ];
  return lessons(doubles, subjects);
}
