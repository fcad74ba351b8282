// The graphs that the self-test runs: every operator and form that our networks are made of, at sizes that take
// milliseconds, on fixed numbers. Half-precision weights lie in a file, as a checkpoint's do.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, TensorRef, Value } from '../graph/ir.ts';
import { fromFloat16, toFloat16 } from '../tensor/float16.ts';
import { TorchGenerator } from '../tensor/random.ts';
import { elementCount } from '../tensor/shape.ts';
import { floatTensor, intTensor, type FloatTensor, type Tensor } from '../tensor/tensor.ts';
import { attend, convolve, groupNormSilu } from './self-test-reference.ts';

export interface SelfTestCase {
  readonly graph: Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** float64 results of the outputs that have a reference of our own, by output name. */
  readonly expected: Readonly<Record<string, Float64Array>>;
}

const heads = 2;
const width = 80; // 40 per head, as in Stable Diffusion 1
const vocabulary = 60;

/** All operators in one graph. `folder` is where the half-precision weights are written, as one file. */
export async function operatorCase(folder: string): Promise<SelfTestCase> {
  const random = new TorchGenerator(1);
  const draw = (shape: readonly number[], scale = 1): FloatTensor => scaled(random.randn(shape), scale);
  const b = new GraphBuilder('self-test');
  const feeds: Record<string, Tensor> = {};
  const expected: Record<string, Float64Array> = {};
  const feed = (name: string, tensor: FloatTensor): Value => {
    feeds[name] = tensor;
    return b.input(name, tensor.shape);
  };

  // UNet and VAE: convolutions, group normalisation, up and down
  const picture = draw([1, 16, 16, 16]);
  const x = feed('picture', picture);
  const convolution = (name: string, kernel: number, stride: number): Value => {
    const w = draw([24, 16, kernel, kernel], 1 / Math.sqrt(16 * kernel * kernel));
    const bias = draw([24]);
    const padding = kernel === 3 ? 1 : 0;
    const y = b.Conv(x, constant(b, w), constant(b, bias), { padding, stride });
    b.output(name, y);
    expected[name] = convolve(picture.data, [16, 16, 16], w.data, bias.data, { kernel, stride, padding });
    return y;
  };
  const same = convolution('convolution 3x3', 3, 1);
  const halved = convolution('convolution 3x3 of stride 2', 3, 2);
  convolution('convolution 1x1', 1, 1);
  b.output('group normalisation', silu(b, groupNorm(b, x, 4)));
  expected['group normalisation'] = groupNormSilu(picture.data, 4, 1e-5);
  const skip = b.Concat([b.Resize(halved, 2), same], 1); // [1, 48, 16, 16]
  const merge = constant(b, draw([16, 48, 1, 1], 1 / Math.sqrt(48)));
  b.output('upsampling and concatenation', b.Conv(groupNorm(b, skip, 8), merge, undefined, { padding: 0 }));

  // Transformer blocks: long and short self-attention, cross-attention on 77 tokens, GEGLU
  const attention = (name: string, tokens: number, keys: number): Value => {
    const [q, k, v] = [draw([1, tokens, width]), draw([1, keys, width]), draw([1, keys, width])];
    const y = plainAttention(b, feed(`${name}: q`, q), feed(`${name}: k`, k), feed(`${name}: v`, v));
    b.output(name, y);
    expected[name] = attend(q.data, k.data, v.data, { width, heads, causal: false });
    return y;
  };
  attention('attention over 256 tokens', 256, 256);
  attention('cross-attention to 77 tokens', 64, 77);
  const mixed = attention('attention over 64 tokens', 64, 64);
  const [gamma, beta] = [constant(b, draw([width])), constant(b, draw([width]))];
  const weights = await halfWeights(folder, { table: draw([vocabulary, width]), geglu: draw([2 * width, width], 0.1) });
  const half = b.weight('geglu', weights('geglu'), [2 * width, width]);
  const wide = b.MatMul(b.LayerNormalization(mixed, gamma, beta, 1e-5), b.Transpose(half, [1, 0]));
  const [hidden, gate] = b.Split(b.Add(wide, constant(b, draw([2 * width]))), [width, width], -1);
  b.output('gated feed-forward', b.Mul(hidden!, b.Gelu(gate!)));

  // Text encoder: token table in half precision, causal mask, the state of one token
  const ids = Array.from({ length: 77 }, (_, i) => (i * 17) % vocabulary);
  feeds['ids'] = intTensor([1, 77], ids);
  const embedded = b.embedding('table', weights('table'), [vocabulary, width], b.input('ids', [1, 77], 'int64'));
  const mask = b.constant(
    Float32Array.from({ length: 77 * 77 }, (_, i) => (i % 77 > Math.floor(i / 77) ? -3.4e38 : 0)),
    [77, 77],
  );
  const encoded = plainAttention(b, embedded, embedded, embedded, mask);
  b.output('causal attention on embedded tokens', encoded);
  const rows = Float64Array.from(
    ids.flatMap((id) => [...weights.values('table').subarray(id * width, (id + 1) * width)]),
  );
  expected['causal attention on embedded tokens'] = attend(rows, rows, rows, { width, heads, causal: true });
  b.output('one token', b.Gelu(b.Squeeze(b.Slice(encoded, [76], [77], [1]), [1]), 'tanh'));

  // Timestep embedding: sine and cosine of 981 at falling frequencies
  const frequencies = Float32Array.from({ length: 16 }, (_, i) => Math.exp((-Math.log(10000) * i) / 16));
  const timestep = feed('timestep', floatTensor([1], Float32Array.of(981)));
  const angles = b.Mul(b.Unsqueeze(timestep, [1]), b.constant(frequencies, [1, 16]));
  b.output('timestep embedding', b.Concat([b.Cos(angles), b.Sin(angles)], 1));

  return { graph: b.build(), feeds, expected };
}

/** onnxruntime's fused attention at the lengths where the WebGPU kernel was found wrong. */
export function fusedAttentionCase(): SelfTestCase {
  const random = new TorchGenerator(2);
  const b = new GraphBuilder('fused self-test');
  const feeds: Record<string, Tensor> = {};
  const expected: Record<string, Float64Array> = {};
  for (const [tokens, keys] of [
    [64, 64],
    [256, 256],
    [64, 77],
  ] as const) {
    const name = `${tokens} to ${keys}`;
    const tensors = [tokens, keys, keys].map((length) => random.randn([1, length, width]));
    const [q, k, v] = tensors.map((tensor, i) => {
      feeds[`${name}: ${i}`] = tensor;
      return b.input(`${name}: ${i}`, tensor.shape);
    });
    b.output(name, b.MultiHeadAttention(q!, k!, v!, heads));
    expected[name] = attend(tensors[0]!.data, tensors[1]!.data, tensors[2]!.data, { width, heads, causal: false });
  }
  return { graph: b.build(), feeds, expected };
}

/** Four products of 512x1024 with 1024x1024: 4.3 GFLOP, tens of milliseconds on a CPU. For the clock, not for the values. */
export function speedCase(): SelfTestCase {
  const b = new GraphBuilder('speed test');
  const w = b.constant(
    Float32Array.from({ length: 1024 * 1024 }, (_, i) => ((i * 7919) % 101) / 3232 - 1 / 64),
    [1024, 1024],
  );
  let y = b.input('x', [512, 1024]);
  for (let i = 0; i < 4; i++) y = b.MatMul(y, w);
  b.output('y', b.ReduceMean(y, [1]));
  const x = floatTensor(
    [512, 1024],
    Float32Array.from({ length: 512 * 1024 }, (_, i) => (i % 13) / 13),
  );
  return { graph: b.build(), feeds: { x }, expected: {} };
}

const constant = (b: GraphBuilder, tensor: FloatTensor): Value => b.constant(tensor.data, tensor.shape);
const silu = (b: GraphBuilder, x: Value): Value => b.Mul(x, b.Sigmoid(x));

const scaled = (tensor: FloatTensor, scale: number): FloatTensor =>
  floatTensor(
    tensor.shape,
    tensor.data.map((value) => value * scale),
  );

/** Group normalisation without gamma and beta, in the form of networks/layers.ts. */
function groupNorm(b: GraphBuilder, x: Value, groups: number): Value {
  const ones = b.constant(new Float32Array(groups).fill(1));
  const zeros = b.constant(new Float32Array(groups));
  const normal = b.InstanceNormalization(b.Reshape(x, [0, groups, -1]), ones, zeros, 1e-5);
  return b.Reshape(normal, [0, ...x.shape.slice(1).map(Number)]);
}

/** Attention in the plain form of networks/layers.ts: [1, T, D] -> [1, T, D]. */
function plainAttention(b: GraphBuilder, q: Value, k: Value, v: Value, mask?: Value): Value {
  const size = width / heads;
  const split = (x: Value, perm: readonly number[]): Value => b.Transpose(b.Reshape(x, [0, 0, heads, size]), perm);
  const scores = b.MatMul(b.Mul(split(q, [0, 2, 1, 3]), b.constant(1 / Math.sqrt(size))), split(k, [0, 2, 3, 1]));
  const weights = b.Softmax(mask === undefined ? scores : b.Add(scores, mask));
  return b.Reshape(b.Transpose(b.MatMul(weights, split(v, [0, 2, 1, 3])), [0, 2, 1, 3]), [0, 0, width]);
}

/** Writes tensors as float16 behind each other, from an odd offset on; gives their places and rounded values by name. */
async function halfWeights(
  folder: string,
  tensors: Readonly<Record<string, FloatTensor>>,
): Promise<((name: string) => TensorRef) & { values: (name: string) => Float32Array }> {
  const file = join(folder, 'weights.bin');
  const total = Object.values(tensors).reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const bytes = Buffer.alloc(1 + 2 * total);
  const refs = new Map<string, TensorRef>();
  const values = new Map<string, Float32Array>();
  let offset = 1;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const bits = Uint16Array.from(data, toFloat16);
    bits.forEach((bit, i) => bytes.writeUInt16LE(bit, offset + 2 * i));
    refs.set(name, { file, dtype: 'float16', shape, offset, length: 2 * bits.length });
    values.set(name, Float32Array.from(bits, fromFloat16));
    offset += 2 * bits.length;
  }
  await writeFile(file, bytes);
  return Object.assign((name: string) => refs.get(name)!, { values: (name: string) => values.get(name)! });
}
