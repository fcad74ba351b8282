// First- and second-order steps along Karras et al.'s probability-flow ODE, dx/dsigma = (x - D(x, sigma)) / sigma.
// Elucidating the Design Space of Diffusion-Based Generative Models, arXiv:2206.00364, Algorithm 2.
import type { FloatTensor } from '../../tensor/tensor.ts';
import type { Sigma } from '../noise-schedule.ts';
import { weightedSum } from '../weighted-sum.ts';
import { ancestralStep, stretches, type NoiseSource, type Sampler, type SamplerOptions } from './sampler.ts';

/** Euler: Algorithm 2 without its second-order correction. Options: sChurn (0), sTmin, sTmax, sNoise. */
export const euler: Sampler = async function* (denoise, x, sigmas, noise, options = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const churned = churn(x, sigma, sigmaNext, sigmas.length - 1, noise, options);
    const denoised = await denoise(churned.x, churned.sigma);
    x = eulerStep(churned.x, denoised, churned.sigma, sigmaNext);
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/**
 * Euler a: a deterministic step to a lower level, then fresh noise up to the wanted one (Song et al. 2021,
 * arXiv:2010.02502, Eq. 12 with eta, in k-diffusion's variables). Options: eta (1), sNoise.
 */
export const eulerAncestral: Sampler = async function* (denoise, x, sigmas, noise, { eta = 1, sNoise = 1 } = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    const { down, up } = ancestralStep(sigma, sigmaNext, eta);
    x = eulerStep(x, denoised, sigma, down);
    if (sigmaNext > 0) x = weightedSum([1, x], [sNoise * up, noise(sigma, sigmaNext)]);
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/** Heun: Algorithm 2 whole; two network calls a step, the last excepted. Options: sChurn (0), sTmin, sTmax, sNoise. */
export const heun: Sampler = async function* (denoise, x, sigmas, noise, options = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const churned = churn(x, sigma, sigmaNext, sigmas.length - 1, noise, options);
    const denoised = await denoise(churned.x, churned.sigma);
    const ahead = eulerStep(churned.x, denoised, churned.sigma, sigmaNext);
    if (sigmaNext === 0) {
      x = ahead;
    } else {
      // The mean of the slopes (x - D) / sigma at both ends.
      const denoisedAhead = await denoise(ahead, sigmaNext);
      const half = (sigmaNext - churned.sigma) / 2;
      const [here, there] = [half / churned.sigma, half / sigmaNext];
      x = weightedSum([1 + here, churned.x], [-here, denoised], [there, ahead], [-there, denoisedAhead]);
    }
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/** x + (x - D) / sigma * (target - sigma), written as the mixture it is; exact for target 0. */
export function eulerStep(x: FloatTensor, denoised: FloatTensor, sigma: Sigma, target: Sigma): FloatTensor {
  return weightedSum([target / sigma, x], [1 - target / sigma, denoised]);
}

/** Algorithm 2, lines 4-6: raises the noise level by a factor 1 + gamma before the step. */
function churn(
  x: FloatTensor,
  sigma: Sigma,
  sigmaNext: Sigma,
  steps: number,
  noise: NoiseSource,
  { sChurn = 0, sTmin = 0, sTmax = Infinity, sNoise = 1 }: SamplerOptions,
): { x: FloatTensor; sigma: Sigma } {
  if (sChurn <= 0) return { x, sigma };
  // Drawn at every step, in range or not, so that the range does not shift later noise (as k-diffusion).
  const fresh = noise(sigma, sigmaNext);
  if (sigma < sTmin || sigma > sTmax) return { x, sigma };
  const raised = sigma * (1 + Math.min(sChurn / steps, Math.SQRT2 - 1));
  return { x: weightedSum([1, x], [sNoise * Math.sqrt(raised * raised - sigma * sigma), fresh]), sigma: raised };
}
