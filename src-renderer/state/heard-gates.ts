// What a job said of its mixture, step by step: gates of both halves of the guidance, or strengths in modes without gates, and the
// rows in which an artist reads them. Groups of one row are averaged.
import type { DrawEvent } from '../../src-main/contract/window-drawing.ts';

/** The half of the guidance that follows the prompt, or the one that follows the negative prompt. */
export type Half = 'conditional' | 'unconditional';

type MixtureEvent = Extract<DrawEvent, { readonly kind: 'mixture' }>;

/** A step of a picture. */
interface HeardStep {
  /** From 1. */
  readonly step: number;
  /** Picture of the batch, from 0. */
  readonly picture: number;
  /** Gates [G][N] of each half, or strengths [rows][N]. */
  readonly gates: Readonly<Partial<Record<Half, Values>>> | undefined;
  readonly weights: Values | undefined;
}

type Values = readonly (readonly number[])[];

/** Everything heard of one job. */
export interface HeardGates {
  readonly mixture: MixtureEvent | undefined;
  readonly steps: readonly HeardStep[];
}

export const nothingHeard: HeardGates = { mixture: undefined, steps: [] };

export interface GateRow {
  /** BASE (the text encoder), IN01, MID, OUT11. */
  readonly name: string;
  /** Per expert; 0..1 for convex gates. */
  readonly values: readonly number[];
}

/** What to look at: undefined is the mean over pictures, or over steps. */
export interface GateView {
  readonly picture: number | undefined;
  readonly step: number | undefined;
  readonly half: Half;
}

export const wholeView: GateView = { picture: undefined, step: undefined, half: 'conditional' };

/** `heard` and one event more; a new mixture begins anew. */
export function hearGates(heard: HeardGates, event: DrawEvent): HeardGates {
  if (event.kind === 'mixture') return { mixture: event, steps: [] };
  if (event.kind !== 'step' || (event.gates === undefined && event.weights === undefined)) return heard;
  const { step, index: picture, gates, weights } = event;
  return { ...heard, steps: [...heard.steps, { step, picture, gates, weights }] };
}

/** Columns in the order of `order`, the artist's stack; the engine has its own. Names that are not there come last. */
export function inOrder(
  { experts, rows }: { readonly experts: readonly string[]; readonly rows: readonly GateRow[] },
  order: readonly string[],
): { readonly experts: readonly string[]; readonly rows: readonly GateRow[] } {
  const placeOf = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  const places = experts.map((_, i) => i).sort((a, b) => placeOf(experts[a]!) - placeOf(experts[b]!) || a - b);
  return {
    experts: places.map((i) => experts[i]!),
    rows: rows.map(({ name, values }) => ({ name, values: places.map((i) => values[i] ?? 0) })),
  };
}

/** The rows of a view from the text encoder to the output; empty while nothing was heard that it shows. */
export function gateRows({ mixture, steps }: HeardGates, { picture, step, half }: GateView): readonly GateRow[] {
  if (mixture === undefined) return [];
  const seen = steps.filter(
    (one) => (picture === undefined || one.picture === picture) && (step === undefined || one.step === step),
  );
  const gated = seen.flatMap(({ gates }) => {
    const values = gates?.[half];
    return values === undefined ? [] : [values];
  });
  const weighed = seen.flatMap(({ weights }) => (weights === undefined ? [] : [weights]));
  const names = gated.length > 0 ? mixture.groups.map(({ row }) => row) : mixture.rows;
  const values = gated.length > 0 ? gated : weighed;
  if (values.length === 0) return [];
  const rows = byRow(names, meanOf(values), mixture.rows);
  return [...textRow(mixture, half), ...rows];
}

/** The row of the text encoder, whose gates speak once. */
function textRow({ text }: MixtureEvent, half: Half): readonly GateRow[] {
  if (text === undefined) return [];
  const gates = text.gates?.[half];
  return [
    {
      name: 'BASE',
      values:
        gates === undefined || gates.length === 0
          ? text.weights
          : meanOf([gates])
              .reduce(add)
              .map((sum) => sum / gates.length),
    },
  ];
}

const add = (a: readonly number[], b: readonly number[]): readonly number[] => a.map((value, i) => value + (b[i] ?? 0));

/** Mean over tables of one shape. */
function meanOf(tables: readonly Values[]): Values {
  const [first, ...rest] = tables;
  if (first === undefined) return [];
  const sums = rest.reduce<Values>((total, table) => total.map((row, r) => add(row, table[r] ?? [])), first);
  return sums.map((row) => row.map((sum) => sum / tables.length));
}

/** Averages the values of groups that stand in one row; rows stand as `order` has them. */
function byRow(names: readonly string[], values: Values, order: readonly string[]): readonly GateRow[] {
  const present = [...new Set(names)];
  const known = order.filter((name) => present.includes(name));
  return [...known, ...present.filter((name) => !order.includes(name))].map((name) => {
    const own = values.filter((_, g) => names[g] === name);
    return { name, values: own.reduce(add).map((sum) => sum / own.length) };
  });
}

/** Mean over the rows of the UNet per expert: how much each one spoke. */
export function meanShares(rows: readonly GateRow[]): readonly number[] {
  const own = rows.filter(({ name }) => name !== 'BASE');
  const [first] = own;
  return first === undefined
    ? []
    : own
        .map(({ values }) => values)
        .reduce(add)
        .map((sum) => sum / own.length);
}
