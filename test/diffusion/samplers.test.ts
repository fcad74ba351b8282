// Every sampler walks its witness' path: k-diffusion's sampling.py or the diffusers scheduler, same start, same step noise
// (test/golden/samplers.py). Then the identities that hold between samplers.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { consistencyDenoiser, denoiserOf, type Denoiser, type Network } from '../../src-main/diffusion/denoiser.ts';
import { sigmaAt, trainingSchedule, type NoiseScheduleConfig } from '../../src-main/diffusion/noise-schedule.ts';
import { samplers, type SamplerName } from '../../src-main/diffusion/samplers.ts';
import type { NoiseSource, SamplerOptions, Step } from '../../src-main/diffusion/samplers/sampler.ts';
import { startFromNoise } from '../../src-main/diffusion/noise-source.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { weightedSum } from '../../src-main/diffusion/weighted-sum.ts';
import { mixtureDenoise, mixtureDenoiser } from '../support/mixture-denoiser.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { diffusionTolerance } from '../support/tolerances.ts';

interface Case {
  readonly sampler: SamplerName;
  readonly sigmas: readonly number[];
  readonly options: SamplerOptions;
  readonly network_kind?: 'consistency' | 'epsilon' | 'velocity' | 'velocity zero-snr';
}

const golden = readGolden('diffusion/trajectories.safetensors');
const { cases } = JSON.parse(
  readFileSync(new URL('../golden/data/diffusion/trajectories.json', import.meta.url), 'utf8'),
) as { cases: Record<string, Case> };
const means = golden('means');
const start = golden('start');
const exact = mixtureDenoiser(means);

const sd: NoiseScheduleConfig = {
  numTrainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: 'scaled_linear',
  predictionType: 'epsilon',
  rescaleBetasZeroSnr: false,
};

/** The golden step noise, in the order drawn. */
function goldenNoise(): NoiseSource {
  const all = golden('noise');
  const size = start.data.length;
  let drawn = 0;
  return () => {
    drawn += 1;
    return floatTensor(start.shape, all.data.slice((drawn - 1) * size, drawn * size));
  };
}

/** The exact denoiser, disguised as a network that predicts noise or v and is told the timestep alone. */
function throughNetwork(config: NoiseScheduleConfig): Denoiser {
  const schedule = trainingSchedule(config);
  const network: Network = (scaled, timestep) => {
    const sigma = sigmaAt(schedule, timestep);
    const root = Math.sqrt(sigma * sigma + 1);
    const x0 = mixtureDenoise(means, weightedSum([root, scaled]), sigma);
    return Promise.resolve(
      config.predictionType === 'epsilon'
        ? weightedSum([root / sigma, scaled], [-1 / sigma, x0])
        : weightedSum([1 / sigma, scaled], [-root / sigma, x0]),
    );
  };
  return denoiserOf(schedule, network);
}

function denoiserFor(kind: Case['network_kind']): Denoiser {
  switch (kind) {
    case undefined:
      return exact;
    case 'consistency':
      return consistencyDenoiser(trainingSchedule(sd), exact);
    case 'epsilon':
      return throughNetwork(sd);
    case 'velocity':
      return throughNetwork({ ...sd, predictionType: 'v_prediction' });
    case 'velocity zero-snr':
      return throughNetwork({ ...sd, predictionType: 'v_prediction', rescaleBetasZeroSnr: true });
  }
}

async function walk(
  name: SamplerName,
  sigmas: readonly number[],
  options: SamplerOptions = {},
  { x = startFromNoise(start, sigmas[0]!, 'sigma'), denoise = exact, noise = goldenNoise() } = {},
): Promise<Step[]> {
  const steps: Step[] = [];
  for await (const step of samplers[name].sample(denoise, x, Float64Array.from(sigmas), noise, options))
    steps.push(step);
  return steps;
}

const joined = (steps: readonly Step[]): number[] => steps.flatMap((step) => [...step.x.data]);

describe('20-step trajectories follow their witness', () => {
  it.each(Object.entries(cases))('%s', async (name, { sampler, sigmas, options, network_kind }) => {
    const steps = await walk(sampler, sigmas, options, { denoise: denoiserFor(network_kind) });
    const expected = golden(name);
    const size = start.data.length;
    // A witness may have kept the last states only.
    const errors = steps.slice(-expected.shape[0]!).map((step, i) => {
      return relativeError(step.x.data, expected.data.slice(i * size, (i + 1) * size));
    });
    expect(steps.length).toBe(sigmas.length - 1);
    expect(Math.max(...errors)).toBeLessThanOrEqual(diffusionTolerance.trajectory);
  });

  it('every sampler on offer has a witness', () => {
    expect(new Set(Object.values(cases).map((c) => c.sampler))).toEqual(new Set(Object.keys(samplers)));
  });
});

describe('identities between samplers', () => {
  const sigmas = cases['k/euler']!.sigmas;
  const differ = async (a: Promise<Step[]>, b: Promise<Step[]>): Promise<number> =>
    relativeError(joined(await a), joined(await b));
  const silent: NoiseSource = () => floatTensor(start.shape);
  const otherNoise: NoiseSource = () => floatTensor(start.shape, start.data.slice());

  it('DDIM at eta 0 is Euler', async () => {
    expect(await differ(walk('ddim', sigmas), walk('euler', sigmas))).toBeLessThanOrEqual(diffusionTolerance.identity);
  });

  it('DDIM at eta 1 is DDPM and is Euler a', async () => {
    const full = walk('ddim', sigmas, { eta: 1 });
    expect(await differ(full, walk('ddpm', sigmas))).toBeLessThanOrEqual(diffusionTolerance.identity);
    expect(await differ(full, walk('euler-a', sigmas))).toBeLessThanOrEqual(diffusionTolerance.identity);
  });

  it('DPM++ 2M SDE at eta 0 is DPM++ 2M', async () => {
    const ode = walk('dpmpp-2m-sde', sigmas, { eta: 0 });
    expect(await differ(ode, walk('dpmpp-2m', sigmas))).toBeLessThanOrEqual(diffusionTolerance.identity);
  });

  it.each(['euler-a', 'dpmpp-2m-sde', 'dpmpp-sde', 'ddim'] as const)(
    '%s at eta 0 does not depend on the noise',
    async (name) => {
      const quiet = walk(name, sigmas, { eta: 0 });
      expect(joined(await walk(name, sigmas, { eta: 0 }, { noise: otherNoise }))).toEqual(joined(await quiet));
    },
  );

  it.each(['euler-a', 'dpmpp-2m-sde', 'dpmpp-sde', 'ddpm', 'lcm'] as const)(
    '%s with sNoise 0 is %s with no noise',
    async (name) => {
      const without = walk(name, sigmas, {}, { noise: silent });
      expect(joined(await walk(name, sigmas, { sNoise: 0 }))).toEqual(joined(await without));
      expect(await differ(walk(name, sigmas), without)).toBeGreaterThan(0.01);
    },
  );

  it.each(['euler', 'heun'] as const)('%s with churn ends elsewhere than without', async (name) => {
    const [calm, churned] = [await walk(name, sigmas), await walk(name, sigmas, { sChurn: 10 })];
    expect(relativeError(churned.at(-1)!.x.data, calm.at(-1)!.x.data)).toBeGreaterThan(0.01);
  });

  it.each(Object.keys(samplers) as SamplerName[])('%s ends on a picture of the mixture', async (name) => {
    const { x } = (await walk(name, sigmas)).at(-1)!;
    // The result lies within the mixture: its own denoised version at a small level is near it.
    expect(relativeError(mixtureDenoise(means, x, 0.1).data, x.data)).toBeLessThan(0.2);
  });
});

describe('walking', () => {
  const sigmas = cases['k/euler']!.sigmas;

  it.each(Object.keys(samplers) as SamplerName[])(
    '%s yields one step per stretch and works only when asked',
    async (name) => {
      let calls = 0;
      const counting: Denoiser = (x, sigma) => {
        calls += 1;
        return exact(x, sigma);
      };
      const run = samplers[name].sample(counting, start, Float64Array.from(sigmas), goldenNoise());
      expect(calls).toBe(0);
      const first = await run.next();
      expect(first.value).toMatchObject({ index: 0, sigma: sigmas[0], sigmaNext: sigmas[1] });
      expect(calls).toBe(samplers[name].callsPerStep);
      await run.return();
      expect(calls).toBe(samplers[name].callsPerStep);
    },
  );

  it.each(Object.keys(samplers) as SamplerName[])(
    '%s leaves its starting tensor and its noise levels untouched',
    async (name) => {
      const x: FloatTensor = floatTensor(start.shape, start.data.slice());
      const levels = Float64Array.from(sigmas);
      for await (const step of samplers[name].sample(exact, x, levels, goldenNoise())) expect(step.x).not.toBe(x);
      expect(x).toEqual(start);
      expect([...levels]).toEqual(sigmas);
    },
  );

  it.each(Object.keys(samplers) as SamplerName[])('%s in one step returns the denoised start', async (name) => {
    const steps = await walk(name, [10, 0]);
    expect(steps.length).toBe(1);
    expect(relativeError(steps[0]!.x.data, steps[0]!.denoised.data)).toBeLessThanOrEqual(diffusionTolerance.identity);
  });

  it('DPM++ SDE asks for the noise of a half-step, then of the whole step, as k-diffusion does', async () => {
    const asked: (readonly [number, number])[] = [];
    const zero = floatTensor(start.shape);
    const noise: NoiseSource = (sigma, sigmaNext) => {
      asked.push([sigma, sigmaNext]);
      return zero;
    };
    await walk('dpmpp-sde', [16, 4, 1, 0], {}, { noise });
    expect(asked).toEqual([
      [16, 8],
      [16, 4],
      [4, 2],
      [4, 1],
    ]);
  });

  it('noise levels that do not decrease are refused by value', async () => {
    await expect(walk('euler', [1, 2, 0])).rejects.toThrow(/must decrease.*got 1 then 2 at step 0/);
    await expect(walk('euler', [NaN, 0])).rejects.toThrow(/must decrease/);
  });

  it('an empty run (strength 0) yields no step', async () => {
    expect(await walk('dpmpp-2m', [0])).toEqual([]);
  });
});
