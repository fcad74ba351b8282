// The golden LoRA files of test/golden/experts.py, read as the program reads them, and dense deltas to compare with.
import { readdirSync } from 'node:fs';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';
import type { LowRank } from '../../src-main/mole/expert.ts';
import type { AdapterTarget } from '../../src-main/networks/lora-targets.ts';
import { textEncoderModules, unetModules } from '../../src-main/networks/modules.ts';
import { sd1TextConfig, sd1UNetConfig } from '../../src-main/networks/sd-configs.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';

const data = new URL('../golden/data/experts/', import.meta.url);

/** Path of test/golden/data/experts/`name`. */
export const goldenExpert = (name: string): string => new URL(name, data).pathname;

/** Names of the LoRA files of tiny-sd1. */
export const goldenExperts: readonly string[] = readdirSync(new URL('tiny-sd1/', data))
  .filter((name) => name.endsWith('.safetensors') && !/^(inputs|outputs|deltas)\./.test(name))
  .map((name) => name.replace('.safetensors', ''));

const small = { vocabSize: 512, hiddenSize: 32, intermediateSize: 64, numHiddenLayers: 3, numAttentionHeads: 4 };
/** The configs of tiny-sd1 and tiny-sd2, as their config.json files have them. */
export const tinyConfigs = {
  'tiny-sd1': {
    textEncoder: { ...sd1TextConfig, ...small },
    unet: {
      ...sd1UNetConfig,
      sampleSize: 16,
      crossAttentionDim: 32,
      normNumGroups: 8,
      blockOutChannels: [16, 32, 32],
      layersPerBlock: 1,
      numAttentionHeads: [4, 4, 4],
      downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
      upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
    },
  },
  'tiny-sd2': {
    textEncoder: { ...sd1TextConfig, ...small, hiddenAct: 'gelu' },
    unet: {
      ...sd1UNetConfig,
      sampleSize: 16,
      crossAttentionDim: 32,
      normNumGroups: 8,
      blockOutChannels: [16, 32],
      layersPerBlock: 2,
      numAttentionHeads: [2, 4],
      useLinearProjection: true,
      downBlockTypes: ['CrossAttnDownBlock2D', 'DownBlock2D'],
      upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D'],
    },
  },
} as const;

/** What adapters are matched against. */
export function targetOf({ unet, textEncoder }: (typeof tinyConfigs)[keyof typeof tinyConfigs]): AdapterTarget {
  return { unet: unetModules(unet), textEncoder: textEncoderModules(textEncoder), unetConfig: unet };
}

/** Stable Diffusion 1.5. */
export const sd15Target: AdapterTarget = {
  unet: unetModules(sd1UNetConfig),
  textEncoder: textEncoderModules(sd1TextConfig),
  unetConfig: sd1UNetConfig,
};

/** One tensor, whole numbers too, as float32. */
export async function readFloats(ref: TensorRef): Promise<FloatTensor> {
  const tensor = await readTensor(ref);
  return tensor.dtype === 'float32' ? tensor : floatTensor(tensor.shape, Float32Array.from(tensor.data, Number));
}

/** Tensors of a file as float32, by name. */
export async function readAll(file: string): Promise<ReadonlyMap<string, FloatTensor>> {
  const { tensors } = await readSafetensorsHeader(file);
  const read = new Map<string, FloatTensor>();
  for (const [name, ref] of tensors) read.set(name, await readFloats(ref));
  return read;
}

/** up down [out, in k k], in float64. */
export function denseDelta({ up, down }: Pick<LowRank, 'up' | 'down'>): Float64Array {
  const [out, rank] = [up.shape[0]!, up.shape[1]!];
  const width = down.data.length / rank;
  const delta = new Float64Array(out * width);
  for (let o = 0; o < out; o++) {
    for (let r = 0; r < rank; r++) {
      const value = up.data[o * rank + r]!;
      for (let i = 0; i < width; i++) delta[o * width + i]! += value * down.data[r * width + i]!;
    }
  }
  return delta;
}

/** A header entry of this shape, of which no byte is read. */
export const refOf = (shape: readonly number[], dtype: TensorRef['dtype'] = 'float16'): TensorRef => ({
  file: 'lora.safetensors',
  dtype,
  shape,
  offset: 0,
  length: 0,
});
