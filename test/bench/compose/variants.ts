// All methods of the benchmark: the plain ones, sums with chosen weights, and every form of MoLE that was tried.
import type { TrainGateRequest } from '../../../src-main/contract/training.ts';
import type { TrainedGate } from '../../../src-main/mole/trained-gate.ts';
import { floatTensor } from '../../../src-main/tensor/tensor.ts';
import type { Composition } from './compositions.ts';
import { pairs } from './compositions.ts';
import { crossed, gateOf, trainingOf, lessons, singles, type KeptGate, type Stack } from './gates.ts';
import { gated, plainMethods, scheduledSum, weighted, type Bench, type Method, type Strengths } from './methods.ts';

export type Served = Method & {
  /** Compositions that the method is for; all unless given. */
  readonly serves?: (composition: Composition) => boolean;
  /** Of those in pairs.json; all that the half has unless given. */
  readonly seeds?: number;
};

const taughtStyles = pairs.styles.filter((style) => style !== pairs.unseenStyle);

/** What a form of MoLE is trained with, beside the defaults of train-gate. */
interface Form {
  readonly id: string;
  readonly label: string;
  readonly wish: Partial<TrainGateRequest>;
  /** Drawings of each expert alone instead of both together. */
  readonly alone?: boolean;
  /** Taught in all five styles; without it, one style is left out, to see what transfers. */
  readonly allStyles?: boolean;
  /** A gate for each fold of judged subjects, taught by those of the other fold too. */
  readonly crossed?: boolean;
  /** Draws with the gate of another form. */
  readonly gate?: string;
  /** Strengths beside the gates, as an artist sets them. */
  readonly strengths?: Strengths;
  /** Draws with the gates deaf to what the experts say: they read the timestep alone. */
  readonly deaf?: boolean;
}

/** Adam moves a logit by about rate times the root of thousands of features: 0.005 suits the pooled form. */
const composing = { steps: 300, batch: 4, learningRate: 0.005, balance: 0, amplitude: 'free' } as const;
const time = { ...composing, timestep: true } as const;

const trained: readonly Form[] = [
  { id: 'mole-block', label: 'MoLE, block', wish: composing },
  { id: 'mole-block-time', label: 'MoLE, block, timestep', wish: time },
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
    id: 'mole-decay',
    label: 'MoLE, block, timestep, falling rate',
    wish: { ...time, steps: 480, learningRate: 0.01, decay: true },
  },
  {
    id: 'mole-steps',
    label: 'MoLE, block, timestep alone',
    wish: { ...time, steps: 400, learningRate: 0.01, decay: true, listens: false },
  },
  { id: 'mole-long', label: 'MoLE, block, timestep, 900 updates', wish: { ...time, steps: 900 } },
  { id: 'mole-five', label: 'MoLE, block, timestep, five styles', wish: { ...time, steps: 360 }, allStyles: true },
  {
    id: 'mole-crossed',
    label: 'MoLE, block, timestep, crossed over',
    wish: { ...time, steps: 400, learningRate: 0.006, decay: true },
    crossed: true,
  },
  { id: 'mole-alone', label: 'MoLE, block, from each expert alone', wish: composing, alone: true },
];

/** The same gates under other strengths: the grid of the tuned sum, for MoLE. */
const strengthened = ['mole-block-time', 'mole-steps', 'mole-crossed', 'mole-five'].flatMap((id) =>
  (
    [
      [1.25, 0.8],
      [1.25, 1],
      [1.5, 1],
      [1.5, 1.25],
      [1.25, 1.25],
    ] as const
  ).map(([subject, style]): Form => {
    const form = trained.find((one) => one.id === id)!;
    return {
      ...form,
      id: `${id}-${subject}-${style}`,
      label: `${form.label}, at ${subject} and ${style}`,
      gate: id,
      strengths: { subject, style },
    };
  }),
);

const deaf = ['mole-block-time', 'mole-block-time-1.25-1'].map((id): Form => {
  const form = [...trained, ...strengthened].find((one) => one.id === id)!;
  return {
    ...form,
    id: `${id}-deaf`,
    label: `${form.label}, reading the timestep alone`,
    gate: form.gate ?? id,
    deaf: true,
  };
});

/** Content early, style late (K-LoRA, arXiv:2502.18461): strengths that change on the way, for gates and for the sum. */
const schedules: readonly { readonly name: string; readonly label: string; readonly strengths: Strengths }[] = (
  [
    [1.5, 1, 0.7, 1.1, 0.4],
    [1.5, 1, 0.5, 1.1, 0.3],
    [1.25, 1, 0.6, 1, 0.3],
    [2, 1, 0.7, 1.1, 0.3],
    [1.5, 1.25, 0.8, 1.25, 0.3],
  ] as const
).map(([subject, lateSubject, style, lateStyle, until]) => ({
  name: `${subject}-${lateSubject}-${style}-${lateStyle}-${until}`,
  label: `${subject} and ${style}, after ${until * 100} % of the steps ${lateSubject} and ${lateStyle}`,
  strengths: { subject: [subject, lateSubject, until], style: [style, lateStyle, until] },
}));

const scheduled = ['mole-block-time'].flatMap((id) =>
  schedules.map(({ name, label, strengths }): Form => {
    const form = trained.find((one) => one.id === id)!;
    return { ...form, id: `${id}-at-${name}`, label: `${form.label}, at ${label}`, gate: id, strengths };
  }),
);

const scheduledSums: readonly Served[] = schedules.map(({ name, label, strengths }) => ({
  ...scheduledSum(`sum-at-${name}`, `sum at ${label}`, strengths),
  serves: ({ styles, half }) => styles.length === 1 || half === 'test',
}));

/** Forms that won the validation half at an earlier try, and were judged on the test half then: every try is shown. */
export const judgedBefore: readonly string[] = ['mole-block-time-1.25-1'];

export const forms: readonly Form[] = [...trained, ...strengthened, ...deaf, ...scheduled];

/** The grid of the tuned sum, on the validation half. */
export const grid: readonly Served[] = [0.8, 1, 1.25, 1.5].flatMap((subject) =>
  [0.6, 0.8, 1, 1.25].map((style): Served => ({
    ...weighted(`sum-${subject}-${style}`, `sum at ${subject} and ${style}`, subject, style),
    serves: ({ styles, half }) => styles.length === 1 || half === 'test',
  })),
);

export function methodsOf(bench: Bench, modelPath: string): readonly Served[] {
  return [
    ...plainMethods,
    ...grid,
    ...scheduledSums,
    ...forms.map((form): Served => {
      const known = new Map<string, Promise<KeptGate>>();
      const gateFor = ({ subject, styles }: Composition): Promise<KeptGate> => {
        const fold = form.crossed === true ? `-fold${pairs.folds.findIndex((own) => own.includes(subject)) + 1}` : '';
        const name = `${form.gate ?? form.id}${fold}-${styles.length + 1}`;
        const others = form.crossed === true && styles.length === 1 ? crossed(subject, taughtStyles) : [];
        const all = [...stacksFor(styles.length, form.allStyles), ...others];
        const found =
          known.get(name) ?? gateOf(bench, modelPath, name, form.alone === true ? singles(all) : all, form.wish);
        known.set(name, found);
        return found;
      };
      return gated(
        form.id,
        form.label,
        async (composition) => {
          const { gate } = await gateFor(composition);
          return form.deaf === true ? deafened(gate) : gate;
        },
        () => trainingOf(`${form.gate ?? form.id}${form.crossed === true ? '-fold1' : ''}-2`),
        form.strengths,
      );
    }),
  ];
}

/** The gate without what it learnt of the experts' answers. */
function deafened(gate: TrainedGate): TrainedGate {
  const unet = gate.networks.unet!.map((group) => ({ ...group, weight: floatTensor(group.weight.shape) }));
  return { ...gate, networks: { ...gate.networks, unet } };
}

/** The stacks that teach gates of one subject and `count` styles. */
function stacksFor(count: number, allStyles = false): readonly Stack[] {
  if (count === 1) return lessons((allStyles ? pairs.styles : taughtStyles).map((style) => [style]));
  return lessons([
    ['ink', 'pixel'],
    ['blueprint', 'pixel'],
  ]);
}
