// The samplers of the variance-preserving papers, written in x / sqrt(alphaBar), where alphaBar = 1 / (1 + sigma^2).
import { weightedSum } from '../weighted-sum.ts';
import { ancestralStep, stretches, type Sampler } from './sampler.ts';

/**
 * DDPM: draws from the posterior q(x_{t-1} | x_t, x0) (Ho et al. 2020, arXiv:2006.11239, Eq. 6-7, the small variance).
 * Divided by sqrt(alphaBar_{t-1}), its mean is (1 - k) x0 + k x and its variance sigmaNext^2 (1 - k), with
 * k = (sigmaNext / sigma)^2. Option: sNoise.
 */
export const ddpm: Sampler = async function* (denoise, x, sigmas, noise, { sNoise = 1 } = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    const kept = (sigmaNext / sigma) ** 2;
    x = weightedSum([kept, x], [1 - kept, denoised]);
    if (sigmaNext > 0) {
      x = weightedSum([1, x], [sNoise * sigmaNext * Math.sqrt(1 - kept), noise(sigma, sigmaNext)]);
    }
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/**
 * DDIM (Song et al. 2021, arXiv:2010.02502, Eq. 12 and 16): predicted x0, plus the direction pointing to x_t, plus noise.
 * Deterministic at eta 0 (default), DDPM at eta 1. Options: eta, sNoise.
 */
export const ddim: Sampler = async function* (denoise, x, sigmas, noise, { eta = 0, sNoise = 1 } = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    const { down, up } = ancestralStep(sigma, sigmaNext, eta);
    // down * eps with eps = (x - x0) / sigma
    x = weightedSum([1 - down / sigma, denoised], [down / sigma, x]);
    if (up > 0) x = weightedSum([1, x], [sNoise * up, noise(sigma, sigmaNext)]);
    yield { index, sigma, sigmaNext, x, denoised };
  }
};
