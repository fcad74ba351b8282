// The CLIP image transformer (Radford et al. 2021, https://arxiv.org/abs/2103.00020; ViT of Dosovitskiy et al. 2020,
// https://arxiv.org/abs/2010.11929), as transformers' CLIPVisionModelWithProjection names it: a picture to one embedding.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import { clipLayer } from './clip-text.ts';
import type { ClipConfig } from './configs.ts';
import { layerNorm, parameter, plainLayers, type AttentionForm, type NetworkContext } from './layers.ts';

export interface ClipVisionOptions {
  readonly ref: (name: string) => TensorRef;
  readonly attention: AttentionForm;
}

/**
 * Graph: `image` [B, 3, S, S], normalised by CLIP's mean and deviation, -> `image_embeds` [B, P], of any length. Throws when a
 * tensor is missing or misshapen.
 */
export function clipVision(config: ClipConfig, options: ClipVisionOptions): Graph {
  const b = new GraphBuilder('CLIP image encoder');
  const { imageSize } = config.vision;
  const image = b.input('image', ['B', 3, imageSize, imageSize]);
  b.output('image_embeds', imageEmbeds({ builder: b, ...options, layers: plainLayers }, image, config));
  return b.build();
}

/** The same as a piece of a graph: [B, 3, S, S] -> [B, P]. */
export function imageEmbeds(network: NetworkContext, image: Value, { vision, projectionDim }: ClipConfig): Value {
  const { builder: b, layers } = network;
  const { hiddenSize, patchSize, imageSize, layerNormEps } = vision;
  const patches = (imageSize / patchSize) ** 2;
  const cut = layers.conv(network, image, 'vision_model.embeddings.patch_embedding', {
    inChannels: 3,
    outChannels: hiddenSize,
    kernel: patchSize,
    stride: patchSize,
    padding: 0,
    bias: false,
  });
  const tokens = b.Transpose(b.Reshape(cut, [0, hiddenSize, patches]), [0, 2, 1]); // [B, D, h, w] -> [B, h*w, D]
  // The class token stands in front: a row of zeros, which its embedding and its position are added to.
  const classed = b.Pad(tokens, [0, 1, 0, 0, 0, 0]); // [B, 1 + h*w, D]
  const own = parameter(network, 'vision_model.embeddings.class_embedding', [1, hiddenSize]);
  const positions = parameter(network, 'vision_model.embeddings.position_embedding.weight', [patches + 1, hiddenSize]);
  const embedded = b.Add(classed, b.Add(positions, b.Pad(own, [0, 0, patches, 0])));
  // transformers spells it so.
  let x = layerNorm(network, embedded, 'vision_model.pre_layrnorm', layerNormEps);
  for (let layer = 0; layer < vision.numHiddenLayers; layer++) {
    x = b.scope(`layer${layer}`, () => clipLayer(network, x, `vision_model.encoder.layers.${layer}`, vision));
  }
  const first = b.Squeeze(b.Slice(x, [0], [1], [1]), [1]); // [B, 1, D] -> [B, D]
  const pooled = layerNorm(network, first, 'vision_model.post_layernorm', layerNormEps);
  return layers.linear(network, pooled, 'visual_projection', {
    inFeatures: hiddenSize,
    outFeatures: projectionDim,
    bias: false,
  });
}
