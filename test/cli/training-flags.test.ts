// What the flags of a training and of bake ask for, and how a training is shown.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseArguments, type Flags } from '../../src-main/cli/arguments.ts';
import { bakeCommand, bakeRequestOf } from '../../src-main/cli/bake.ts';
import { trainGateCommand, trainGateRequestOf } from '../../src-main/cli/train-gate.ts';
import { trainLoraCommand, trainLoraRequestOf } from '../../src-main/cli/train-lora.ts';
import { sparkline, TrainingProgress } from '../../src-main/cli/training-progress.ts';
import { methodSchemas, type MethodName } from '../../src-main/contract/channels.ts';
import { checkParams } from '../../src-main/contract/check.ts';
import type { TrainEvent, TrainResult } from '../../src-main/contract/training.ts';

const here = (name: string): string => join(process.cwd(), name);
const experts = ['--expert', 'loras/ink.safetensors', '--expert', 'fox.safetensors'];
const gate = (...args: string[]) => trainGateRequestOf(parseArguments(args, trainGateCommand.flags));
const lora = (...args: string[]) => trainLoraRequestOf(parseArguments(args, trainLoraCommand.flags));
const bake = (...args: string[]) => bakeRequestOf(parseArguments(args, bakeCommand.flags));

describe('names of what is made', () => {
  it('come from the experts, the folder or the recipe, in the current folder', () => {
    expect(gate(...experts, '--images', 'x').output).toBe(here('ink-fox.mole.safetensors'));
    expect(lora('--images', '/a/my drawings v1.5/').output).toBe(here('my drawings v1.5.safetensors'));
    expect(lora('--images', 'one.png', '--images', 'two.png').output).toBe(here('one.safetensors'));
    expect(bake(...experts, '--prompt', 'x').output).toBe(here('ink-fox-baked.safetensors'));
    expect(bake('--recipe', 'fox.mole.json', '--prompt', 'x').output).toBe(here('fox-baked.safetensors'));
    expect(bake('--prompt', 'a fox <lora:ink:1>').output).toBe(here('baked.safetensors'));
  });

  it('are the given ones otherwise', () => {
    expect(gate(...experts, '--out', '/x/y.mole.safetensors').output).toBe('/x/y.mole.safetensors');
  });
});

describe('flags', () => {
  const samples: Readonly<Record<string, string>> = {
    expert: 'a.safetensors',
    also: 'c.safetensors,d.safetensors=more',
    override: 'MID=0.5,-',
    out: 'x.safetensors',
    form: 'paper',
    granularity: 'layer',
    amplitude: 'free',
    loss: 'distil',
    optimizer: 'adam',
    targets: 'all',
    device: 'cpu',
    'caption-dropout': '0.5',
    'weight-decay': '0.5',
    lr: '0.5',
    resolution: '512',
    width: '512',
    height: '512',
  };
  /** Every flag once, those that repeat twice. */
  const all = (flags: Flags): string[] =>
    Object.entries(flags).flatMap(([name, { type, repeats }]) => {
      const once = type === 'boolean' ? [`--${name}`] : [`--${name}`, samples[name] ?? '3'];
      return repeats === true ? [...once, ...once] : once;
    });

  it.each([
    ['trainGate', () => gate(...all(trainGateCommand.flags))],
    ['trainLora', () => lora(...all(trainLoraCommand.flags))],
  ] as const)('reach every field of %s', (method, request) => {
    const asked = request();
    expect(Object.keys(asked).sort()).toEqual(Object.keys(methodSchemas[method].shape).sort());
    checkParams(method as MethodName, asked);
  });

  it('reach every field of bake', () => {
    const { mask, mode, ...others } = bakeCommand.flags;
    expect([mask, mode]).not.toContain(undefined);
    const asked = bake(...all(others));
    expect(Object.keys(asked).sort()).toEqual(Object.keys(methodSchemas.bake.shape).sort());
    checkParams('bake', asked);
  });

  it('a sample prompt alone draws every 100 updates', () => {
    expect(lora('--images', 'x', '--sample-prompt', 'a fox').sampleEvery).toBe(100);
  });
});

const update = (step: number, loss: number, gates?: readonly number[]): TrainEvent => ({
  kind: 'update',
  step,
  steps: 20,
  loss,
  parts: {},
  learningRate: 1,
  gradientNorm: 1,
  elapsedMs: 1000 * step,
  remainingMs: 1000 * (20 - step),
  ...(gates === undefined ? {} : { gates }),
});
const result: TrainResult = {
  path: '/x',
  steps: 20,
  ended: 'finished',
  loss: { first: 1.2345, last: 0.01234 },
  pictures: 1,
  elapsedMs: 61_000,
  device: 'cpu',
  deviceReason: 'There is no other.',
  warnings: [],
};

describe('a training in the terminal', () => {
  it('shows the update, the time left, the curve and who is heard, escapes of names made visible', () => {
    const progress = new TrainingProgress(['ink\u001b[2J', 'a name that is much too long']);
    progress.event(update(1, 2, [0.5, 0.5]));
    expect(progress.event(update(2, 1, [0.25, 0.75]))).toEqual({
      title: 'Training',
      fraction: 0.1,
      parts: ['update 2/20', '0:18 left', 'loss 1.00 █▁', 'ink\\u001b[2J 0.25, a name that is … 0.75'],
    });
  });

  it('ends with loss, time, and the mean gates of the last tenth', () => {
    const progress = new TrainingProgress(['ink', 'fox']);
    for (let step = 1; step <= 20; step++) progress.event(update(step, 1, step <= 18 ? [0.5, 0.5] : [0.2, 0.8]));
    expect(progress.summary(result, 20)).toEqual([
      '20 updates on 1 picture in 1:01 on cpu. Loss 1.23 -> 0.0123 ▁▁▁▁▁▁▁▁▁▁▁▁. There is no other.',
      'Heard on average: ink 0.20, fox 0.80; generate shows it row by row.',
    ]);
  });

  it('says when it ended early, and why', () => {
    const progress = new TrainingProgress();
    expect(progress.summary({ ...result, steps: 7, ended: 'cancelled' }, 20)[0]).toMatch(/^Stopped after 7 of 20 /);
    expect(progress.summary({ ...result, steps: 7, ended: 'early-stop' }, 20)[0]).toMatch(/no longer fell.*7 of 20/);
  });

  it('draws a falling loss as falling blocks, long ones as means', () => {
    expect(sparkline([8, 7, 6, 5, 4, 3, 2, 1])).toBe('█▇▆▅▄▃▂▁');
    expect(sparkline([])).toBe('');
    const falling = Array.from({ length: 1200 }, (_, i) => 1200 - i);
    expect(sparkline(falling)).toHaveLength(12);
    expect(sparkline(falling).startsWith('█')).toBe(true);
    expect(sparkline(falling).endsWith('▁')).toBe(true);
  });
});
