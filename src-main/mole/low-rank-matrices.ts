// Factors of a layer as plain matrices, whatever its kind: a convolution is the matrix over its unfolded input patches,
// delta [out, in k k] = up [out, r] down [r, in k k].
import { showShape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { rankOf, type LowRank } from './expert.ts';

/** [r, in], or [r, in k k] of a convolution; shares the data. */
export function downMatrix(layer: LowRank): FloatTensor {
  const { inFeatures, kernel } = layer.module;
  return floatTensor([rankOf(layer), inFeatures * kernel * kernel], layer.down.data);
}

/** [out, r]; shares the data. */
export function upMatrix(layer: LowRank): FloatTensor {
  return floatTensor([layer.module.outFeatures, rankOf(layer)], layer.up.data);
}

/** The shape that the module's kind asks of a down-projection of rank r: [r, in] or [r, in, k, k]. */
export function downShape({ module }: LowRank, rank: number): readonly number[] {
  const { kind, inFeatures, kernel } = module;
  return kind === 'conv' ? [rank, inFeatures, kernel, kernel] : [rank, inFeatures];
}

/** All up-projections side by side: [out, R]. */
export function stackUp(layers: readonly LowRank[]): FloatTensor {
  const rows = layers[0]!.module.outFeatures;
  const ranks = layers.reduce((sum, layer) => sum + rankOf(layer), 0);
  const data = new Float32Array(rows * ranks);
  let start = 0;
  for (const layer of layers) {
    const rank = rankOf(layer);
    for (let o = 0; o < rows; o++) data.set(layer.up.data.subarray(o * rank, (o + 1) * rank), o * ranks + start);
    start += rank;
  }
  return floatTensor([rows, ranks], data);
}

/** All down-projections under one another: [R, in], or [R, in k k] of a convolution. */
export function stackDown(layers: readonly LowRank[]): FloatTensor {
  const { inFeatures, kernel } = layers[0]!.module;
  const ranks = layers.reduce((sum, layer) => sum + rankOf(layer), 0);
  const data = new Float32Array(ranks * inFeatures * kernel * kernel);
  let start = 0;
  for (const { down } of layers) {
    data.set(down.data, start);
    start += down.data.length;
  }
  return floatTensor([ranks, inFeatures * kernel * kernel], data);
}

/** Throws a RangeError unless there is a layer and all are of one module, as every merge needs. */
export function checkOneModule(name: string, layers: readonly LowRank[]): void {
  const first = layers[0]?.module;
  if (first === undefined) throw new RangeError(`${name} needs the factors of one expert or more, got none.`);
  for (const { module, down, up } of layers) {
    if (module.name !== first.name || module.network !== first.network) {
      throw new RangeError(`${name} needs layers of one module, got ${first.name} and ${module.name}.`);
    }
    const area = first.inFeatures * first.kernel * first.kernel;
    const rank = down.shape[0]!;
    if (down.data.length !== rank * area || up.data.length !== rank * first.outFeatures) {
      throw new RangeError(
        `${name} needs factors [${first.outFeatures}, r] and [r, ${area}] of ${first.name}, got ` +
          `${showShape(up.shape)} and ${showShape(down.shape)}.`,
      );
    }
  }
}
