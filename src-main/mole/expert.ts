// An expert: one trained LoRA as low-rank factors per layer, whatever file it came from. Hu et al. 2021
// (https://arxiv.org/abs/2106.09685): W' = W + up down, here with every scale of the file (alpha / rank) inside `up`.
import type { ExpertNetwork, NetworkModule } from '../networks/modules.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';

/** delta W of one layer as a product of rank r: delta = up down. */
export interface LowRank {
  readonly module: NetworkModule;
  /** Linear layers [r, in]; convolutions [r, in, k, k], with the stride and padding of the layer itself. */
  readonly down: FloatTensor;
  /** [out, r]; a convolution's is 1x1. The file's alpha / rank is already multiplied in. */
  readonly up: FloatTensor;
  /** Share of the squared Frobenius norm of the file's delta that the product leaves out, 0..1. 0 where it is exact. */
  readonly residualEnergy: number;
}

export interface Expert {
  /** File name without its ending. */
  readonly name: string;
  /** Hex SHA-256 of the whole file: what gate files and recipes know it by. */
  readonly sha256: string;
  /** A1111's hash of a LoRA, 12 hex digits, where known: how picture metadata names it. */
  readonly shortHash?: string;
  /** By module name, per network. */
  readonly layers: Readonly<Record<ExpertNetwork, ReadonlyMap<string, LowRank>>>;
}

/** r of a layer. */
export function rankOf({ down }: LowRank): number {
  return down.shape[0]!;
}

/** `layer` at the rank of `like`, a factorisation of the same layer with no smaller rank: zeros add nothing. Undefined is nothing at all. */
export function atRankOf(like: LowRank, layer: LowRank | undefined): LowRank {
  const rank = rankOf(like);
  const own = layer === undefined ? 0 : rankOf(layer);
  if (layer !== undefined && own === rank) return layer;
  const down = floatTensor(like.down.shape);
  const up = floatTensor(like.up.shape);
  if (layer !== undefined) {
    down.data.set(layer.down.data);
    for (let row = 0; row < up.shape[0]!; row++) {
      up.data.set(layer.up.data.subarray(row * own, (row + 1) * own), row * rank);
    }
  }
  return { module: like.module, down, up, residualEnergy: layer?.residualEnergy ?? 0 };
}
