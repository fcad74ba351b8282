// The CLIP text transformer (Radford et al. 2021, https://arxiv.org/abs/2103.00020), as transformers' CLIPTextModel names it.
// Token ids in, hidden states out: what the UNet attends to. Stable Diffusion 2 uses OpenCLIP's, the same graph with GELU.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import type { ClipTextConfig } from './configs.ts';
import { attention, layerNorm, parameter, plainLayers, type LayerFactory, type NetworkContext } from './layers.ts';

export interface ClipTextOptions {
  readonly ref: (name: string) => TensorRef;
  /**
   * Layers left out at the end, before the final layer norm: 0 uses all of them (A1111's "Clip skip" 1), 1 leaves out
   * the last one (Clip skip 2). At most numHiddenLayers - 1.
   */
  readonly skipLayers?: number;
  /**
   * Adds the input `extra_embeddings` float32 [E, D], E at least 1: token id vocabSize + i is its row i (textual inversion).
   * An id beyond it ends the run with an error. Off by default.
   */
  readonly extraEmbeddings?: boolean;
  readonly layers?: LayerFactory;
}

/**
 * Graph: `input_ids` int64 [B, T] (and `extra_embeddings` [E, D]) -> `last_hidden_state` float32 [B, T, D], after the final layer norm.
 * Throws when skipLayers leaves no layer, or a tensor is missing or misshapen.
 */
export function clipText(config: ClipTextConfig, options: ClipTextOptions): Graph {
  const skip = options.skipLayers ?? 0;
  const depth = config.numHiddenLayers - skip;
  if (depth < 1 || skip < 0) {
    throw new RangeError(`Clip skip must leave at least one of ${config.numHiddenLayers} layers, got ${skip + 1}.`);
  }
  const b = new GraphBuilder('text encoder');
  const network: NetworkContext = {
    builder: b,
    ref: options.ref,
    layers: options.layers ?? plainLayers,
    attention: 'plain',
  };
  const tokens = config.maxPositionEmbeddings;
  const ids = b.input('input_ids', ['B', tokens], 'int64');
  network.layers.begin?.(network, {});
  const embedded =
    options.extraEmbeddings === true ? extendedEmbedding(network, ids, config) : embedding(network, ids, config);
  const positions = parameter(network, 'text_model.embeddings.position_embedding.weight', [tokens, config.hiddenSize]);
  const mask = b.constant(causalMask(tokens), [tokens, tokens]);
  let x = b.Add(embedded, positions);
  for (let layer = 0; layer < depth; layer++) {
    x = b.scope(`layer${layer}`, () => clipLayer(network, x, `text_model.encoder.layers.${layer}`, config, mask));
  }
  b.output('last_hidden_state', layerNorm(network, x, 'text_model.final_layer_norm', config.layerNormEps));
  network.layers.end?.(network);
  return b.build();
}

/** Rows of the vocabulary's table: ids [B, T] -> [B, T, D]. */
function embedding({ builder: b, ref }: NetworkContext, ids: Value, { vocabSize, hiddenSize }: ClipTextConfig): Value {
  const table = 'text_model.embeddings.token_embedding.weight';
  return b.embedding(table, ref(table), [vocabSize, hiddenSize], ids);
}

/**
 * The same with rows of `extra_embeddings` for ids from vocabSize on. Both tables are read at clamped ids and one of the two
 * rows is taken: joining the tables instead would copy the vocabulary's, 150 MB for Stable Diffusion 1.
 */
function extendedEmbedding(network: NetworkContext, ids: Value, config: ClipTextConfig): Value {
  const { builder: b } = network;
  const last = b.integers([config.vocabSize - 1]);
  const extra = b.input('extra_embeddings', ['E', config.hiddenSize]);
  const [isExtra] = b.op('Greater', [ids, last]); // [B, T]
  const [known] = b.op('Min', [ids, last]);
  const row = b.Max(b.Sub(ids, b.integers([config.vocabSize])), b.integers([0]));
  const rows = [b.Gather(extra, row), embedding(network, known!, config)]; // [B, T, D] each
  return b.op('Where', [b.Unsqueeze(isExtra!, [-1]), ...rows])[0]!;
}

/** The numbers that decide one layer, of either of CLIP's halves. */
export type ClipLayerConfig = Pick<
  ClipTextConfig,
  'hiddenSize' | 'intermediateSize' | 'numAttentionHeads' | 'hiddenAct' | 'layerNormEps'
>;

/**
 * norm, self-attention, plus the input; norm, two linear layers, plus that: [B, T, D] -> [B, T, D]. `mask` [T, T] is added to the
 * scores.
 */
export function clipLayer(
  network: NetworkContext,
  x: Value,
  name: string,
  config: ClipLayerConfig,
  mask?: Value,
): Value {
  const { builder: b, layers } = network;
  const [width, inner] = [config.hiddenSize, config.intermediateSize];
  const linear = (y: Value, part: string, inFeatures: number, outFeatures: number): Value =>
    layers.linear(network, y, `${name}.${part}`, { inFeatures, outFeatures, bias: true });

  const normal = layerNorm(network, x, `${name}.layer_norm1`, config.layerNormEps);
  const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(normal, `self_attn.${part}_proj`, width, width));
  const attended = attention(network, q!, k!, v!, config.numAttentionHeads, mask);
  const y = b.Add(x, linear(attended, 'self_attn.out_proj', width, width));

  const hidden = linear(layerNorm(network, y, `${name}.layer_norm2`, config.layerNormEps), 'mlp.fc1', width, inner);
  const active =
    config.hiddenAct === 'quick_gelu' ? b.Mul(hidden, b.Sigmoid(b.Mul(hidden, b.constant(1.702)))) : b.Gelu(hidden);
  return b.Add(y, linear(active, 'mlp.fc2', inner, width));
}

/** [T, T]: 0 where a token may look (itself and before), a large negative number elsewhere. */
function causalMask(tokens: number): Float32Array {
  const mask = new Float32Array(tokens * tokens);
  for (let row = 0; row < tokens; row++) mask.fill(-1e9, row * tokens + row + 1, (row + 1) * tokens);
  return mask;
}
