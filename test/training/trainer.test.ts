// The training loop on functions whose gradients are known: batches that accumulate, early stop, divergence, and a state that is a
// value. Its curve against PyTorch stands in test/engine/training-curve.test.ts.
import { describe, expect, it } from 'vitest';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { adamDefaults, type Arrays } from '../../src-main/training/optimizer.ts';
import {
  learningRateAt,
  startTraining,
  train,
  TrainingDiverged,
  type Differentiate,
  type LossAndGradient,
  type TrainingOptions,
  type TrainingState,
} from '../../src-main/training/trainer.ts';

const options: TrainingOptions = {
  steps: 12,
  learningRate: 0.05,
  warmup: 3,
  accumulate: 1,
  clip: 1,
  adam: adamDefaults,
};

/** Least squares of y = 3 x_0 - x_1 + noise over a batch of points: the mean of (w x - y)^2, and its gradient. */
function leastSquares(batch: number): Differentiate {
  return ({ weight }, random) => {
    const [w0, w1] = weight as unknown as [number, number];
    const gradient = new Float32Array(2);
    let loss = 0;
    for (let i = 0; i < batch; i++) {
      const [x0, x1, noise] = random.randn([3]).data as unknown as [number, number, number];
      const error = w0 * x0 + w1 * x1 - (3 * x0 - x1 + 0.1 * noise);
      loss += error ** 2 / batch;
      gradient[0]! += (2 * error * x0) / batch;
      gradient[1]! += (2 * error * x1) / batch;
    }
    return Promise.resolve({ loss, parts: { squares: loss }, gradients: { weight: gradient } });
  };
}
const start = (seed = 5): TrainingState => startTraining({ weight: new Float32Array(2) }, new TorchGenerator(seed));

async function states(
  state: TrainingState,
  differentiate: Differentiate,
  wish: Partial<TrainingOptions> = {},
): Promise<readonly TrainingState[]> {
  const all: TrainingState[] = [];
  // The generator of another seed: everything it draws is decided by the state.
  for await (const next of train(state, new TorchGenerator(999), differentiate, { ...options, ...wish }))
    all.push(next);
  return all;
}

/** A loss per update, of a gradient that moves nothing. */
const losses =
  (values: readonly number[]): Differentiate =>
  (parameters, _random, step) =>
    Promise.resolve({ loss: values[step - 1]!, parts: {}, gradients: zeros(parameters) });
const zeros = (parameters: Arrays): Arrays =>
  Object.fromEntries(Object.entries(parameters).map(([name, { length }]) => [name, new Float32Array(length)]));

describe('the curve', () => {
  it('falls, and holds loss, parts, rate and norm of every update in order', async () => {
    const last = (await states(start(), leastSquares(64), { steps: 200 })).at(-1)!;
    expect(last.curve.map(({ step }) => step)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    expect([...last.parameters['weight']!].map((value) => value.toFixed(1))).toEqual(['3.0', '-1.0']);
    const point = last.curve[199]!;
    expect(point.loss).toBeLessThan(0.02);
    expect(point.parts).toEqual({ squares: point.loss });
    expect(point.rate).toBe(0.05);
  });

  it('rises to the learning rate over the warm-up', () => {
    const rates = [1, 2, 3, 4].map((step) => learningRateAt(step, { ...options, learningRate: 0.3 }));
    expect(rates.map((rate) => rate.toFixed(6))).toEqual(['0.100000', '0.200000', '0.300000', '0.300000']);
    expect(learningRateAt(1, { ...options, warmup: 0 })).toBe(0.05);
  });

  it('falls to 0 along half a cosine after it, when asked to', () => {
    const falling = { ...options, learningRate: 0.4, warmup: 2, steps: 6, decay: true };
    const rates = [1, 2, 3, 4, 5, 6].map((step) => learningRateAt(step, falling));
    [0.2, 0.4, 0.2 + 0.1 * Math.SQRT2, 0.2, 0.2 - 0.1 * Math.SQRT2, 0].forEach((rate, i) => {
      expect(rates[i]).toBeCloseTo(rate, 12);
    });
  });

  it('names the norm before clipping', async () => {
    const [first] = await states(start(), leastSquares(8), { clip: 1e-3 });
    const [free] = await states(start(), leastSquares(8), { clip: undefined });
    expect(first!.curve[0]!.gradientNorm).toBe(free!.curve[0]!.gradientNorm);
    expect(first!.curve[0]!.gradientNorm).toBeGreaterThan(1);
  });
});

describe('accumulation', () => {
  it('of four batches of 2 is one batch of 8: the same points, the mean loss, the mean gradient', async () => {
    const whole = await states(start(), leastSquares(8));
    const parts = await states(start(), leastSquares(2), { accumulate: 4 });
    parts.forEach((state, i) => {
      const [found, expected] = [state.curve[i]!, whole[i]!.curve[i]!];
      expect(found.loss / expected.loss).toBeCloseTo(1, 5);
      expect(found.parts['squares']! / expected.loss).toBeCloseTo(1, 5);
      expect(found.gradientNorm / expected.gradientNorm).toBeCloseTo(1, 5);
      state.parameters['weight']!.forEach((value, j) => {
        expect(value).toBeCloseTo(whole[i]!.parameters['weight']![j]!, 5);
      });
    });
  });

  it('leaves the gradients of the first batch as they were', async () => {
    const handed: LossAndGradient[] = [];
    const differentiate: Differentiate = (parameters) => {
      const result = { loss: 1, parts: { a: 1 }, gradients: { weight: Float32Array.of(1, 2) } };
      handed.push(result);
      expect([...parameters['weight']!]).toEqual([0, 0]);
      return Promise.resolve(result);
    };
    await states(start(), differentiate, { steps: 1, accumulate: 3 });
    expect(handed).toHaveLength(3);
    for (const { gradients, parts } of handed) expect([[...gradients['weight']!], parts]).toEqual([[1, 2], { a: 1 }]);
  });
});

describe('the state', () => {
  it('is a value: going on from any of them equals the run without a stop', async () => {
    const whole = await states(start(), leastSquares(3));
    for (const at of [0, 4, 10]) {
      const rest = await states(structuredClone(whole[at]!), leastSquares(3));
      expect(rest).toEqual(whole.slice(at + 1));
    }
  });

  it('is never changed by what comes after it', async () => {
    const begin = start();
    const kept: TrainingState[] = [];
    for await (const next of train(begin, new TorchGenerator(5), leastSquares(3), options))
      kept.push(structuredClone(next));
    const again = await states(begin, leastSquares(3));
    expect(again).toEqual(kept);
    expect(begin).toEqual(start());
  });

  it('of a finished run has nothing left to do', async () => {
    const last = (await states(start(), leastSquares(3))).at(-1)!;
    expect(await states(last, leastSquares(3))).toEqual([]);
  });
});

describe('early stop', () => {
  const rule = { window: 3, atLeast: 0.1 };
  it('comes when a window of updates is no longer lower than the one before', async () => {
    const falling = [9, 9, 9, 6, 6, 6, 5.8, 5.8, 5.8, 1, 1, 1];
    expect(await states(start(), losses(falling), { earlyStop: rule })).toHaveLength(9);
    expect(await states(start(), losses(falling))).toHaveLength(12);
  });

  it('does not come while the loss falls, nor before two windows are full', async () => {
    const falling = Array.from({ length: 12 }, (_, i) => 0.9 ** i);
    expect(await states(start(), losses(falling), { earlyStop: rule })).toHaveLength(12);
    expect(await states(start(), losses([1, 1, 1, 1, 1, 1]), { earlyStop: rule, steps: 5 })).toHaveLength(5);
  });
});

describe('divergence', () => {
  it.each([NaN, Infinity])('a loss of %s ends the run with its step and advice', async (loss) => {
    const kept: TrainingState[] = [];
    const run = async (): Promise<void> => {
      for await (const next of train(start(), new TorchGenerator(0), losses([1, 1, loss]), options)) kept.push(next);
    };
    const error = await run().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(TrainingDiverged);
    expect(String(error)).toMatch(/at step 3.*lower learning rate/);
    expect(kept.map(({ adam }) => adam.step)).toEqual([1, 2]);
  });

  it('a gradient that is not finite is told too, before it reaches the parameters', async () => {
    const differentiate: Differentiate = () =>
      Promise.resolve({ loss: 1, parts: {}, gradients: { weight: Float32Array.of(0, NaN) } });
    await expect(states(start(), differentiate)).rejects.toThrow(TrainingDiverged);
  });
});
