// The losses of gate and LoRA training, as pieces of graph. L = L_denoise + alpha L_balance (arXiv:2404.13628, Eq. 16), with a
// balance loss that has a gradient: the authors' released code takes it of detached copies, where it teaches nothing.
import type { GraphBuilder } from '../graph/builder.ts';
import type { Value } from '../graph/ir.ts';

/**
 * Noise prediction on reference images (Ho et al. 2020, arXiv:2006.11239, Eq. 14): the mean over batch, channels and positions of
 * weight (prediction - target)^2. `prediction` and `target` [B, C, H, W], `weight` [B, 1, 1, 1] (min-SNR or ones). A scalar.
 */
export function denoiseLoss(b: GraphBuilder, prediction: Value, target: Value, weight: Value): Value {
  const error = b.Sub(prediction, target);
  return b.ReduceMean(b.Mul(b.Mul(error, error), weight), [0, 1, 2, 3], false);
}

/**
 * Eq. 14-15: -log prod_i q_i, q_i the mean gate of expert i over the batch and all M groups. `gates` [B, M, N], each summing to
 * 1. Smallest, N log N, where all experts are heard alike on average, whatever single groups do. A scalar.
 */
export function balanceLoss(b: GraphBuilder, gates: Value): Value {
  const q = b.ReduceMean(gates, [0, 1], false); // [N]
  return b.Neg(b.ReduceSum(b.Log(q), [0], false));
}
