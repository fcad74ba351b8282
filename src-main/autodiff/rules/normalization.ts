// Gradients of softmax and of the normalisations. With x^ = (x - mean) r, r = 1 / sqrt(var + eps), over the normalised axes:
// dx = r (h - mean(h) - x^ mean(h x^)), h = g gamma (Ba et al. 2016, arXiv:1607.06450, supplement).
import type { GraphBuilder } from '../../graph/builder.ts';
import type { Value } from '../../graph/ir.ts';
import { sizes, type RuleContext, type RuleTable } from '../rule.ts';

export const normalizationRules = {
  // y (g - sum(g y))
  Softmax: ({ b, node, grad, output }) => {
    const rank = output().shape.length;
    const axis = Number(node.attributes['axis'] ?? -1);
    const product = b.Mul(grad(), output());
    const carried = b.ReduceSum(product, [axis < 0 ? axis + rank : axis]);
    return [b.Sub(product, b.Mul(output(), carried))];
  },

  LayerNormalization: (context) => {
    const rank = context.input(0).shape.length;
    if (Number(context.node.attributes['axis'] ?? -1) !== -1)
      throw new Error(`${context.node.name}: gradients of layer norms are written for the last axis alone.`);
    return normalized(context, [rank - 1], (b, parameter) => parameter, context.b);
  },

  // Per image and channel over all positions; gamma and beta per channel.
  InstanceNormalization: (context) => {
    const rank = context.input(0).shape.length;
    const axes = Array.from({ length: rank - 2 }, (_, i) => i + 2);
    const wide = (b: GraphBuilder, parameter: Value): Value => b.Reshape(parameter, [-1, ...axes.map(() => 1)]);
    return normalized(context, axes, wide, context.b);
  },
} satisfies RuleTable;

function normalized(
  { node, input, output, grad, wanted, isConstant }: RuleContext,
  axes: readonly number[],
  stretch: (b: GraphBuilder, parameter: Value) => Value,
  b: GraphBuilder,
): readonly (Value | undefined)[] {
  const x = input(0);
  const epsilon = (node.attributes['epsilon'] as { readonly float: number } | undefined)?.float ?? 1e-5;
  const centred = b.Sub(x, b.ReduceMean(x, axes));
  const variance = b.ReduceMean(b.Mul(centred, centred), axes);
  const r = b.Reciprocal(b.Sqrt(b.Add(variance, b.constant(epsilon))));
  // Group norms are written with a gamma of ones and a beta of zeros.
  const plain = isConstant(1, 1);
  const hat = plain && isConstant(2, 0) ? output() : b.Mul(centred, r);
  const h = plain ? grad() : b.Mul(grad(), stretch(b, input(1)));
  const dx = b.Mul(r, b.Sub(b.Sub(h, b.ReduceMean(h, axes)), b.Mul(hat, b.ReduceMean(b.Mul(h, hat), axes))));
  const perParameter = (value: Value): Value => {
    const shape = sizes(stretch(b, input(1)));
    const rank = x.shape.length;
    const kept = new Set(shape.flatMap((size, i) => (size === 1 ? [] : [i + rank - shape.length])));
    const summed = b.ReduceSum(
      value,
      x.shape.flatMap((_, axis) => (kept.has(axis) ? [] : [axis])),
      false,
    );
    return b.Reshape(summed, sizes(input(1)));
  };
  return [
    wanted(0) ? dx : undefined,
    wanted(1) ? perParameter(b.Mul(grad(), hat)) : undefined,
    wanted(2) ? perParameter(grad()) : undefined,
  ];
}
