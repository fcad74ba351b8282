// Where a run's randomness comes from: the starting latent and the noise of its steps.
import { stack, type TorchGenerator } from '../tensor/random.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor } from '../tensor/tensor.ts';
import { brownianNoise } from './brownian-tree.ts';
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

/** What step noise is drawn for: one run of a batch. */
export interface NoiseRun {
  /** One seed per image, from 0 on. */
  readonly seeds: readonly (bigint | number)[];
  /** The generators that drew the starting noise (see `batchNoise`). */
  readonly generators: readonly TorchGenerator[];
  /** [C, H, W] of one image. */
  readonly shape: Shape;
  /** The whole schedule, also when image-to-image runs only its end: A1111 spans the Brownian path over all of it. */
  readonly sigmas: Float64Array;
}

/** The source a sampler's registry entry asks for. `none` gets an independent one, which it never calls. */
export function stepNoise(kind: 'none' | 'independent' | 'brownian', run: NoiseRun): NoiseSource {
  if (kind !== 'brownian') return independentNoise(run.generators, run.shape);
  const above0 = run.sigmas.filter((sigma) => sigma > 0);
  let path: NoiseSource | undefined;
  // Begun at the first question: a run of one step asks none, and has no interval to span.
  return (sigma, sigmaNext) => {
    path ??= brownianNoise(run.seeds, run.shape, above0.at(-1)!, above0[0]!);
    return path(sigma, sigmaNext);
  };
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
