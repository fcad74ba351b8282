// Writes a LoRA in the naming that every tool reads: kohya's (github.com/kohya-ss/sd-scripts, networks/lora.py), modules under
// their diffusers paths with underscores, float16, one alpha per module. The scale a reader applies is alpha / rank.
import { toFloat16 } from '../tensor/float16.ts';
import type { FloatTensor } from '../tensor/tensor.ts';
import { writeSafetensors, type RawTensor } from './safetensors-write.ts';
import type { WhenTaken } from './write-new.ts';

/** One layer: delta = up down. */
export interface LoraLayer {
  readonly network: 'unet' | 'text_encoder';
  /** Hugging Face path within its network. */
  readonly name: string;
  /** Linear layers [r, in], convolutions [r, in, k, k]. */
  readonly down: FloatTensor;
  /** [out, r] either way; written as [out, r, 1, 1] for convolutions. */
  readonly up: FloatTensor;
  /** Undefined is the rank: a scale of 1. */
  readonly alpha?: number;
}

/** Key of a module without the part's ending. */
export function kohyaKey({ network, name }: Pick<LoraLayer, 'network' | 'name'>): string {
  return `${network === 'unet' ? 'lora_unet' : 'lora_te'}_${name.replaceAll('.', '_')}`;
}

/** A boolean of the metadata as Python prints it: kohya writes `ss_v2` so, and AUTOMATIC1111 compares it with "True". */
export const kohyaBoolean = (value: boolean): string => (value ? 'True' : 'False');

/**
 * Writes `layers` and returns the path the file got; layers of rank 0 are left out. Values beyond float16's range (65504)
 * would become infinite: a RangeError names the layer. Throws WriteError when the disk refuses.
 */
export function writeLora(
  path: string,
  layers: readonly LoraLayer[],
  metadata: Readonly<Record<string, string>>,
  { whenTaken = 'number' }: { readonly whenTaken?: WhenTaken } = {},
): Promise<string> {
  const tensors: Record<string, RawTensor> = {};
  const [ranks, alphas] = [new Set<number>(), new Set<number>()];
  for (const layer of layers) {
    const rank = layer.down.shape[0]!;
    if (rank === 0) continue;
    ranks.add(rank);
    alphas.add(layer.alpha ?? rank);
    const key = kohyaKey(layer);
    const conv = layer.down.shape.length === 4;
    tensors[`${key}.lora_down.weight`] = half(layer.down, layer.down.shape, layer.name);
    tensors[`${key}.lora_up.weight`] = half(layer.up, [...layer.up.shape, ...(conv ? [1, 1] : [])], layer.name);
    tensors[`${key}.alpha`] = half({ ...layer.up, data: Float32Array.of(layer.alpha ?? rank) }, [], layer.name);
  }
  const one = (values: ReadonlySet<number>): string => (values.size === 1 ? String([...values][0]) : 'Dynamic');
  return writeSafetensors(
    path,
    tensors,
    { ss_network_module: 'networks.lora', ss_network_dim: one(ranks), ss_network_alpha: one(alphas), ...metadata },
    { whenTaken },
  );
}

function half({ data }: FloatTensor, shape: readonly number[], layer: string): RawTensor {
  const bits = new Uint16Array(data.length);
  for (let i = 0; i < data.length; i++) {
    if (!(Math.abs(data[i]!) <= 65_504)) throw new RangeError(`${layer} holds ${data[i]!}, which float16 cannot.`);
    bits[i] = toFloat16(data[i]!);
  }
  return { dtype: 'float16', shape, bytes: new Uint8Array(bits.buffer) };
}
