// Adam, AdamW, clipping and warm-up against torch.optim (test/golden/optimizer.py), update by update.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import {
  adamDefaults,
  adamInit,
  adamUpdate,
  clipNorm,
  globalNorm,
  type Arrays,
} from '../../src-main/training/optimizer.ts';
import { learningRateAt } from '../../src-main/training/trainer.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { trainingTolerance } from '../support/tolerances.ts';

interface OptimizerCase {
  readonly rate: number;
  readonly warmup: number;
  readonly clip: number | null;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
}
const golden = JSON.parse(readFileSync(new URL('../golden/data/training/optimizer.json', import.meta.url), 'utf8')) as {
  readonly sizes: Readonly<Record<string, number>>;
  readonly updates: number;
  readonly cases: Readonly<Record<string, OptimizerCase>>;
};
const witness = readGolden('training/optimizer.safetensors');

/** What the witness draws: uniform within +-scale, one array after the other. */
function drawn(seed: number, scale: number): Arrays {
  const random = new TorchGenerator(seed);
  return Object.fromEntries(
    Object.entries(golden.sizes).map(([name, size]) => [
      name,
      random.rand([size]).data.map((value) => scale * Math.fround(2 * value - 1)),
    ]),
  );
}

describe('updates are those of torch.optim', () => {
  it.each(Object.entries(golden.cases))('%s', (name, { rate, warmup, clip, betas, epsilon, weightDecay }) => {
    const options = { beta1: betas[0], beta2: betas[1], epsilon, weightDecay };
    let parameters = drawn(11, 1);
    let state = adamInit(parameters);
    for (let k = 0; k < golden.updates; k++) {
      const gradients = drawn(100 + k, 10 ** ((k % 5) - 3));
      const norm = witness(`${name}.norms`).data[k]!;
      expect(Math.abs(globalNorm(gradients) - norm)).toBeLessThan(trainingTolerance.optimizer * norm);
      const used = clip === null ? gradients : clipNorm(gradients, clip);
      const schedule = { learningRate: rate, warmup, steps: golden.updates, accumulate: 1, adam: options };
      ({ parameters, state } = adamUpdate(parameters, used, state, learningRateAt(k + 1, schedule), options));
      for (const [key, size] of Object.entries(golden.sizes)) {
        const expected = witness(`${name}.${key}`).data.subarray(k * size, (k + 1) * size);
        expect(relativeError(parameters[key]!, expected), `${key} after ${k + 1}`).toBeLessThan(
          trainingTolerance.optimizer,
        );
      }
    }
  });
});

describe('an update', () => {
  it('leaves its arguments as they were', () => {
    const [parameters, gradients] = [drawn(1, 1), drawn(2, 1)];
    const before = adamInit(parameters);
    const first = adamUpdate(parameters, gradients, before, 0.1, adamDefaults);
    adamUpdate(first.parameters, clipNorm(gradients, 0.1), first.state, 0.1, adamDefaults);
    expect(parameters).toEqual(drawn(1, 1));
    expect(gradients).toEqual(drawn(2, 1));
    expect(before).toEqual(adamInit(drawn(1, 1)));
    expect(first).toEqual(adamUpdate(drawn(1, 1), drawn(2, 1), adamInit(drawn(1, 1)), 0.1, adamDefaults));
  });

  it('without a gradient, or with one of another length, is refused by name', () => {
    const parameters = { weight: new Float32Array(3) };
    const state = adamInit(parameters);
    expect(() => adamUpdate(parameters, {}, state, 0.1)).toThrow('weight has 3 numbers, its gradient none.');
    expect(() => adamUpdate(parameters, { weight: new Float32Array(2) }, state, 0.1)).toThrow(
      'weight has 3 numbers, its gradient 2.',
    );
  });

  it('of gradients of zero moves nothing but by decay', () => {
    const parameters = { weight: Float32Array.of(1, -2) };
    const zero = { weight: new Float32Array(2) };
    const { parameters: next } = adamUpdate(parameters, zero, adamInit(parameters), 0.5, {
      ...adamDefaults,
      weightDecay: 0.5,
    });
    expect([...next['weight']!]).toEqual([0.75, -1.5]);
  });
});

describe('clipping', () => {
  it('scales all arrays by one factor, and leaves small gradients as they are', () => {
    const gradients = { a: Float32Array.of(3, 0), b: Float32Array.of(4) };
    expect(clipNorm(gradients, 1)).toEqual({ a: Float32Array.of(0.6, 0), b: Float32Array.of(0.8) });
    expect(clipNorm(gradients, 5)).toBe(gradients);
  });
});
