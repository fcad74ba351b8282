// Axes of a grid: what changes from picture to picture, and how each value changes the order. Every change is a pure function of
// the order, so that two axes combine in any way.
import type { MixMode, MixRequest } from '../../src-main/contract/experts.ts';
import type { GenerateRequest, SamplerName } from '../../src-main/contract/generation.ts';
import type { DrawOrder } from '../../src-main/contract/window-drawing.ts';
import { strings } from '../strings.ts';
import { AxisError, numberList, splitList } from './axis-values.ts';

export const axisKinds = [
  'none',
  'weight',
  'mode',
  'gate',
  'mute',
  'prompt',
  'seed',
  'sampler',
  'steps',
  'cfg',
  'schedule',
] as const;
export type AxisKind = (typeof axisKinds)[number];

/** What the artist entered for an axis. */
export interface AxisEntry {
  readonly kind: AxisKind;
  /** Path of the expert whose weight changes. */
  readonly expert: string | undefined;
  /** Typed values of the kinds that have them. */
  readonly text: string;
  /** Ticked values of the others. */
  readonly picked: readonly string[];
}

export interface AxisValue {
  readonly label: string;
  readonly apply: (order: DrawOrder) => DrawOrder;
}

export interface Axis {
  readonly title: string;
  /** At least one. */
  readonly values: readonly AxisValue[];
}

/** What there is to choose among. */
export interface AxisContext {
  readonly experts: readonly { readonly path: string; readonly name: string }[];
  /** Path of the gate, if there is one. */
  readonly gate: string | undefined;
  readonly modes: readonly MixMode[];
  readonly prompt: string;
}

/** Value of the mute axis with which nobody is silent. */
export const everyone = 'everyone';

/** Kinds whose values are typed; the others are ticked. */
export const typedKinds: ReadonlySet<AxisKind> = new Set(['weight', 'prompt', 'seed', 'steps', 'cfg']);

/** Entries that make sense at once for a kind. */
export const usualTexts: Readonly<Partial<Record<AxisKind, string>>> = {
  weight: '0-1 [5]',
  seed: '1-4',
  steps: '10, 20, 30',
  cfg: '3-9 (+2)',
};

/** What can be ticked, by value and label. */
export function choicesOf(
  kind: AxisKind,
  { experts, modes }: AxisContext,
): readonly { readonly value: string; readonly label: string }[] {
  const text = strings.compare.grid;
  const named = (names: Readonly<Record<string, string>>) =>
    Object.entries(names).map(([value, label]) => ({ value, label }));
  switch (kind) {
    case 'mode':
      return modes.map((mode) => ({ value: mode, label: strings.modes[mode].label }));
    case 'gate':
      return [
        { value: 'on', label: text.gateOn },
        { value: 'off', label: text.gateOff },
      ];
    case 'mute':
      return [
        { value: everyone, label: text.everyone },
        ...experts.map(({ path, name }) => ({ value: path, label: text.without(name) })),
      ];
    case 'sampler':
      return named(strings.samplers);
    case 'schedule':
      return named(strings.schedules);
    default:
      return [];
  }
}

/** The axis of an entry; of kind `none` it has one value that changes nothing. Throws an AxisError that says what is missing. */
export function axisOf(entry: AxisEntry, context: AxisContext): Axis {
  const title = titleOf(entry, context);
  const values = valuesOf(entry, context);
  if (values.length === 0) throw new AxisError(strings.compare.grid.nothingPicked(title));
  return { title, values };
}

function titleOf({ kind, expert }: AxisEntry, { experts }: AxisContext): string {
  const text = strings.compare.grid;
  if (kind !== 'weight') return text.kinds[kind];
  const name = experts.find(({ path }) => path === expert)?.name;
  if (name === undefined) throw new AxisError(text.noExpert);
  return text.weightOf(name);
}

function valuesOf(entry: AxisEntry, context: AxisContext): readonly AxisValue[] {
  const { kind, text, picked } = entry;
  const numbers = (whole: boolean, apply: (value: number) => Partial<DrawOrder>): readonly AxisValue[] =>
    numberList(text, { whole }).map((value) => ({
      label: String(value),
      apply: (order) => ({ ...order, ...apply(value) }),
    }));
  switch (kind) {
    case 'none':
      return [{ label: '', apply: (order) => order }];
    case 'weight':
      return numberList(text, { whole: false }).map((weight) => ({
        label: String(weight),
        apply: changeMix((mix) => ({
          ...mix,
          experts: (mix.experts ?? []).map((one) => (one.path === entry.expert ? { ...one, weight } : one)),
        })),
      }));
    case 'prompt':
      return promptValues(text, context.prompt);
    case 'seed':
      // -1 draws one, once for the whole row or column.
      return numberList(text, { whole: true }).map((value) => {
        const seed = value < 0 ? randomSeed() : value;
        return { label: String(seed), apply: (order) => ({ ...order, seed }) };
      });
    case 'steps':
      return numbers(true, (steps) => ({ steps: Math.max(1, steps) }));
    case 'cfg':
      return numbers(false, (cfgScale) => ({ cfgScale: Math.max(0, cfgScale) }));
    default: {
      const choices = choicesOf(kind, context);
      return choices
        .filter(({ value }) => picked.includes(value))
        .map(({ value, label }) => ({ label, apply: tickedChange(kind, value, context) }));
    }
  }
}

function tickedChange(kind: AxisKind, value: string, { gate }: AxisContext): AxisValue['apply'] {
  switch (kind) {
    case 'mode':
      return changeMix((mix) => inMode(mix, value as MixMode, gate));
    case 'gate':
      return changeMix((mix) => inMode(mix, value === 'on' ? 'mole' : 'sum', gate));
    case 'mute':
      return value === everyone ? (order) => order : changeMix((mix) => silenced(mix, value));
    case 'sampler':
      return (order) => ({ ...order, sampler: value as SamplerName });
    default:
      return (order) => ({ ...order, schedule: value as NonNullable<GenerateRequest['schedule']> });
  }
}

const changeMix =
  (change: (mix: MixRequest) => MixRequest): AxisValue['apply'] =>
  (order) =>
    order.mix === undefined ? order : { ...order, mix: change(order.mix) };

/** The mix in another mode; a gate is named with mode `mole` alone. */
export function inMode(mix: MixRequest, mode: MixMode, gate: string | undefined): MixRequest {
  const changed: { -readonly [Key in keyof MixRequest]: MixRequest[Key] } = { ...mix, mode };
  delete changed.gate;
  return mode === 'mole' && gate !== undefined ? { ...changed, gate } : changed;
}

/** The mix without one expert, which also leaves the rows' own masks. */
function silenced(mix: MixRequest, path: string): MixRequest {
  const experts = mix.experts ?? [];
  const place = experts.findIndex((one) => one.path === path);
  const masks = Object.entries(mix.masks ?? {}).map(
    ([row, list]) => [row, list.map((on, i) => on && i !== place)] as const,
  );
  return {
    ...mix,
    experts: experts.map((one, i) => (i === place ? { ...one, muted: true, solo: false } : one)),
    ...(mix.masks === undefined ? {} : { masks: Object.fromEntries(masks) }),
  };
}

/** Prompt S/R: the first text is looked for, and each one in turn stands in its place. */
function promptValues(text: string, prompt: string): readonly AxisValue[] {
  const texts = splitList(text);
  const [wanted] = texts;
  if (wanted === undefined) throw new AxisError(strings.compare.grid.noTexts);
  if (!prompt.includes(wanted)) throw new AxisError(strings.compare.grid.notInPrompt(wanted));
  return texts.map((label) => ({
    label,
    apply: (order) => ({
      ...order,
      prompt: order.prompt.replaceAll(wanted, label),
      ...(order.negativePrompt === undefined ? {} : { negativePrompt: order.negativePrompt.replaceAll(wanted, label) }),
    }),
  }));
}

export const randomSeed = (): number => Math.floor(Math.random() * 2 ** 32);
