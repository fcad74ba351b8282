// Gradients of convolutions (Dumoulin & Visin 2016, arXiv:1603.07285). Y = conv(X, W): dX is the transposed convolution of G
// with W; dW correlates X with G, which is a convolution over the batch with stride and dilation exchanged.
import type { GraphBuilder } from '../../graph/builder.ts';
import type { Node, Value } from '../../graph/ir.ts';
import { elementCount } from '../../tensor/shape.ts';
import { sizes, type RuleTable } from '../rule.ts';

export const convolutionRules = {
  Conv: ({ b, node, grad, input, wanted }) => {
    const geometry = geometryOf(node);
    return [
      wanted(0) ? inputGradient(b, grad(), input(1), sizes(input(0)), geometry) : undefined,
      wanted(1) ? kernelGradient(b, grad(), input(0), sizes(input(1)), geometry) : undefined,
      wanted(2) ? b.ReduceSum(grad(), [0, 2, 3], false) : undefined,
    ];
  },

  // Y = convT(X, W), W [Cin, Cout, k, k]: dX is the plain convolution of G with W; dW exchanges the roles of X and G.
  ConvTranspose: ({ b, node, grad, input, wanted }) => {
    const geometry = geometryOf(node);
    return [
      wanted(0) ? b.op('Conv', [grad(), input(1)], attributes(geometry, sizes(input(1)).slice(2)))[0]! : undefined,
      wanted(1) ? kernelGradient(b, input(0), grad(), sizes(input(1)), geometry) : undefined,
      wanted(2) ? b.ReduceSum(grad(), [0, 2, 3], false) : undefined,
    ];
  },
} satisfies RuleTable;

interface Geometry {
  readonly stride: readonly [number, number];
  /** top, left, bottom, right */
  readonly pads: readonly [number, number, number, number];
}

function geometryOf(node: Node): Geometry {
  const list = (name: string, otherwise: readonly number[]): readonly number[] =>
    (node.attributes[name] as readonly number[] | undefined) ?? otherwise;
  if (list('dilations', [1, 1]).some((size) => size !== 1) || (node.attributes['group'] ?? 1) !== 1) {
    throw new Error(`${node.name}: gradients of dilated and grouped convolutions are not written.`);
  }
  return {
    stride: list('strides', [1, 1]) as Geometry['stride'],
    pads: list('pads', [0, 0, 0, 0]) as Geometry['pads'],
  };
}

const attributes = ({ stride, pads }: Geometry, kernel: readonly number[]) => ({
  kernel_shape: kernel,
  strides: stride,
  pads,
  dilations: [1, 1],
  group: 1,
});

/** dX [B, C, H, W]. A stride can leave rows at the end unread: they come back as `output_padding`, with gradient 0. */
function inputGradient(b: GraphBuilder, grad: Value, w: Value, x: readonly number[], geometry: Geometry): Value {
  const { stride, pads } = geometry;
  const [kernel, out] = [sizes(w).slice(2), sizes(grad).slice(2)];
  const outerPads = pads.map((pad, i) => kernel[i % 2]! - 1 - pad);
  const flips = stride.every((s) => s === 1) && elementCount(kernel) > 1 && outerPads.every((pad) => pad >= 0);
  if (flips && elementCount(out) >= sizes(w)[0]!) return flippedConvolution(b, grad, w, outerPads);
  const output_padding = [0, 1].map((i) => {
    const covered = (out[i]! - 1) * stride[i]! + kernel[i]! - pads[i]! - pads[i + 2]!;
    return x[i + 2]! - covered;
  });
  return b.op('ConvTranspose', [grad, w], { ...attributes(geometry, kernel), output_padding })[0]!;
}

/**
 * dX of stride 1: G convolved with W turned by 180 degrees, channels exchanged. onnxruntime's ConvTranspose writes k^2 numbers
 * per position and adds them up on one thread, which costs more than turning the kernel around, unless there are fewer
 * positions than channels.
 */
function flippedConvolution(b: GraphBuilder, grad: Value, w: Value, padding: readonly number[]): Value {
  const [outChannels, inChannels, height, width] = sizes(w) as readonly [number, number, number, number];
  const exchanged = b.Reshape(b.Transpose(w, [1, 0, 2, 3]), [inChannels, outChannels, height * width]);
  const backwards = b.integers(Array.from({ length: height * width }, (_, i) => height * width - 1 - i));
  const flipped = b.Reshape(b.Gather(exchanged, backwards, 2), [inChannels, outChannels, height, width]);
  return b.Conv(grad, flipped, undefined, { padding });
}

/** dW [Cout, Cin, k, k]: sum over batch and positions of G[b, o, y, x] X[b, i, y s + ky - p, x s + kx - p]. */
function kernelGradient(b: GraphBuilder, grad: Value, x: Value, w: readonly number[], geometry: Geometry): Value {
  const [outChannels, inChannels, height, width] = w as readonly [number, number, number, number];
  const { stride, pads } = geometry;
  if (height === 1 && width === 1 && stride.every((s) => s === 1) && pads.every((p) => p === 0)) {
    const [g, h] = [b.Reshape(grad, [0, outChannels, -1]), b.Reshape(x, [0, inChannels, -1])];
    const perImage = b.MatMul(g, b.Transpose(h, [0, 2, 1])); // [B, Cout, Cin]
    return b.Reshape(b.ReduceSum(perImage, [0], false), w);
  }
  const swap = (value: Value): Value => b.Transpose(value, [1, 0, 2, 3]); // images become channels
  const correlated = b.op('Conv', [swap(x), swap(grad)], {
    kernel_shape: sizes(grad).slice(2),
    strides: [1, 1],
    pads,
    dilations: stride,
    group: 1,
  })[0]!; // [Cin, Cout, k or more]
  // Rows that a stride left unread make the result larger than the kernel.
  const cut = b.Slice(correlated, [0, 0], [height, width], [2, 3]);
  return b.Transpose(cut, [1, 0, 2, 3]);
}
