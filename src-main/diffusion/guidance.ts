// Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): away from the unconditional prediction, toward the
// conditional one; with the optional rescale of Lin et al. 2023 (arXiv:2305.08891, §3.4), which keeps a zero-terminal-SNR
// model from over-exposing. Acts on what the network predicts (noise or v), as diffusers does.
import { elementCount } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { Network } from './denoiser.ts';
import type { Timestep } from './noise-schedule.ts';
import { weightedSum } from './weighted-sum.ts';

/** `conditional` follows the prompt, `unconditional` the negative prompt. */
export type Branch = 'conditional' | 'unconditional';

/**
 * Runs the network once per named branch and returns the predictions in that order. It may do so in one batch of twice
 * the size or in two calls: guidance does not care.
 */
export type BranchNetwork = (
  scaled: FloatTensor,
  timestep: Timestep,
  branches: readonly Branch[],
) => Promise<readonly FloatTensor[]>;

export interface GuidanceOptions {
  /** How far to go: 1 follows the prompt alone and never runs the unconditional branch. */
  readonly scale: number;
  /** phi, 0..1: how much of the conditional prediction's contrast to restore. 0 (default) is plain guidance. */
  readonly rescale?: number;
}

/** A network guided by `scale`. Throws an Error when `predict` returns another number of predictions than asked. */
export function guided(predict: BranchNetwork, { scale, rescale = 0 }: GuidanceOptions): Network {
  const branches: readonly Branch[] = scale === 1 ? ['conditional'] : ['conditional', 'unconditional'];
  return async (scaled, timestep) => {
    const predictions = await predict(scaled, timestep, branches);
    if (predictions.length !== branches.length) {
      throw new Error(
        `Guidance asked for ${branches.join(' and ')}, the network returned ${predictions.length} predictions.`,
      );
    }
    const [conditional, unconditional] = predictions as readonly [FloatTensor, FloatTensor | undefined];
    if (unconditional === undefined) return conditional;
    const mixed = weightedSum([scale, conditional], [1 - scale, unconditional]);
    return rescale === 0 ? mixed : restoreContrast(mixed, conditional, rescale);
  };
}

/** Lin et al. 2023, Eq. 15-16: per image, phi * mixed * std(conditional) / std(mixed) + (1 - phi) * mixed. */
function restoreContrast(mixed: FloatTensor, conditional: FloatTensor, phi: number): FloatTensor {
  const size = elementCount(mixed.shape.slice(1));
  const out = new Float32Array(mixed.data.length);
  for (let start = 0; start < out.length; start += size) {
    const image = mixed.data.subarray(start, start + size);
    const ratio = deviation(conditional.data.subarray(start, start + size)) / deviation(image);
    const factor = phi * ratio + 1 - phi;
    for (let i = 0; i < size; i++) out[start + i] = factor * image[i]!;
  }
  return floatTensor(mixed.shape, out);
}

function deviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}
