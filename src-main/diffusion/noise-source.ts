// Where a run's randomness comes from: its starting latent, and an independent source of step noise. The Brownian source
// that the SDE samplers prefer is in brownian-tree.ts.
import { stack, type TorchGenerator } from '../tensor/random.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor } from '../tensor/tensor.ts';
import type { Sigma } from './noise-schedule.ts';
import type { NoiseSource } from './samplers/sampler.ts';
import { weightedSum } from './weighted-sum.ts';

/**
 * Fresh normals at each call, image i from generators[i], `shape` [C, H, W]. Pass the generators that drew the starting
 * noise: step noise then continues each image's own stream, which is what A1111 does (RNG: CPU), so a picture does not
 * depend on the batch it was made in.
 */
export function independentNoise(generators: readonly TorchGenerator[], shape: Shape): NoiseSource {
  return () =>
    stack(
      generators.map((generator) => generator.randn(shape)),
      shape,
    );
}

/**
 * How a run from pure noise scales it. `sigma`: noise * sigma, as k-diffusion and A1111 do. `unit-variance`:
 * noise * sqrt(sigma^2 + 1), so that the network sees the noise itself, as DDPM, DDIM, UniPC and LCM in diffusers.
 */
export type StartScale = 'sigma' | 'unit-variance';

/** The state a run from pure noise starts from. [B, C, H, W] */
export function startFromNoise(noise: FloatTensor, sigma: Sigma, scale: StartScale): FloatTensor {
  return weightedSum([scale === 'sigma' ? sigma : Math.sqrt(sigma * sigma + 1), noise]);
}

/** The state an image-to-image run starts from: latent + sigma * noise. [B, C, H, W] */
export function startFromLatent(latent: FloatTensor, noise: FloatTensor, sigma: Sigma): FloatTensor {
  return weightedSum([1, latent], [sigma, noise]);
}
