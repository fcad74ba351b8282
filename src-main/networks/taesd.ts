// TAESD, the tiny autoencoder for Stable Diffusion's latents (Ollin Boer Bohan, https://github.com/madebyollin/taesd):
// a few 64-channel convolutions, fast enough to show every step and good enough to be the decoder on a slow machine.
// Parameter names are the indices of its Sequential, e.g. `3.conv.0.weight`.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import { parameter, type NetworkContext, plainLayers } from './layers.ts';

const width = 64;

/**
 * Graph: `latent` [B, 4, H, W] as the UNet sees it (scaled) -> `image` [B, 3, 8H, 8W] in about [-1, 1].
 * TAESD itself answers in [0, 1]; the graph maps that to the range of the KL decoder. Throws on a missing tensor.
 */
export function taesdDecoder(options: {
  readonly ref: (name: string) => TensorRef;
  readonly height: number;
  readonly width: number;
}): Graph {
  const b = new GraphBuilder('taesd decoder');
  const network: NetworkContext = { builder: b, ref: options.ref, layers: plainLayers, attention: 'plain' };
  const conv = (x: Value, name: string, inChannels: number, outChannels: number, bias = true): Value =>
    b.Conv(
      x,
      parameter(network, `${name}.weight`, [outChannels, inChannels, 3, 3]),
      bias ? parameter(network, `${name}.bias`, [outChannels]) : undefined,
      { padding: 1 },
    );
  /** Three convolutions with ReLU, plus the input, and a last ReLU. */
  const block = (x: Value, index: number): Value => {
    let y = b.Relu(conv(x, `${index}.conv.0`, width, width));
    y = b.Relu(conv(y, `${index}.conv.2`, width, width));
    return b.Relu(b.Add(conv(y, `${index}.conv.4`, width, width), x));
  };

  const latent = b.input('latent', ['B', 4, options.height, options.width]);
  const clamped = b.Mul(b.Tanh(b.Mul(latent, b.constant(1 / 3))), b.constant(3)); // layer 0
  let x = b.Relu(conv(clamped, '1', 4, width)); // layers 1, 2
  // Three times: blocks, then twice the size and a convolution without bias.
  for (const first of [3, 8, 13]) {
    for (let index = first; index < first + 3; index++) x = block(x, index);
    x = conv(b.Resize(x, 2), `${first + 4}`, width, width, false); // layers 6, 7; 11, 12; 16, 17
  }
  x = conv(block(x, 18), '19', width, 3);
  b.output('image', b.Sub(b.Mul(x, b.constant(2)), b.constant(1)));
  return b.build();
}
