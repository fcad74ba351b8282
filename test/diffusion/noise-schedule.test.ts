// Noise levels equal those of diffusers (training), k-diffusion and AUTOMATIC1111 (sampling): test/golden/samplers.py.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  schedules,
  sigmaAt,
  sigmasForStrength,
  timestepAt,
  trainingSchedule,
  type NoiseScheduleConfig,
  type ScheduleName,
} from '../../src-main/diffusion/noise-schedule.ts';
import { diffusionTolerance } from '../support/tolerances.ts';

interface Golden {
  readonly sampling: readonly { name: ScheduleName; steps: number; sigmas: readonly number[] }[];
  readonly training: readonly {
    betaSchedule: NoiseScheduleConfig['betaSchedule'];
    zeroSnr: boolean;
    at: readonly number[];
    alphaBar: readonly number[];
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL('../golden/data/diffusion/schedules.json', import.meta.url), 'utf8'),
) as Golden;
const sd: NoiseScheduleConfig = {
  numTrainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: 'scaled_linear',
  predictionType: 'epsilon',
  rescaleBetasZeroSnr: false,
};
const stable = trainingSchedule(sd);
const zeroSnr = trainingSchedule({ ...sd, rescaleBetasZeroSnr: true });
const names = Object.keys(schedules) as ScheduleName[];

const worstRelative = (ours: ArrayLike<number>, theirs: readonly number[]): number => {
  expect(ours.length).toBe(theirs.length);
  return Math.max(...theirs.map((value, i) => (value === 0 ? Math.abs(ours[i]!) : Math.abs(ours[i]! / value - 1))));
};

describe('training levels', () => {
  it.each(golden.training)('$betaSchedule, zero terminal SNR $zeroSnr: alphaBar equals diffusers', (entry) => {
    const ours = trainingSchedule({ ...sd, betaSchedule: entry.betaSchedule, rescaleBetasZeroSnr: entry.zeroSnr });
    const error = worstRelative(
      entry.at.map((t) => ours.alphaBar[t]!),
      entry.alphaBar,
    );
    expect(error).toBeLessThanOrEqual(diffusionTolerance.alphaBar);
  });

  it('Stable Diffusion runs from sigma 0.0292 to 14.61', () => {
    expect(stable.sigmas[0]).toBeCloseTo(0.0291675, 6);
    expect(stable.sigmas.at(-1)).toBeCloseTo(14.614642, 5);
  });

  it('zero terminal SNR ends at the finite sigma 4096 and keeps the first level', () => {
    expect(zeroSnr.sigmas.at(-1)).toBeCloseTo(4096, 3);
    expect(zeroSnr.alphaBar[0]).toBeCloseTo(stable.alphaBar[0]!, 12);
  });

  it.each([
    { numTrainTimesteps: 1.5 },
    { numTrainTimesteps: 0 },
    { betaStart: 0 },
    { betaEnd: 1 },
    { betaStart: 0.5, betaEnd: 0.1 },
    { betaEnd: NaN },
  ])('a config with %o is refused', (wrong) => {
    expect(() => trainingSchedule({ ...sd, ...wrong })).toThrow(RangeError);
  });
});

describe('sampling levels', () => {
  it.each(golden.sampling)('$name in $steps steps equals its witness', ({ name, steps, sigmas }) => {
    expect(worstRelative(schedules[name].sigmas(stable, steps), sigmas)).toBeLessThanOrEqual(
      diffusionTolerance.schedule,
    );
  });

  it.each(names.flatMap((name) => [1, 2, 3, 20, 999, 1000].map((steps) => [name, steps] as const)))(
    '%s in %i steps has steps + 1 levels that decrease to 0, with zero terminal SNR too',
    (name, steps) => {
      for (const training of [stable, zeroSnr]) {
        const sigmas = schedules[name].sigmas(training, steps);
        expect(sigmas.length).toBe(steps + 1);
        expect(sigmas[0]! / training.sigmas.at(-1)! - 1).toBeCloseTo(0, 9);
        expect(sigmas.at(-1)).toBe(0);
        expect(sigmas.every((level, i) => i === 0 || level < sigmas[i - 1]!)).toBe(true);
      }
    },
  );

  it.each(names)('%s refuses 0, fractional, too many and NaN steps', (name) => {
    for (const steps of [0, -1, 2.5, 1001, NaN, Infinity, 1e12]) {
      expect(() => schedules[name].sigmas(stable, steps)).toThrow(/whole number from 1 to 1000/);
    }
  });
});

describe('sigma and timestep', () => {
  it('are inverse to each other, at integers exactly', () => {
    for (const t of [0, 1, 500, 999]) expect(timestepAt(stable, sigmaAt(stable, t))).toBe(t);
    for (const t of [0.25, 499.5, 998.9]) expect(timestepAt(stable, sigmaAt(stable, t))).toBeCloseTo(t, 8);
  });

  it('stay within the trained range', () => {
    expect(timestepAt(stable, 0)).toBe(0);
    expect(timestepAt(stable, 100)).toBe(999);
    expect(sigmaAt(stable, -3)).toBe(stable.sigmas[0]);
    expect(sigmaAt(stable, 2000)).toBe(stable.sigmas[999]);
  });
});

describe('image-to-image strength', () => {
  const sigmas = schedules.karras.sigmas(stable, 20);

  it.each([
    [0, 0],
    [0.04, 0],
    [0.05, 1],
    [0.29, 5],
    [0.5, 10],
    [0.75, 15],
    [1, 20],
  ])('strength %f of 20 steps runs the last %i', (strength, steps) => {
    expect(sigmasForStrength(sigmas, strength)).toEqual(sigmas.slice(20 - steps));
  });

  it.each([-0.1, 1.1, NaN])('strength %f is refused', (strength) => {
    expect(() => sigmasForStrength(sigmas, strength)).toThrow(/from 0 to 1/);
  });
});
