// From a network to a denoiser: D(x, sigma) = c_skip x + c_out F(c_in x, t), the preconditioning of Karras et al. 2022
// (arXiv:2206.00364, Eq. 7) with sigma_data = 1, as in k-diffusion's external.py. Samplers see only the denoiser and so
// know nothing of timesteps, guidance or how the network was trained.
import type { FloatTensor } from '../tensor/tensor.ts';
import { timestepAt, type Sigma, type Timestep, type TrainingSchedule } from './noise-schedule.ts';
import { weightedSum } from './weighted-sum.ts';

/** Predicts the clean latent from x = x0 + sigma * noise. x and result: [B, C, H, W]. */
export type Denoiser = (x: FloatTensor, sigma: Sigma) => Promise<FloatTensor>;

/** What a checkpoint computes: `scaled` = x / sqrt(sigma^2 + 1) has variance 1. Shapes [B, C, H, W]. */
export type Network = (scaled: FloatTensor, timestep: Timestep) => Promise<FloatTensor>;

/** The denoiser of a network trained as `schedule.config.predictionType` says. */
export function denoiserOf(schedule: TrainingSchedule, network: Network): Denoiser {
  switch (schedule.config.predictionType) {
    case 'epsilon':
      return epsilonDenoiser(schedule, network);
    case 'v_prediction':
      return velocityDenoiser(schedule, network);
  }
}

/** Network predicts the noise (Ho et al. 2020): x0 = x - sigma eps. Ill-conditioned at zero terminal SNR. */
export function epsilonDenoiser(schedule: TrainingSchedule, network: Network): Denoiser {
  return async (x, sigma) => {
    const epsilon = await network(scaleInput(x, sigma), timestepAt(schedule, sigma));
    return weightedSum([1, x], [-1 * sigma, epsilon]);
  };
}

/**
 * Network predicts v = sqrt(alphaBar) eps - sqrt(1 - alphaBar) x0 (Salimans & Ho 2022, arXiv:2202.00512):
 * x0 = x / (sigma^2 + 1) - v sigma / sqrt(sigma^2 + 1). Well conditioned up to pure noise.
 */
export function velocityDenoiser(schedule: TrainingSchedule, network: Network): Denoiser {
  return async (x, sigma) => {
    const velocity = await network(scaleInput(x, sigma), timestepAt(schedule, sigma));
    const variance = sigma * sigma + 1;
    return weightedSum([1 / variance, x], [(-1 * sigma) / Math.sqrt(variance), velocity]);
  };
}

/**
 * Adds the boundary condition of a latent consistency model (Luo et al. 2023, arXiv:2310.04378, Eq. 9):
 * c_skip x + c_out x0 with sigma_data = 0.5 and the timestep scaled by 10, so that D(x, 0) = x. For LCM checkpoints.
 */
export function consistencyDenoiser(schedule: TrainingSchedule, denoise: Denoiser): Denoiser {
  const dataVariance = 0.5 ** 2;
  const timestepScaling = 10;
  return async (x, sigma) => {
    const time = timestepAt(schedule, sigma) * timestepScaling;
    const skip = dataVariance / (time * time + dataVariance);
    const out = time / Math.sqrt(time * time + dataVariance);
    return weightedSum([out, await denoise(x, sigma)], [skip / Math.sqrt(sigma * sigma + 1), x]);
  };
}

/** c_in x: what the network sees, of variance 1. */
function scaleInput(x: FloatTensor, sigma: Sigma): FloatTensor {
  return weightedSum([1 / Math.sqrt(sigma * sigma + 1), x]);
}
