// DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095): exponential integrators in lambda = -log sigma, which solve the linear
// part of the ODE exactly and extrapolate only the denoiser. The stochastic forms follow k-diffusion's sampling.py.
// h is the step in lambda, so exp(-h) = sigmaNext / sigma.
import { weightedSum } from '../weighted-sum.ts';
import { ancestralStep, stretches, type Sampler } from './sampler.ts';
import { eulerStep } from './euler.ts';
import type { FloatTensor } from '../../tensor/tensor.ts';

/** DPM++ 2M: Algorithm 2, second order from the previous step's prediction. No noise, no options. */
export const dpmPlusPlus2M: Sampler = async function* (denoise, x, sigmas) {
  let last: { denoised: FloatTensor; h: number } | undefined;
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    const h = Math.log(sigma / sigmaNext);
    let direction = denoised;
    if (last !== undefined && sigmaNext > 0) {
      const slope = h / last.h / 2; // 1 / 2r with r = h_last / h
      direction = weightedSum([1 + slope, denoised], [-slope, last.denoised]);
    }
    x = eulerStep(x, direction, sigma, sigmaNext);
    last = { denoised, h };
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/** DPM++ 2M SDE, midpoint form: 2M on the reverse-time SDE. eta 0 is 2M's ODE. Options: eta (1), sNoise. */
export const dpmPlusPlus2MSde: Sampler = async function* (denoise, x, sigmas, noise, { eta = 1, sNoise = 1 } = {}) {
  let last: { denoised: FloatTensor; h: number } | undefined;
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    const h = Math.log(sigma / sigmaNext);
    if (sigmaNext === 0) {
      x = denoised;
    } else {
      const toward = -Math.expm1(-h * (1 + eta)); // 1 - exp(-h - eta h)
      const slope = last === undefined ? 0 : (toward * h) / last.h / 2;
      x = weightedSum([1 - toward, x], [toward + slope, denoised], [-slope, last?.denoised ?? denoised]);
      if (eta > 0) {
        const deviation = sigmaNext * Math.sqrt(-Math.expm1(-2 * eta * h));
        x = weightedSum([1, x], [sNoise * deviation, noise(sigma, sigmaNext)]);
      }
    }
    last = { denoised, h };
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/**
 * DPM++ SDE: DPM-Solver++(2S) with r = 1/2 and ancestral noise in both halves; two network calls a step, the last
 * excepted. Asks its source for noise over (sigma, middle), then over (sigma, sigmaNext): both stretches overlap, which is
 * why a Brownian source is meant here. Options: eta (1), sNoise.
 */
export const dpmPlusPlusSde: Sampler = async function* (denoise, x, sigmas, noise, { eta = 1, sNoise = 1 } = {}) {
  for (const { index, sigma, sigmaNext } of stretches(sigmas)) {
    const denoised = await denoise(x, sigma);
    if (sigmaNext === 0) {
      x = denoised;
    } else {
      const middle = Math.sqrt(sigma * sigmaNext); // halfway in lambda
      const half = ancestralStep(sigma, middle, eta);
      const inner = weightedSum(
        [1, eulerStep(x, denoised, sigma, half.down)],
        [sNoise * half.up, noise(sigma, middle)],
      );
      const denoisedMiddle = await denoise(inner, middle);
      // With r = 1/2 the second prediction alone gives the direction.
      const { down, up } = ancestralStep(sigma, sigmaNext, eta);
      x = weightedSum([1, eulerStep(x, denoisedMiddle, sigma, down)], [sNoise * up, noise(sigma, sigmaNext)]);
    }
    yield { index, sigma, sigmaNext, x, denoised };
  }
};
