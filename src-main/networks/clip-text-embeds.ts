// A text as one embedding, to be compared with a picture's: the state of CLIP's text transformer at the end of the text, projected
// (Radford et al. 2021, section 2.4; transformers' CLIPTextModelWithProjection).
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef } from '../graph/ir.ts';
import { floatTensor, type FloatTensor, type IntTensor } from '../tensor/tensor.ts';
import { clipText } from './clip-text.ts';
import type { ClipConfig } from './configs.ts';
import { plainLayers } from './layers.ts';

/**
 * Graph: `input_ids` int64 [B, T] and `end` [B, 1, T], 1 where the text ends and else 0, -> `text_embeds` [B, P], of any length.
 * Throws when a tensor is missing or misshapen.
 */
export function clipTextEmbeds(config: ClipConfig, { ref }: { readonly ref: (name: string) => TensorRef }): Graph {
  const { text, projectionDim } = config;
  const encoder = clipText(text, { ref });
  const b = GraphBuilder.extend(encoder);
  const network = { builder: b, ref, layers: plainLayers, attention: 'plain' } as const;
  const end = b.input('end', ['B', 1, text.maxPositionEmbeddings]);
  const pooled = b.Squeeze(b.MatMul(end, encoder.outputs[0]!), [1]); // [B, 1, T] [B, T, D] -> [B, D]
  const options = { inFeatures: text.hiddenSize, outFeatures: projectionDim, bias: false };
  b.output('text_embeds', plainLayers.linear(network, pooled, 'text_projection', options));
  return b.build();
}

/**
 * Where each of the token rows [B, T] ends, as [B, 1, T] for `end`: at the first token `eosTokenId`, or at the largest id where
 * the config says 2, which was CLIP's mistake until transformers 4.31. The first place without such a token.
 */
export function endOfText({ shape, data }: IntTensor, eosTokenId: number): FloatTensor {
  const [batch, tokens] = shape as [number, number];
  const end = floatTensor([batch, 1, tokens]);
  for (let i = 0; i < batch; i++) {
    const row = Array.from(data.subarray(i * tokens, (i + 1) * tokens), Number);
    const wanted = eosTokenId === legacyEnd ? Math.max(...row) : eosTokenId;
    end.data[i * tokens + Math.max(0, row.indexOf(wanted))] = 1;
  }
  return end;
}

const legacyEnd = 2;
