// NP-LoRA (arXiv:2511.11051): the content LoRA is projected off the style LoRA's subspace before the two are added,
//   delta = dW_s + dW_c (I - mu / (1 + mu) V V^T),  dW_s = U S V^T,
// where V [in, r] are the right singular vectors with a value above 0: the input side. Version 1 has the hard projection so
// (Eq. 10-11) and prefers V to U (supplement IX), but prints the soft one as P dW_c, which fits square layers only; as others
// quote it, Eq. 12 of version 3 puts P on the right for both. More than two experts are our extension: each is projected off
// the joint span of all before it, which minimises |X - dW_i|^2 + mu |X Q|^2 for Q an orthonormal basis of that span.
import { lowRankSvd, matmul, transpose } from '../tensor/linear-algebra.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { LowRank } from './expert.ts';
import { checkOneModule, downMatrix, upMatrix } from './low-rank-matrices.ts';

/** Strength that the paper uses throughout (section V-A). 0 is the plain sum, Infinity the hard projection. */
export const npStrength = 0.5;

/**
 * Directions whose singular value is below this share of the norm of the expert's delta are rounding, not style. A layer
 * that was never trained (up = 0) protects nothing, although its down-projection spans something.
 */
const roundingShare = 1e-5;

/**
 * Factors of one module, the first expert's unchanged, every later one's `down` projected off the span of those before:
 * down' = down (I - mu / (1 + mu) Q Q^T). Ranks stay, so the results are fed, weighted and masked like any expert. A weight
 * does not change the span that an expert protects; leave silent experts out. Throws a RangeError when `mu` is below 0 or
 * not a number, when a factor that protects is not finite, and when the layers are of different modules.
 */
export function npMerge(layers: readonly LowRank[], mu: number = npStrength): readonly LowRank[] {
  if (!(mu >= 0)) throw new RangeError(`NP-LoRA needs a strength mu from 0 on, got ${mu}.`);
  checkOneModule('NP-LoRA', layers);
  const share = mu === Infinity ? 1 : mu / (1 + mu);
  const bases: FloatTensor[] = []; // [in, *] each, orthonormal together
  return layers.map((layer, i) => {
    const down = downMatrix(layer);
    const soft = offSpan(down, bases, share);
    if (i + 1 < layers.length) {
      // The rows of dW (I - Q Q^T) span what this expert adds to Q.
      bases.push(rightDirections(upMatrix(layer), offSpan(down, bases, 1), normOf(upMatrix(layer), down)));
    }
    return { ...layer, down: floatTensor(layer.down.shape, soft.data) };
  });
}

/** down (I - share Q Q^T), Q being all `bases` side by side. */
function offSpan(down: FloatTensor, bases: readonly FloatTensor[], share: number): FloatTensor {
  const rest = down.data.slice();
  for (const basis of bases) {
    const inside = matmul(matmul(down, basis), transpose(basis)); // down Q Q^T
    for (let i = 0; i < rest.length; i++) rest[i]! -= share * inside.data[i]!;
  }
  return floatTensor(down.shape, rest);
}

/** Right singular vectors [in, k] of up down whose value is no rounding beside `norm`. */
function rightDirections(up: FloatTensor, down: FloatTensor, norm: number): FloatTensor {
  const { s, v } = lowRankSvd(up, down);
  const kept = s.filter((value) => value > roundingShare * norm).length;
  const [rows, all] = [v.shape[0]!, s.length];
  const data = new Float32Array(rows * kept);
  for (let i = 0; i < rows; i++) data.set(v.data.subarray(i * all, i * all + kept), i * kept);
  return floatTensor([rows, kept], data);
}

/** |up down|, Frobenius: the square is trace(up^T up down down^T). */
function normOf(up: FloatTensor, down: FloatTensor): number {
  const [left, right] = [matmul(transpose(up), up), matmul(down, transpose(down))];
  return Math.sqrt(
    Math.max(
      0,
      left.data.reduce((sum, value, i) => sum + value * right.data[i]!, 0),
    ),
  );
}
