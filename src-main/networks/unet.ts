// The conditional UNet of latent diffusion (Rombach et al. 2022, https://arxiv.org/abs/2112.10752), as diffusers'
// UNet2DConditionModel names its parts: resnets that read the time, transformers that read the text, skips across.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import type { UNetConfig } from './configs.ts';
import {
  attention,
  groupNorm,
  layerNorm,
  plainLayers,
  silu,
  sinusoids,
  type AttentionForm,
  type LayerFactory,
  type NetworkContext,
} from './layers.ts';

export interface UNetOptions {
  readonly ref: (name: string) => TensorRef;
  /** Latent height and width: pixels / 8. */
  readonly height: number;
  readonly width: number;
  /** T of the text states: 77 times the number of prompt chunks. */
  readonly textTokens: number;
  readonly attention: AttentionForm;
  readonly layers?: LayerFactory;
}

/**
 * Graph: `sample` [B, C, H, W], `timestep` [B], `encoder_hidden_states` [B, T, D] -> `out_sample` [B, C, H, W], the
 * noise or v prediction. All float32. Throws when a tensor is missing or misshapen.
 */
export function unet(config: UNetConfig, options: UNetOptions): Graph {
  const b = new GraphBuilder('unet');
  const network: NetworkContext = {
    builder: b,
    ref: options.ref,
    layers: options.layers ?? plainLayers,
    attention: options.attention,
  };
  const sample = b.input('sample', ['B', config.inChannels, options.height, options.width]);
  const timestep = b.input('timestep', ['B']);
  const text = b.input('encoder_hidden_states', ['B', options.textTokens, config.crossAttentionDim]);
  network.layers.begin?.(network, { timestep });

  const channels = config.blockOutChannels;
  const time = b.scope('time', () => silu(b, timeEmbedding(network, timestep, config)));
  const conv = (x: Value, name: string, inChannels: number, outChannels: number, stride = 1): Value =>
    network.layers.conv(network, x, name, { inChannels, outChannels, kernel: 3, padding: 1, stride });
  const resnet = (x: Value, name: string, outChannels: number): Value =>
    b.scope(name, () => resnetBlock(network, x, name, outChannels, config, time));
  const transformer = (x: Value, name: string, level: number): Value =>
    b.scope(name, () => transformer2D(network, x, name, config.numAttentionHeads[level]!, config, text));

  let x = conv(sample, 'conv_in', config.inChannels, channels[0]!);
  const skips: Value[] = [x];
  config.downBlockTypes.forEach((type, level) => {
    const block = `down_blocks.${level}`;
    for (let j = 0; j < config.layersPerBlock; j++) {
      x = resnet(x, `${block}.resnets.${j}`, channels[level]!);
      if (type === 'CrossAttnDownBlock2D') x = transformer(x, `${block}.attentions.${j}`, level);
      skips.push(x);
    }
    if (level < channels.length - 1) {
      x = conv(x, `${block}.downsamplers.0.conv`, channels[level]!, channels[level]!, 2);
      skips.push(x);
    }
  });

  const top = channels.length - 1;
  x = resnet(x, 'mid_block.resnets.0', channels[top]!);
  x = transformer(x, 'mid_block.attentions.0', top);
  x = resnet(x, 'mid_block.resnets.1', channels[top]!);

  config.upBlockTypes.forEach((type, i) => {
    const level = top - i;
    const block = `up_blocks.${i}`;
    for (let j = 0; j < config.layersPerBlock + 1; j++) {
      const skip = skips.pop()!;
      x = b.Concat([x, skip], 1);
      x = resnet(x, `${block}.resnets.${j}`, channels[level]!);
      if (type === 'CrossAttnUpBlock2D') x = transformer(x, `${block}.attentions.${j}`, level);
    }
    if (level > 0) {
      const larger = cropTo(b, b.Resize(x, 2), skips.at(-1)!);
      x = conv(larger, `${block}.upsamplers.0.conv`, channels[level]!, channels[level]!);
    }
  });

  x = silu(b, groupNorm(network, x, 'conv_norm_out', config.normNumGroups, config.normEps));
  b.output('out_sample', conv(x, 'conv_out', channels[0]!, config.outChannels));
  network.layers.end?.(network);
  return b.build();
}

/** Sinusoids of the timestep (Vaswani et al. 2017, section 3.5) through a two-layer perceptron: [B] -> [B, 4 C0]. */
function timeEmbedding(network: NetworkContext, timestep: Value, config: UNetConfig): Value {
  const { builder: b, layers } = network;
  const width = config.blockOutChannels[0]!;
  const waves = sinusoids(b, timestep, width, config); // [B, C0]
  const inner = width * 4;
  const hidden = layers.linear(network, waves, 'time_embedding.linear_1', {
    inFeatures: width,
    outFeatures: inner,
    bias: true,
  });
  return layers.linear(network, silu(b, hidden), 'time_embedding.linear_2', {
    inFeatures: inner,
    outFeatures: inner,
    bias: true,
  });
}

/** norm, SiLU, conv, + time, norm, SiLU, conv, + input: x [B, C, H, W] -> [B, Cout, H, W]. `time` is already through SiLU. */
function resnetBlock(
  network: NetworkContext,
  x: Value,
  name: string,
  outChannels: number,
  config: UNetConfig,
  time: Value,
): Value {
  const { builder: b, layers } = network;
  const inChannels = Number(x.shape[1]);
  const conv = (y: Value, part: string, from: number): Value =>
    layers.conv(network, y, `${name}.${part}`, { inChannels: from, outChannels, kernel: 3, padding: 1 });
  const normal = (y: Value, part: string): Value =>
    silu(b, groupNorm(network, y, `${name}.${part}`, config.normNumGroups, config.normEps));

  const hidden = conv(normal(x, 'norm1'), 'conv1', inChannels);
  const shift = layers.linear(network, time, `${name}.time_emb_proj`, {
    inFeatures: config.blockOutChannels[0]! * 4,
    outFeatures: outChannels,
    bias: true,
  });
  const first = b.Add(hidden, b.Unsqueeze(shift, [2, 3])); // + [B, Cout, 1, 1]
  const second = conv(normal(first, 'norm2'), 'conv2', outChannels);
  const shortcut =
    inChannels === outChannels
      ? x
      : layers.conv(network, x, `${name}.conv_shortcut`, { inChannels, outChannels, kernel: 1, padding: 0 });
  return b.Add(shortcut, second);
}

/** Transformer2DModel: x [B, C, H, W] -> same; tokens are the H*W pixels. Its group norm uses epsilon 1e-6. */
function transformer2D(
  network: NetworkContext,
  x: Value,
  name: string,
  heads: number,
  config: UNetConfig,
  text: Value,
): Value {
  const { builder: b, layers } = network;
  const [channels, height, width] = x.shape.slice(1).map(Number) as [number, number, number];
  const normal = groupNorm(network, x, `${name}.norm`, config.normNumGroups, 1e-6);
  const toTokens = (y: Value): Value => b.Transpose(b.Reshape(y, [0, channels, height * width]), [0, 2, 1]); // -> [B, H*W, C]
  const toPixels = (y: Value): Value => b.Reshape(b.Transpose(y, [0, 2, 1]), [0, channels, height, width]); // -> [B, C, H, W]
  const square = { inFeatures: channels, outFeatures: channels, bias: true };
  const pointwise = { inChannels: channels, outChannels: channels, kernel: 1, padding: 0 };

  const tokens = config.useLinearProjection
    ? layers.linear(network, toTokens(normal), `${name}.proj_in`, square)
    : toTokens(layers.conv(network, normal, `${name}.proj_in`, pointwise));
  const mixed = basicTransformerBlock(network, tokens, `${name}.transformer_blocks.0`, heads, config, text);
  const projected = config.useLinearProjection
    ? toPixels(layers.linear(network, mixed, `${name}.proj_out`, square))
    : layers.conv(network, toPixels(mixed), `${name}.proj_out`, pointwise);
  return b.Add(projected, x);
}

/** Self-attention, cross-attention to the text, gated feed-forward (GEGLU), each with a residual: [B, T, C] -> [B, T, C]. */
function basicTransformerBlock(
  network: NetworkContext,
  x: Value,
  name: string,
  heads: number,
  config: UNetConfig,
  text: Value,
): Value {
  const { builder: b, layers } = network;
  const width = Number(x.shape.at(-1));
  const linear = (y: Value, part: string, inFeatures: number, outFeatures: number, bias: boolean): Value =>
    layers.linear(network, y, `${name}.${part}`, { inFeatures, outFeatures, bias });
  const attend = (y: Value, context: Value, part: string): Value => {
    const contextWidth = Number(context.shape.at(-1));
    const q = linear(y, `${part}.to_q`, width, width, false);
    const k = linear(context, `${part}.to_k`, contextWidth, width, false);
    const v = linear(context, `${part}.to_v`, contextWidth, width, false);
    return linear(attention(network, q, k, v, heads), `${part}.to_out.0`, width, width, true);
  };
  const normal = (y: Value, part: string): Value => layerNorm(network, y, `${name}.${part}`, 1e-5);

  const normal1 = normal(x, 'norm1');
  let y = b.Add(x, attend(normal1, normal1, 'attn1'));
  y = b.Add(y, attend(normal(y, 'norm2'), text, 'attn2'));
  // GEGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202): value * gelu(gate).
  const inner = width * 4;
  const [value, gate] = b.Split(linear(normal(y, 'norm3'), 'ff.net.0.proj', width, inner * 2, true), [inner, inner], 2);
  return b.Add(y, linear(b.Mul(value!, b.Gelu(gate!)), 'ff.net.2', inner, width, true));
}

/**
 * Crops x [B, C, H, W] to the height and width of `target`: an odd size halved and doubled comes back one larger.
 * Equal to diffusers' nearest interpolation to the skip's size.
 */
function cropTo(b: GraphBuilder, x: Value, target: Value): Value {
  const [height, width] = target.shape.slice(2).map(Number) as [number, number];
  return x.shape[2] === height && x.shape[3] === width ? x : b.Slice(x, [0, 0], [height, width], [2, 3]);
}
