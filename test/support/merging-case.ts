// The experts of test/golden/merging.py, and deltas as the matrices that they stand for.
import type { LowRank } from '../../src-main/mole/expert.ts';
import { downMatrix, upMatrix } from '../../src-main/mole/low-rank-matrices.ts';
import type { NetworkModule } from '../../src-main/networks/modules.ts';
import { matmul } from '../../src-main/tensor/linear-algebra.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { readGolden } from './read-golden.ts';

export const golden = readGolden('merging/cases.safetensors');

export const linear: NetworkModule = {
  network: 'unet',
  name: 'mid_block.attentions.0.proj_in',
  kind: 'linear',
  inFeatures: 12,
  outFeatures: 10,
  kernel: 1,
  stride: 1,
  padding: 0,
};

/** As wide as `linear`: 3 channels, patches of 2x2. */
export const conv: NetworkModule = { ...linear, name: 'conv_in', kind: 'conv', inFeatures: 3, kernel: 2 };

export const layer = (up: FloatTensor, down: FloatTensor, module = linear): LowRank => ({
  module,
  up,
  down,
  residualEnergy: 0,
});

export const experts: readonly LowRank[] = [0, 1, 2].map((i) => layer(golden(`up/${i}`), golden(`down/${i}`)));

/** The same numbers as a convolution's. */
export const asConv = ({ up, down }: LowRank): LowRank =>
  layer(up, floatTensor([down.shape[0]!, 3, 2, 2], down.data), conv);

export const randn = (seed: number, ...shape: number[]): FloatTensor => new TorchGenerator(seed).randn(shape);

/** [out, in k k]. */
export const delta = (one: LowRank): FloatTensor => matmul(upMatrix(one), downMatrix(one));

export const sum = (tensors: readonly FloatTensor[]): FloatTensor =>
  floatTensor(
    tensors[0]!.shape,
    tensors[0]!.data.map((_, i) => tensors.reduce((total, { data }) => total + data[i]!, 0)),
  );

export const scale = (tensor: FloatTensor, factor: number): FloatTensor =>
  floatTensor(
    tensor.shape,
    tensor.data.map((value) => factor * value),
  );
