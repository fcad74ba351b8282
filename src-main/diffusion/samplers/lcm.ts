// Multistep sampling of a consistency model (Luo et al. 2023, arXiv:2310.04378, Algorithm 3; Song et al. 2023,
// arXiv:2303.01469, Algorithm 1): jump to the clean picture, add noise of the next level, repeat.
import { weightedSum } from '../weighted-sum.ts';
import { stretches, type Sampler } from './sampler.ts';

/** LCM; give it a `consistencyDenoiser`, 4-8 steps and guidance 1-2. Option: sNoise. */
export const lcm: Sampler = async function* (denoise, x, sigmas, noise, { sNoise = 1 } = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    x = sigmaNext === 0 ? denoised : weightedSum([1, denoised], [sNoise * sigmaNext, noise(sigma, sigmaNext)]);
    yield { index, sigma, sigmaNext, x, denoised };
  }
};
