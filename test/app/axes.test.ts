// The axes of a grid: A1111's conventions for typed values, and what each value does to an order.
import { describe, expect, it } from 'vitest';
import type { DrawOrder } from '../../src-main/contract/window-drawing.ts';
import { axisOf, everyone, type AxisContext, type AxisEntry } from '../../src-renderer/state/axes.ts';
import { AxisError, numberList, splitList } from '../../src-renderer/state/axis-values.ts';

const decimals = (text: string): readonly number[] => numberList(text, { whole: false });

describe('typed values', () => {
  // Examples of A1111's wiki, "X/Y/Z plot".
  it.each([
    ['1-5', [1, 2, 3, 4, 5]],
    ['1-5 (+2)', [1, 3, 5]],
    ['10-5 (-3)', [10, 7]],
    ['1-3 (+0.5)', [1, 1.5, 2, 2.5, 3]],
    ['1-10 [5]', [1, 3.25, 5.5, 7.75, 10]],
    ['0.0-1.0 [6]', [0, 0.2, 0.4, 0.6, 0.8, 1]],
    ['0-1 (+0.25)', [0, 0.25, 0.5, 0.75, 1]],
    ['5-3', [5, 4, 3]],
    ['-1, 2,  .5', [-1, 2, 0.5]],
    ['-1--0.5 [2], 3', [-1, -0.5, 3]],
  ])('%s are %j', (text, values) => {
    expect(decimals(text)).toEqual(values);
  });

  it('lose their decimals where only whole numbers make sense', () => {
    expect(numberList('1-10 [5]', { whole: true })).toEqual([1, 3, 5, 7, 10]);
  });

  it.each(['', ' , ', 'fox', '1-', '1-3 (0)', '1-3 (-1)', '1-1000', '0-1 [5000]', '1e999'])('refuse %j', (text) => {
    expect(() => decimals(text)).toThrow(AxisError);
  });

  it('keep commas within quotes', () => {
    expect(splitList('fox, "red, old fox" ,"a ""b""",owl')).toEqual(['fox', 'red, old fox', 'a "b"', 'owl']);
  });
});

const context: AxisContext = {
  experts: [
    { path: '/a.safetensors', name: 'a' },
    { path: '/b.safetensors', name: 'b' },
  ],
  gate: '/ab.mole.safetensors',
  modes: ['mole', 'sum'],
  prompt: 'a fox, ink',
};
const order: DrawOrder = {
  prompt: 'a fox, ink',
  negativePrompt: 'no fox',
  mix: {
    experts: [
      { path: '/a.safetensors', weight: 1 },
      { path: '/b.safetensors', weight: 1, solo: true },
    ],
    mode: 'mole',
    gate: '/ab.mole.safetensors',
    masks: { MID: [true, true] },
  },
};
const entry = (change: Partial<AxisEntry>): AxisEntry => ({
  kind: 'none',
  expert: undefined,
  text: '',
  picked: [],
  ...change,
});
const applied = (change: Partial<AxisEntry>): readonly DrawOrder[] =>
  axisOf(entry(change), context).values.map(({ apply }) => apply(order));

describe('an axis', () => {
  it('of weights changes one expert alone', () => {
    const orders = applied({ kind: 'weight', expert: '/b.safetensors', text: '0, 0.5' });
    expect(orders.map(({ mix }) => mix!.experts!.map(({ weight }) => weight))).toEqual([
      [1, 0],
      [1, 0.5],
    ]);
  });

  it('of modes names the gate with mode mole alone, and the gate switched off is the plain sum', () => {
    const modes = applied({ kind: 'mode', picked: ['mole', 'sum'] });
    expect(modes.map(({ mix }) => [mix!.mode, mix!.gate])).toEqual([
      ['mole', '/ab.mole.safetensors'],
      ['sum', undefined],
    ]);
    expect(applied({ kind: 'gate', picked: ['on', 'off'] })).toEqual(modes);
  });

  it('of silence mutes one expert, in the masks of rows too, and nobody for everyone', () => {
    const [all, without] = applied({ kind: 'mute', picked: [everyone, '/b.safetensors'] });
    expect(all).toEqual(order);
    expect(without!.mix!.experts![1]).toMatchObject({ muted: true, solo: false });
    expect(without!.mix!.masks).toEqual({ MID: [true, false] });
  });

  it('of texts replaces the first one everywhere, and refuses one that is not in the prompt', () => {
    const orders = applied({ kind: 'prompt', text: 'fox, owl' });
    expect(orders.map(({ prompt, negativePrompt }) => [prompt, negativePrompt])).toEqual([
      ['a fox, ink', 'no fox'],
      ['a owl, ink', 'no owl'],
    ]);
    expect(() => applied({ kind: 'prompt', text: 'cat, owl' })).toThrow(/“cat” does not stand in the prompt/);
  });

  it('of seeds draws one for -1 and shows it', () => {
    const { values } = axisOf(entry({ kind: 'seed', text: '7, -1' }), context);
    expect(values[0]!.label).toBe('7');
    expect(values[1]!.apply(order).seed).toBe(Number(values[1]!.label));
    expect(values[1]!.apply(order)).toEqual(values[1]!.apply(order));
  });

  it('without a value says what to do', () => {
    expect(() => applied({ kind: 'sampler' })).toThrow(/Tick at least one value of Sampler/);
    expect(() => applied({ kind: 'weight', text: '1' })).toThrow(/Choose the expert/);
  });
});
