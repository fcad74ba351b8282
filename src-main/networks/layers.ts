// The layers that Stable Diffusion's networks share, as functions on a graph builder.
// Linear and convolution layers come from a factory, so that LoRA branches can be added without a network knowing (mole/).
import type { GraphBuilder } from '../graph/builder.ts';
import type { TensorRef, Value } from '../graph/ir.ts';

/**
 * How attention is written: `fused` is onnxruntime's MultiHeadAttention kernel (right and fast on CPU),
 * `plain` is MatMul, Softmax, MatMul (right everywhere; the fused WebGPU kernel gave wrong values on several drivers).
 */
export type AttentionForm = 'fused' | 'plain';

export interface LinearOptions {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

export interface ConvOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: number;
  readonly padding: number | readonly number[];
  readonly stride?: number;
  readonly bias?: boolean;
}

/** Makes the layers that an expert may target. `name` is the module's Hugging Face path. */
export interface LayerFactory {
  /** Called once before the first layer; `timestep` [B] in networks that have one. */
  begin?(network: NetworkContext, inputs: { readonly timestep?: Value }): void;
  /** Called once after the last layer: a factory may declare outputs of its own here. */
  end?(network: NetworkContext): void;
  /** x [..., in] -> [..., out]. */
  linear(network: NetworkContext, x: Value, name: string, options: LinearOptions): Value;
  /** x [B, C, H, W] -> [B, Cout, H', W']. */
  conv(network: NetworkContext, x: Value, name: string, options: ConvOptions): Value;
}

/** What a network needs to write itself: a builder, the checkpoint's tensors, and the choices that differ by device. */
export interface NetworkContext {
  readonly builder: GraphBuilder;
  /** The checkpoint tensor of a Hugging Face parameter name. Throws when the checkpoint lacks it. */
  readonly ref: (name: string) => TensorRef;
  readonly layers: LayerFactory;
  readonly attention: AttentionForm;
}

/** Layers without experts: y = x W^T + b, and plain convolution. */
export const plainLayers: LayerFactory = {
  linear(network, x, name, { inFeatures, outFeatures, bias }) {
    const { builder: b } = network;
    const w = parameter(network, `${name}.weight`, [outFeatures, inFeatures]);
    const beta = bias ? parameter(network, `${name}.bias`, [outFeatures]) : undefined;
    // Gemm takes W as the checkpoint stores it. MatMul would need it transposed, which copies every weight into memory.
    if (x.shape.length === 2) return b.Gemm(x, w, beta, { transB: true });
    const rows = b.Reshape(x, [-1, inFeatures]); // [B, T, in] -> [B*T, in]
    const y = b.Gemm(rows, w, beta, { transB: true });
    return b.Reshape(y, [-1, ...x.shape.slice(1, -1).map(Number), outFeatures]); // -> [B, T, out]
  },
  conv(network, x, name, { inChannels, outChannels, kernel, padding, stride, bias }) {
    const w = parameter(network, `${name}.weight`, [outChannels, inChannels, kernel, kernel]);
    const beta = bias === false ? undefined : parameter(network, `${name}.bias`, [outChannels]);
    return network.builder.Conv(x, w, beta, { padding, ...(stride === undefined ? {} : { stride }) });
  },
};

/** A parameter as float32 in `shape`. Throws WeightShapeError when the checkpoint's differs. */
export function parameter(network: NetworkContext, name: string, shape: readonly number[]): Value {
  return network.builder.weight(name, network.ref(name), shape);
}

/**
 * Sines and cosines of the timestep at `width` / 2 frequencies (Vaswani et al. 2017, section 3.5), as diffusers'
 * get_timestep_embedding: [B] -> [B, width].
 */
export function sinusoids(
  b: GraphBuilder,
  timestep: Value,
  width: number,
  { flipSinToCos, freqShift }: { readonly flipSinToCos: boolean; readonly freqShift: number },
): Value {
  const half = width / 2;
  const frequencies = Float32Array.from({ length: half }, (_, i) =>
    Math.exp((-Math.log(10_000) * i) / (half - freqShift)),
  );
  const angles = b.Mul(b.Unsqueeze(timestep, [1]), b.constant(frequencies, [1, half])); // [B, width/2]
  const [sin, cos] = [b.Sin(angles), b.Cos(angles)];
  return b.Concat(flipSinToCos ? [cos, sin] : [sin, cos], 1);
}

/** x sigmoid(x). */
export function silu(b: GraphBuilder, x: Value): Value {
  return b.Mul(x, b.Sigmoid(x));
}

/**
 * Group normalisation (Wu & He 2018) of [B, C, H, W]: each of `groups` runs of channels to mean 0, variance 1, then
 * gamma and beta per channel. Written as InstanceNormalization of [B, groups, rest], which every provider has.
 */
export function groupNorm(network: NetworkContext, x: Value, name: string, groups: number, epsilon: number): Value {
  const { builder: b } = network;
  const channels = Number(x.shape[1]);
  if (channels % groups !== 0) throw new Error(`${name}: ${channels} channels do not divide into ${groups} groups.`);
  const grouped = b.Reshape(x, [0, groups, -1]); // [B, C, H, W] -> [B, G, C/G*H*W]
  const ones = b.constant(new Float32Array(groups).fill(1));
  const zeros = b.constant(new Float32Array(groups));
  const normal = b.InstanceNormalization(grouped, ones, zeros, epsilon);
  const back = b.Reshape(normal, [0, ...x.shape.slice(1).map(Number)]); // -> [B, C, H, W]
  const gamma = parameter(network, `${name}.weight`, [channels, 1, 1]);
  const beta = parameter(network, `${name}.bias`, [channels, 1, 1]);
  return b.Add(b.Mul(back, gamma), beta);
}

/** Layer normalisation over the last axis of [..., D]. */
export function layerNorm(network: NetworkContext, x: Value, name: string, epsilon: number): Value {
  const width = Number(x.shape.at(-1));
  const gamma = parameter(network, `${name}.weight`, [width]);
  const beta = parameter(network, `${name}.bias`, [width]);
  return network.builder.LayerNormalization(x, gamma, beta, epsilon);
}

/**
 * softmax(q k^T / sqrt(d)) v per head: q [B, T, D], k and v [B, S, D] -> [B, T, D], d = D / heads.
 * `mask` [T, S] is added to the scores (Vaswani et al. 2017, Eq. 1); with a mask the plain form is used.
 */
export function attention(network: NetworkContext, q: Value, k: Value, v: Value, heads: number, mask?: Value): Value {
  const { builder: b } = network;
  if (network.attention === 'fused' && mask === undefined) return b.MultiHeadAttention(q, k, v, heads);
  const width = Number(q.shape.at(-1));
  const size = width / heads;
  const split = (x: Value, perm: readonly number[]): Value => b.Transpose(b.Reshape(x, [0, 0, heads, size]), perm);
  const scaled = b.Mul(split(q, [0, 2, 1, 3]), b.constant(1 / Math.sqrt(size))); // [B, heads, T, d]
  const keys = split(k, [0, 2, 3, 1]); // [B, heads, d, S]
  const values = split(v, [0, 2, 1, 3]); // [B, heads, S, d]
  const attend = (queries: Value): Value => {
    const scores = b.MatMul(queries, keys); // [B, heads, T, S]
    return b.MatMul(b.Softmax(mask === undefined ? scores : b.Add(scores, mask)), values);
  };
  const tokens = Number(q.shape[1]);
  const chunk = mask === undefined ? chunkLength(tokens, Number(k.shape[1]), heads) : tokens;
  const mixed =
    chunk >= tokens ? attend(scaled) : b.Concat(b.Split(scaled, chunkSizes(tokens, chunk), 2).map(attend), 2);
  return b.Reshape(b.Transpose(mixed, [0, 2, 1, 3]), [0, 0, width]); // [B, heads, T, d] -> [B, T, D]
}

/** Scores of one chunk of queries stay under this many bytes per picture: poor adapters cap a buffer at 128 MB. */
const scoreBytes = 64 * 2 ** 20;

const chunkLength = (tokens: number, keys: number, heads: number): number =>
  Math.max(1, Math.min(tokens, Math.floor(scoreBytes / (4 * keys * heads))));

const chunkSizes = (tokens: number, chunk: number): number[] => {
  const count = Math.ceil(tokens / chunk);
  return Array.from({ length: count }, (_, i) => Math.min(chunk, tokens - i * chunk));
};
