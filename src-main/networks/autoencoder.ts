// The KL autoencoder of latent diffusion (Rombach et al. 2022, section 3.1), as diffusers' AutoencoderKL names its parts:
// pixels in [-1, 1] to a Gaussian over latents one eighth the size, and latents back to pixels.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import type { AutoencoderConfig } from './configs.ts';
import {
  attention,
  groupNorm,
  plainLayers,
  silu,
  type AttentionForm,
  type LayerFactory,
  type NetworkContext,
} from './layers.ts';

export interface AutoencoderOptions {
  readonly ref: (name: string) => TensorRef;
  /** Latent height and width: pixels divided by `downscale(config)`. */
  readonly height: number;
  readonly width: number;
  readonly attention: AttentionForm;
  readonly layers?: LayerFactory;
}

/** The autoencoder's normalisations all use this epsilon; its config.json has no field for it. */
const epsilon = 1e-6;

/** Pixels per latent on each side: 2 per level after the first, 8 for Stable Diffusion. */
export function downscale(config: AutoencoderConfig): number {
  return 2 ** (config.blockOutChannels.length - 1);
}

/**
 * Graph: `latent` [B, C, H, W], unscaled (already divided by the scaling factor) -> `image` [B, 3, 8H, 8W], about
 * [-1, 1]. Throws when a tensor is missing or misshapen.
 */
export function vaeDecoder(config: AutoencoderConfig, options: AutoencoderOptions): Graph {
  const context = start('vae decoder', options);
  const { builder: b } = context;
  const latent = b.input('latent', ['B', config.latentChannels, options.height, options.width]);
  b.output('image', decoded(context, latent, config));
  return b.build();
}

/** The decoder as a piece of a graph: unscaled latents [B, C, H, W] -> image [B, 3, 8H, 8W], about [-1, 1]. */
export function decoded(context: NetworkContext, latent: Value, config: AutoencoderConfig): Value {
  const { builder: b } = context;
  const channels = [...config.blockOutChannels].reverse();
  const latents = config.latentChannels;
  let x = conv(context, latent, 'post_quant_conv', latents, latents, 1);
  x = conv(context, x, 'decoder.conv_in', latents, channels[0]!);
  x = midBlock(context, x, 'decoder.mid_block', config);
  channels.forEach((width, level) => {
    const block = `decoder.up_blocks.${level}`;
    for (let j = 0; j < config.layersPerBlock + 1; j++)
      x = resnetBlock(context, x, `${block}.resnets.${j}`, width, config);
    if (level < channels.length - 1) x = conv(context, b.Resize(x, 2), `${block}.upsamplers.0.conv`, width, width);
  });
  x = silu(b, groupNorm(context, x, 'decoder.conv_norm_out', config.normNumGroups, epsilon));
  return conv(context, x, 'decoder.conv_out', channels.at(-1)!, config.outChannels);
}

/**
 * Graph: `sample` [B, 3, 8H, 8W] in [-1, 1] -> `mean` and `logvar` [B, C, H, W] of the latent Gaussian, unscaled;
 * logvar is clamped to [-30, 20] as diffusers' DiagonalGaussianDistribution does.
 */
export function vaeEncoder(config: AutoencoderConfig, options: AutoencoderOptions): Graph {
  const context = start('vae encoder', options);
  const { builder: b } = context;
  const channels = config.blockOutChannels;
  const scale = downscale(config);
  const latents = config.latentChannels;
  let x: Value = b.input('sample', ['B', config.inChannels, options.height * scale, options.width * scale]);
  x = conv(context, x, 'encoder.conv_in', config.inChannels, channels[0]!);
  channels.forEach((width, level) => {
    const block = `encoder.down_blocks.${level}`;
    for (let j = 0; j < config.layersPerBlock; j++) x = resnetBlock(context, x, `${block}.resnets.${j}`, width, config);
    if (level === channels.length - 1) return;
    // Padded on the bottom and right alone, so that H is halved exactly.
    x = context.layers.conv(context, x, `${block}.downsamplers.0.conv`, {
      inChannels: width,
      outChannels: width,
      kernel: 3,
      padding: [0, 0, 1, 1],
      stride: 2,
    });
  });
  x = midBlock(context, x, 'encoder.mid_block', config);
  x = silu(b, groupNorm(context, x, 'encoder.conv_norm_out', config.normNumGroups, epsilon));
  x = conv(context, x, 'encoder.conv_out', channels.at(-1)!, latents * 2);
  x = conv(context, x, 'quant_conv', latents * 2, latents * 2, 1);
  const [mean, logvar] = b.Split(x, [latents, latents], 1);
  b.output('mean', mean!);
  b.output('logvar', b.op('Min', [b.op('Max', [logvar!, b.constant(-30)])[0]!, b.constant(20)])[0]!);
  return b.build();
}

function start(name: string, options: AutoencoderOptions): NetworkContext {
  return {
    builder: new GraphBuilder(name),
    ref: options.ref,
    layers: options.layers ?? plainLayers,
    attention: options.attention,
  };
}

function conv(
  network: NetworkContext,
  x: Value,
  name: string,
  inChannels: number,
  outChannels: number,
  kernel = 3,
): Value {
  return network.layers.conv(network, x, name, { inChannels, outChannels, kernel, padding: (kernel - 1) / 2 });
}

/** norm, SiLU, conv, twice, plus the input: [B, C, H, W] -> [B, Cout, H, W]. No time embedding here. */
function resnetBlock(
  network: NetworkContext,
  x: Value,
  name: string,
  outChannels: number,
  config: AutoencoderConfig,
): Value {
  const { builder: b } = network;
  return b.scope(name, () => {
    const inChannels = Number(x.shape[1]);
    const normal = (y: Value, part: string): Value =>
      silu(b, groupNorm(network, y, `${name}.${part}`, config.normNumGroups, epsilon));
    const first = conv(network, normal(x, 'norm1'), `${name}.conv1`, inChannels, outChannels);
    const second = conv(network, normal(first, 'norm2'), `${name}.conv2`, outChannels, outChannels);
    const shortcut =
      inChannels === outChannels ? x : conv(network, x, `${name}.conv_shortcut`, inChannels, outChannels, 1);
    return b.Add(shortcut, second);
  });
}

/** resnet, one-head self-attention over the H*W latents, resnet. */
function midBlock(network: NetworkContext, x: Value, name: string, config: AutoencoderConfig): Value {
  const width = config.blockOutChannels.at(-1)!;
  const first = resnetBlock(network, x, `${name}.resnets.0`, width, config);
  const mixed = attentionBlock(network, first, `${name}.attentions.0`, config);
  return resnetBlock(network, mixed, `${name}.resnets.1`, width, config);
}

function attentionBlock(network: NetworkContext, x: Value, name: string, config: AutoencoderConfig): Value {
  const { builder: b, layers } = network;
  const [channels, height, width] = x.shape.slice(1).map(Number) as [number, number, number];
  const normal = groupNorm(network, x, `${name}.group_norm`, config.normNumGroups, epsilon);
  const tokens = b.Transpose(b.Reshape(normal, [0, channels, height * width]), [0, 2, 1]); // [B, C, H, W] -> [B, H*W, C]
  const linear = (y: Value, part: string): Value =>
    layers.linear(network, y, `${name}.${part}`, { inFeatures: channels, outFeatures: channels, bias: true });
  const attended = attention(network, linear(tokens, 'to_q'), linear(tokens, 'to_k'), linear(tokens, 'to_v'), 1);
  const projected = linear(attended, 'to_out.0');
  return b.Add(x, b.Reshape(b.Transpose(projected, [0, 2, 1]), [0, channels, height, width])); // -> [B, C, H, W]
}
