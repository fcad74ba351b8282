// The samplers on offer: kebab-case ids, AUTOMATIC1111's labels, and what each needs. The algorithms are in samplers/.
import type { ScheduleName } from './noise-schedule.ts';
import type { StartScale } from './noise-source.ts';
import { ddim, ddpm } from './samplers/ddpm.ts';
import { dpmPlusPlus2M, dpmPlusPlus2MSde, dpmPlusPlusSde } from './samplers/dpm-solver.ts';
import { euler, eulerAncestral, heun } from './samplers/euler.ts';
import { lcm } from './samplers/lcm.ts';
import type { Sampler, SamplerOptions } from './samplers/sampler.ts';
import { unipc } from './samplers/unipc.ts';

/** What a user interface and the engine need to know of a sampler. */
export interface SamplerEntry {
  /** As A1111 writes it in a picture's metadata. */
  readonly label: string;
  readonly sample: Sampler;
  /** Step noise: `none`, `independent` normals, or increments of one `brownian` path. Churn needs `independent`. */
  readonly noise: 'none' | 'independent' | 'brownian';
  readonly start: StartScale;
  /** Options that have an effect. */
  readonly options: readonly (keyof SamplerOptions)[];
  /** Schedule to offer first. */
  readonly schedule: ScheduleName;
  /** Network calls per step (the last step of a two-call sampler makes one). */
  readonly callsPerStep: 1 | 2;
}

const churn = ['sChurn', 'sTmin', 'sTmax', 'sNoise'] as const;
const stochastic = ['eta', 'sNoise'] as const;

export const samplers = {
  euler: {
    label: 'Euler',
    sample: euler,
    noise: 'independent',
    start: 'sigma',
    options: churn,
    schedule: 'normal',
    callsPerStep: 1,
  },
  'euler-a': {
    label: 'Euler a',
    sample: eulerAncestral,
    noise: 'independent',
    start: 'sigma',
    options: stochastic,
    schedule: 'normal',
    callsPerStep: 1,
  },
  heun: {
    label: 'Heun',
    sample: heun,
    noise: 'independent',
    start: 'sigma',
    options: churn,
    schedule: 'normal',
    callsPerStep: 2,
  },
  'dpmpp-2m': {
    label: 'DPM++ 2M',
    sample: dpmPlusPlus2M,
    noise: 'none',
    start: 'sigma',
    options: [],
    schedule: 'karras',
    callsPerStep: 1,
  },
  'dpmpp-2m-sde': {
    label: 'DPM++ 2M SDE',
    sample: dpmPlusPlus2MSde,
    noise: 'brownian',
    start: 'sigma',
    options: stochastic,
    schedule: 'exponential',
    callsPerStep: 1,
  },
  'dpmpp-sde': {
    label: 'DPM++ SDE',
    sample: dpmPlusPlusSde,
    noise: 'brownian',
    start: 'sigma',
    options: stochastic,
    schedule: 'karras',
    callsPerStep: 2,
  },
  ddim: {
    label: 'DDIM',
    sample: ddim,
    noise: 'independent',
    start: 'unit-variance',
    options: stochastic,
    schedule: 'sgm-uniform',
    callsPerStep: 1,
  },
  ddpm: {
    label: 'DDPM',
    sample: ddpm,
    noise: 'independent',
    start: 'unit-variance',
    options: ['sNoise'],
    schedule: 'sgm-uniform',
    callsPerStep: 1,
  },
  unipc: {
    label: 'UniPC',
    sample: unipc,
    noise: 'none',
    start: 'unit-variance',
    options: [],
    schedule: 'sgm-uniform',
    callsPerStep: 1,
  },
  lcm: {
    label: 'LCM',
    sample: lcm,
    noise: 'independent',
    start: 'unit-variance',
    options: ['sNoise'],
    schedule: 'sgm-uniform',
    callsPerStep: 1,
  },
} as const satisfies Record<string, SamplerEntry>;

export type SamplerName = keyof typeof samplers;
