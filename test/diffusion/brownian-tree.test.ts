// SDE step noise equals that of k-diffusion's BrownianTreeNoiseSampler on torchsde (test/golden/samplers.py).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { brownianNoise } from '../../src-main/diffusion/brownian-tree.ts';
import { schedules, trainingSchedule } from '../../src-main/diffusion/noise-schedule.ts';
import { maxDifference, readGolden } from '../support/read-golden.ts';
import { diffusionTolerance } from '../support/tolerances.ts';

const golden = readGolden('diffusion/brownian.safetensors');
const { brownian: pairs } = JSON.parse(
  readFileSync(new URL('../golden/data/diffusion/trajectories.json', import.meta.url), 'utf8'),
) as { brownian: readonly (readonly [number, number])[] };
const seeds = [42n, 2n ** 40n + 7n];
const shape = [1, 4, 6];
const sigmaMax = pairs[0]![0];
const sigmaMin = pairs.at(-1)![1];

describe('Brownian step noise', () => {
  it('equals torchsde for every stretch and half-stretch of 20 Karras steps, image by image', () => {
    const noise = brownianNoise(seeds, shape, sigmaMin, sigmaMax);
    const errors = pairs.map(([a, b], i) => maxDifference(noise(a, b).data, golden(String(i)).data));
    expect(Math.max(...errors)).toBeLessThanOrEqual(diffusionTolerance.brownian);
  });

  it('does not depend on the order of questions', () => {
    const [forward, backward] = [0, 1].map(() => brownianNoise(seeds, shape, sigmaMin, sigmaMax));
    const asked = pairs.map(([a, b]) => forward!(a, b));
    for (let i = pairs.length - 1; i >= 0; i--) expect(backward!(...pairs[i]!)).toEqual(asked[i]);
  });

  it('adds up: the noise of a stretch is that of its halves', () => {
    const noise = brownianNoise([1], shape, 0.1, 10);
    const [whole, upper, lower] = [noise(8, 2).data, noise(8, 5).data, noise(5, 2).data];
    const sum = upper.map((value, i) => (value * Math.sqrt(3) + lower[i]! * Math.sqrt(3)) / Math.sqrt(6));
    expect(maxDifference(sum, whole)).toBeLessThanOrEqual(diffusionTolerance.brownian);
  });

  it('has mean 0 and variance 1, uncorrelated between stretches', () => {
    const noise = brownianNoise([3], [1, 64, 64], 0.03, 14.6);
    const [a, b] = [noise(14.6, 9).data, noise(9, 1).data];
    const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean(a))).toBeLessThan(0.06);
    expect(Math.abs(mean(a.map((v) => v * v)) - 1)).toBeLessThan(0.1);
    expect(Math.abs(mean(b.map((v) => v * v)) - 1)).toBeLessThan(0.1);
    expect(Math.abs(mean(a.map((v, i) => v * b[i]!)))).toBeLessThan(0.06);
  });

  it("matches the sampler's own float64 levels as well as k-diffusion's float32 ones", () => {
    const sigmas = schedules.karras.sigmas(
      trainingSchedule({
        numTrainTimesteps: 1000,
        betaStart: 0.00085,
        betaEnd: 0.012,
        betaSchedule: 'scaled_linear',
        predictionType: 'epsilon',
        rescaleBetasZeroSnr: false,
      }),
      20,
    );
    const noise = brownianNoise(seeds, shape, sigmas[19]!, sigmas[0]!);
    for (let i = 0; i < 12; i++) {
      expect(maxDifference(noise(sigmas[i]!, sigmas[i + 1]!).data, golden(String(2 * i + 1)).data)).toBeLessThanOrEqual(
        diffusionTolerance.brownianLevels,
      );
    }
  });

  it('a negative seed and an empty interval are refused', () => {
    expect(() => brownianNoise([-1], shape, 0.1, 1)).toThrow(/from 0 on/);
    expect(() => brownianNoise([1], shape, 1, 1)).toThrow(/sigmaMin < sigmaMax/);
  });
});
