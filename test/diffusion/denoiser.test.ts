// Wrappers equal k-diffusion's external.py for eps- and v-predicting networks (test/golden/samplers.py).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { consistencyDenoiser, denoiserOf, type Network } from '../../src-main/diffusion/denoiser.ts';
import { timestepAt, trainingSchedule, type NoiseScheduleConfig } from '../../src-main/diffusion/noise-schedule.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';
import { diffusionTolerance } from '../support/tolerances.ts';

interface Wrapped {
  readonly kind: NoiseScheduleConfig['predictionType'];
  readonly sigma: number;
  readonly timestep: number;
  readonly x: readonly number[];
  readonly denoised: readonly number[];
}

const { wrappers } = JSON.parse(
  readFileSync(new URL('../golden/data/diffusion/schedules.json', import.meta.url), 'utf8'),
) as { wrappers: readonly Wrapped[] };
const sd: NoiseScheduleConfig = {
  numTrainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: 'scaled_linear',
  predictionType: 'epsilon',
  rescaleBetasZeroSnr: false,
};
/** The golden generator's network. */
const sine: Network = (scaled, t) =>
  Promise.resolve(
    floatTensor(
      scaled.shape,
      scaled.data.map((x) => Math.sin(1.3 * x + 0.01 * t)),
    ),
  );

describe('a network becomes a denoiser as in k-diffusion', () => {
  it.each(wrappers)('$kind at sigma $sigma', async ({ kind, sigma, timestep, x, denoised }) => {
    const schedule = trainingSchedule({ ...sd, predictionType: kind });
    expect(timestepAt(schedule, sigma)).toBeCloseTo(timestep, 6);
    const out = await denoiserOf(schedule, sine)(floatTensor([1, x.length], Float32Array.from(x)), sigma);
    denoised.forEach((value, i) => {
      const scale = Math.max(1, Math.abs(value), sigma);
      expect(Math.abs(out.data[i]! - value) / scale).toBeLessThanOrEqual(diffusionTolerance.wrapper);
    });
  });

  it('v prediction at zero terminal SNR stays finite and of the size of v', async () => {
    const schedule = trainingSchedule({ ...sd, predictionType: 'v_prediction', rescaleBetasZeroSnr: true });
    const sigma = schedule.sigmas.at(-1)!;
    const x = floatTensor([1, 2], Float32Array.of(sigma, -2 * sigma));
    const out = await denoiserOf(schedule, (scaled) => Promise.resolve(scaled))(x, sigma);
    // v = x / root gives x0 = x / root^2 - x sigma / root^2, about -x / sigma.
    expect(out.data[0]).toBeCloseTo(-1, 3);
    expect(out.data[1]).toBeCloseTo(2, 3);
  });
});

describe('the boundary condition of consistency models', () => {
  const schedule = trainingSchedule(sd);
  const halved = consistencyDenoiser(schedule, (x) =>
    Promise.resolve(
      floatTensor(
        x.shape,
        x.data.map((v) => v / 2),
      ),
    ),
  );
  const x = floatTensor([1, 2], Float32Array.of(1, -3));

  it('returns the input itself at the lowest level', async () => {
    const out = await halved(x, 0);
    expect([...out.data]).toEqual([1, -3]);
  });

  it('returns the prediction at high noise', async () => {
    const out = await halved(x, schedule.sigmas[800]!);
    expect(out.data[0]).toBeCloseTo(0.5, 6);
    expect(out.data[1]).toBeCloseTo(-1.5, 6);
  });
});
