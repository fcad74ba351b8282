// Several experts of one module as one: sum_i c_i up_i down_i is the product of up-projections side by side and
// down-projections under one another, which is exact and has the sum of the ranks; cut to fewer by the best approximation of
// that rank in the Frobenius norm (Eckart & Young 1936, doi:10.1007/BF02288367). A baked LoRA is made of these.
import { lowRankSvd } from '../tensor/linear-algebra.ts';
import { floatTensor } from '../tensor/tensor.ts';
import { rankOf, type LowRank } from './expert.ts';
import { checkOneModule, downShape, stackDown, stackUp, upMatrix } from './low-rank-matrices.ts';

export interface WeightedLayer {
  readonly layer: LowRank;
  /** c: strength times mean gate; any sign. */
  readonly coefficient: number;
}

/**
 * [up_1 c_1 | up_2 c_2 ...] [down_1; down_2; ...], experts of coefficient 0 left out. With a `rank` below the sum of ranks, the
 * best approximation of that rank, its singular values shared evenly between both factors; `residualEnergy` is then what the
 * cut leaves out of this sum, whatever the experts' own files had already lost. Throws a RangeError when the layers are of
 * different modules, when a coefficient is not finite, and when the rank is not a whole number from 1 on.
 */
export function compress(parts: readonly WeightedLayer[], rank?: number): LowRank {
  checkOneModule(
    'A baked layer',
    parts.map(({ layer }) => layer),
  );
  if (rank !== undefined && (!Number.isInteger(rank) || rank < 1)) {
    throw new RangeError(`A baked layer needs a rank from 1 on, got ${rank}.`);
  }
  const scaled = parts.flatMap(({ layer, coefficient }) => {
    if (!Number.isFinite(coefficient)) throw new RangeError(`A coefficient is a finite number, got ${coefficient}.`);
    if (coefficient === 0) return [];
    const up = floatTensor(
      upMatrix(layer).shape,
      layer.up.data.map((value) => coefficient * value),
    );
    return [{ ...layer, up }];
  });
  const first = parts[0]!.layer;
  const { module } = first;
  if (scaled.length === 0) {
    return {
      module,
      down: floatTensor(downShape(first, 0)),
      up: floatTensor([module.outFeatures, 0]),
      residualEnergy: 0,
    };
  }
  const [up, down] = [stackUp(scaled), stackDown(scaled)];
  const ranks = scaled.reduce((sum, layer) => sum + rankOf(layer), 0);
  if (rank === undefined || rank >= ranks) {
    return { module, down: floatTensor(downShape(first, ranks), down.data), up, residualEnergy: 0 };
  }
  const { u, s, v, residualEnergy } = lowRankSvd(up, down, rank);
  const root = s.map(Math.sqrt);
  const kept = s.length;
  const width = down.shape[1]!;
  const cut = new Float32Array(kept * width); // sqrt(s) v^T: [k, in k k]
  for (let i = 0; i < width; i++) for (let r = 0; r < kept; r++) cut[r * width + i] = root[r]! * v.data[i * kept + r]!;
  return {
    module,
    down: floatTensor(downShape(first, kept), cut),
    up: floatTensor(
      u.shape,
      u.data.map((value, i) => value * root[i % kept]!),
    ),
    residualEnergy,
  };
}
