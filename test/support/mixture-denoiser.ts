// The exact denoiser of a mixture of Gaussians: a "network" with a known answer, the same as in test/golden/samplers.py.
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import type { Denoiser } from '../../src-main/diffusion/denoiser.ts';
import type { Sigma } from '../../src-main/diffusion/noise-schedule.ts';

const variance = 0.3 ** 2;

/**
 * Posterior mean of x0 given x = x0 + sigma * noise, for x0 drawn from Gaussians of deviation 0.3 about `means` [K, ...S].
 * x: [B, ...S].
 */
export function mixtureDenoise(means: FloatTensor, x: FloatTensor, sigma: Sigma): FloatTensor {
  const count = means.shape[0]!;
  const size = means.data.length / count;
  const total = variance + sigma * sigma;
  const out = new Float32Array(x.data.length);
  for (let start = 0; start < out.length; start += size) {
    const logits = Array.from({ length: count }, (_, k) => {
      let distance = 0;
      for (let i = 0; i < size; i++) distance += (x.data[start + i]! - means.data[k * size + i]!) ** 2;
      return -distance / (2 * total);
    });
    const weights = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
    const weightSum = weights.reduce((a, b) => a + b);
    for (let i = 0; i < size; i++) {
      const mean = weights.reduce((sum, weight, k) => sum + weight * means.data[k * size + i]!, 0) / weightSum;
      out[start + i] = (mean * sigma * sigma + x.data[start + i]! * variance) / total;
    }
  }
  return floatTensor(x.shape, out);
}

/** `mixtureDenoise` as the samplers take it. */
export function mixtureDenoiser(means: FloatTensor): Denoiser {
  return (x, sigma) => Promise.resolve(mixtureDenoise(means, x, sigma));
}
