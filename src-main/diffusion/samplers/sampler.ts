// What a sampler is: a function from a denoiser, a starting point, noise levels and a source of noise to a sequence of
// steps (the separation of k-diffusion's sampling.py). It yields after every step, so that whoever iterates can cancel,
// preview, or show progress; it draws noise only through `noise`, so that tests are deterministic.
import type { FloatTensor } from '../../tensor/tensor.ts';
import type { Denoiser } from '../denoiser.ts';
import type { Sigma } from '../noise-schedule.ts';

/**
 * Standard normal noise, shape [B, C, H, W], for the stretch from `sigma` down to `sigmaNext`. An independent source
 * ignores both; a Brownian one returns the path's increment over the stretch, scaled to variance 1.
 */
export type NoiseSource = (sigma: Sigma, sigmaNext: Sigma) => FloatTensor;

/** One finished step. */
export interface Step {
  /** 0-based. */
  readonly index: number;
  /** Noise level the step started from. */
  readonly sigma: Sigma;
  /** Noise level of `x`. */
  readonly sigmaNext: Sigma;
  /** State after the step; the last step's x is the result. [B, C, H, W] */
  readonly x: FloatTensor;
  /** The denoiser's guess of the clean latent in this step: what a preview shows. [B, C, H, W] */
  readonly denoised: FloatTensor;
}

/** Each sampler reads the fields it has a use for; the registry in samplers.ts says which. */
export interface SamplerOptions {
  /** Share of the step's noise that is fresh: 0 follows the ODE, 1 the SDE. */
  readonly eta?: number;
  /** Factor on all fresh noise. */
  readonly sNoise?: number;
  /** Karras et al. 2022, Alg. 2: how much noise to add back over the run. */
  readonly sChurn?: number;
  /** Churn only from this noise level... */
  readonly sTmin?: number;
  /** ...up to this one. */
  readonly sTmax?: number;
}

/**
 * Walks `x` from sigmas[0] down to the last of `sigmas` (0 for a finished picture). `x` has noise level sigmas[0]:
 * x0 + sigma * noise. Yields once per step; a caller that stops iterating stops the work.
 */
export type Sampler = (
  denoise: Denoiser,
  x: FloatTensor,
  sigmas: Float64Array,
  noise: NoiseSource,
  options?: SamplerOptions,
) => AsyncGenerator<Step, void, undefined>;

/** Consecutive pairs of noise levels. Throws a RangeError unless they decrease and only the last may be 0. */
export function stretches(sigmas: Float64Array): { index: number; sigma: Sigma; sigmaNext: Sigma }[] {
  return Array.from({ length: Math.max(sigmas.length - 1, 0) }, (_, index) => {
    const [sigma, sigmaNext] = [sigmas[index]!, sigmas[index + 1]!];
    if (!(sigma > sigmaNext && sigmaNext >= 0 && sigma < Infinity)) {
      throw new RangeError(
        `Noise levels must decrease to 0 at the lowest, got ${sigma} then ${sigmaNext} at step ${index}.`,
      );
    }
    return { index, sigma, sigmaNext };
  });
}

/**
 * Splits the way from `sigma` to `sigmaNext` into a deterministic part, down to `down`, and fresh noise of deviation
 * `up`, with down^2 + up^2 = sigmaNext^2 and up^2 = eta^2 times the variance of DDPM's posterior (Ho et al. 2020, Eq. 7).
 */
export function ancestralStep(sigma: Sigma, sigmaNext: Sigma, eta: number): { down: Sigma; up: Sigma } {
  const posterior = sigmaNext * Math.sqrt(1 - (sigmaNext / sigma) ** 2);
  const up = Math.min(sigmaNext, eta * posterior);
  return { down: Math.sqrt(sigmaNext * sigmaNext - up * up), up };
}
