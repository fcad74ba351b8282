// Every parameter that a network of a given config needs, by Hugging Face name, with its shape. It is what a checkpoint is
// checked against before a graph is built, so that a user learns of all missing tensors at once, and what memory
// estimates count. The witnesses are the name lists of diffusers and transformers.
import { elementCount, sameShape, showShape } from '../tensor/shape.ts';
import type { AutoencoderConfig, ClipTextConfig, ClipVisionConfig, UNetConfig } from './configs.ts';
import type { WeightSource } from './weight-names.ts';

/** Shapes by Hugging Face parameter name. */
export type ParameterShapes = ReadonlyMap<string, readonly number[]>;

class ShapeList {
  readonly shapes = new Map<string, readonly number[]>();

  add(name: string, shape: readonly number[]): void {
    this.shapes.set(name, shape);
  }
  linear(name: string, inFeatures: number, outFeatures: number, bias = true): void {
    this.add(`${name}.weight`, [outFeatures, inFeatures]);
    if (bias) this.add(`${name}.bias`, [outFeatures]);
  }
  conv(name: string, inChannels: number, outChannels: number, kernel = 3): void {
    this.add(`${name}.weight`, [outChannels, inChannels, kernel, kernel]);
    this.add(`${name}.bias`, [outChannels]);
  }
  norm(name: string, width: number): void {
    this.add(`${name}.weight`, [width]);
    this.add(`${name}.bias`, [width]);
  }
  /** A layer of either half of CLIP. */
  clipLayer(name: string, width: number, inner: number): void {
    for (const part of ['q', 'k', 'v', 'out']) this.linear(`${name}.self_attn.${part}_proj`, width, width);
    this.norm(`${name}.layer_norm1`, width);
    this.linear(`${name}.mlp.fc1`, width, inner);
    this.linear(`${name}.mlp.fc2`, inner, width);
    this.norm(`${name}.layer_norm2`, width);
  }
  /** A residual block; `time` is the width of the time embedding, undefined where there is none. */
  resnet(name: string, inChannels: number, outChannels: number, time?: number): void {
    this.norm(`${name}.norm1`, inChannels);
    this.conv(`${name}.conv1`, inChannels, outChannels);
    if (time !== undefined) this.linear(`${name}.time_emb_proj`, time, outChannels);
    this.norm(`${name}.norm2`, outChannels);
    this.conv(`${name}.conv2`, outChannels, outChannels);
    if (inChannels !== outChannels) this.conv(`${name}.conv_shortcut`, inChannels, outChannels, 1);
  }
}

/** Parameters of `clipText(config)`. */
export function clipTextParameters(config: ClipTextConfig): ParameterShapes {
  const list = new ShapeList();
  const [width, inner] = [config.hiddenSize, config.intermediateSize];
  list.add('text_model.embeddings.token_embedding.weight', [config.vocabSize, width]);
  list.add('text_model.embeddings.position_embedding.weight', [config.maxPositionEmbeddings, width]);
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    list.clipLayer(`text_model.encoder.layers.${layer}`, width, inner);
  }
  list.norm('text_model.final_layer_norm', width);
  return list.shapes;
}

/** Parameters of `clipVision(config)`. */
export function clipVisionParameters(config: ClipVisionConfig, projectionDim: number): ParameterShapes {
  const list = new ShapeList();
  const { hiddenSize: width, intermediateSize: inner, imageSize, patchSize } = config;
  list.add('vision_model.embeddings.class_embedding', [width]);
  list.add('vision_model.embeddings.patch_embedding.weight', [width, 3, patchSize, patchSize]);
  list.add('vision_model.embeddings.position_embedding.weight', [(imageSize / patchSize) ** 2 + 1, width]);
  list.norm('vision_model.pre_layrnorm', width);
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    list.clipLayer(`vision_model.encoder.layers.${layer}`, width, inner);
  }
  list.norm('vision_model.post_layernorm', width);
  list.linear('visual_projection', width, projectionDim, false);
  return list.shapes;
}

/** Parameters of `unet(config)`. */
export function unetParameters(config: UNetConfig): ParameterShapes {
  const list = new ShapeList();
  const channels = config.blockOutChannels;
  const [first, top] = [channels[0]!, channels.length - 1];
  const time = first * 4;
  const transformer = (name: string, width: number): void => {
    list.norm(`${name}.norm`, width);
    for (const part of ['proj_in', 'proj_out']) {
      if (config.useLinearProjection) list.linear(`${name}.${part}`, width, width);
      else list.conv(`${name}.${part}`, width, width, 1);
    }
    const block = `${name}.transformer_blocks.0`;
    for (const part of ['norm1', 'norm2', 'norm3']) list.norm(`${block}.${part}`, width);
    for (const [part, context] of [
      ['attn1', width],
      ['attn2', config.crossAttentionDim],
    ] as const) {
      list.linear(`${block}.${part}.to_q`, width, width, false);
      list.linear(`${block}.${part}.to_k`, context, width, false);
      list.linear(`${block}.${part}.to_v`, context, width, false);
      list.linear(`${block}.${part}.to_out.0`, width, width);
    }
    list.linear(`${block}.ff.net.0.proj`, width, width * 8);
    list.linear(`${block}.ff.net.2`, width * 4, width);
  };

  list.linear('time_embedding.linear_1', first, time);
  list.linear('time_embedding.linear_2', time, time);
  list.conv('conv_in', config.inChannels, first);
  const skips = [first];
  let width = first;
  config.downBlockTypes.forEach((type, level) => {
    for (let j = 0; j < config.layersPerBlock; j++) {
      list.resnet(`down_blocks.${level}.resnets.${j}`, width, channels[level]!, time);
      width = channels[level]!;
      if (type === 'CrossAttnDownBlock2D') transformer(`down_blocks.${level}.attentions.${j}`, width);
      skips.push(width);
    }
    if (level === top) return;
    list.conv(`down_blocks.${level}.downsamplers.0.conv`, width, width);
    skips.push(width);
  });
  list.resnet('mid_block.resnets.0', width, width, time);
  transformer('mid_block.attentions.0', width);
  list.resnet('mid_block.resnets.1', width, width, time);
  config.upBlockTypes.forEach((type, i) => {
    const out = channels[top - i]!;
    for (let j = 0; j < config.layersPerBlock + 1; j++) {
      list.resnet(`up_blocks.${i}.resnets.${j}`, width + skips.pop()!, out, time);
      width = out;
      if (type === 'CrossAttnUpBlock2D') transformer(`up_blocks.${i}.attentions.${j}`, width);
    }
    if (i < top) list.conv(`up_blocks.${i}.upsamplers.0.conv`, width, width);
  });
  list.norm('conv_norm_out', first);
  list.conv('conv_out', first, config.outChannels);
  return list.shapes;
}

/** Parameters of `vaeEncoder(config)` or `vaeDecoder(config)`. */
export function vaeParameters(config: AutoencoderConfig, part: 'encoder' | 'decoder'): ParameterShapes {
  const list = new ShapeList();
  const encoder = part === 'encoder';
  const channels = encoder ? config.blockOutChannels : [...config.blockOutChannels].reverse();
  const latents = config.latentChannels;
  let width = channels[0]!;
  const middle = (): void => {
    list.resnet(`${part}.mid_block.resnets.0`, width, width);
    list.norm(`${part}.mid_block.attentions.0.group_norm`, width);
    for (const name of ['to_q', 'to_k', 'to_v', 'to_out.0']) {
      list.linear(`${part}.mid_block.attentions.0.${name}`, width, width);
    }
    list.resnet(`${part}.mid_block.resnets.1`, width, width);
  };
  if (!encoder) list.conv('post_quant_conv', latents, latents, 1);
  list.conv(`${part}.conv_in`, encoder ? config.inChannels : latents, width);
  if (!encoder) middle();
  channels.forEach((out, level) => {
    const block = encoder ? `encoder.down_blocks.${level}` : `decoder.up_blocks.${level}`;
    for (let j = 0; j < config.layersPerBlock + (encoder ? 0 : 1); j++) {
      list.resnet(`${block}.resnets.${j}`, width, out);
      width = out;
    }
    if (level < channels.length - 1) list.conv(`${block}.${encoder ? 'down' : 'up'}samplers.0.conv`, width, width);
  });
  if (encoder) middle();
  list.norm(`${part}.conv_norm_out`, width);
  list.conv(`${part}.conv_out`, width, encoder ? latents * 2 : config.outChannels);
  if (encoder) list.conv('quant_conv', latents * 2, latents * 2, 1);
  return list.shapes;
}

/** Number of parameters of all shapes together. */
export function parameterCount(shapes: ParameterShapes): number {
  let count = 0;
  for (const shape of shapes.values()) count += shape.reduce((product, size) => product * size, 1);
  return count;
}

/** Parameters of `taesdDecoder` (64 channels wide), under the indices of its Sequential. */
export function taesdDecoderParameters(): ParameterShapes {
  const list = new ShapeList();
  list.conv('1', 4, 64);
  for (const block of [3, 4, 5, 8, 9, 10, 13, 14, 15, 18]) {
    for (const part of [0, 2, 4]) list.conv(`${block}.conv.${part}`, 64, 64);
  }
  for (const upsampled of [7, 12, 17]) list.add(`${upsampled}.weight`, [64, 64, 3, 3]);
  list.conv('19', 64, 3);
  return list.shapes;
}

/** What of `expected` a source lacks, and what it has in another shape (axes of size 1 do not count). */
export function checkWeights(
  source: WeightSource,
  expected: ParameterShapes,
): { readonly missing: readonly string[]; readonly misshapen: readonly string[] } {
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const [name, shape] of expected) {
    if (!source.has(name)) missing.push(name);
    else if (!alike(source.ref(name).shape, shape)) {
      misshapen.push(`${name} ${showShape(source.ref(name).shape)} instead of ${showShape(shape)}`);
    }
  }
  return { missing, misshapen };
}

function alike(a: readonly number[], b: readonly number[]): boolean {
  const long = (shape: readonly number[]): readonly number[] => shape.filter((size) => size !== 1);
  return elementCount(a) === elementCount(b) && sameShape(long(a), long(b));
}
