// Gradients of sums and means: what flowed back is spread over the axes that were reduced.
import type { Value } from '../../graph/ir.ts';
import { elementCount } from '../../tensor/shape.ts';
import { sizes, type RuleContext, type RuleTable } from '../rule.ts';

export const reductionRules = {
  ReduceSum: (context) => [spread(context, context.grad())],
  ReduceMean: (context) => {
    const { b, grad, input, output } = context;
    const count = elementCount(sizes(input(0))) / elementCount(sizes(output()));
    return [spread(context, b.Mul(grad(), b.constant(1 / count)))];
  },
} satisfies RuleTable;

/** `grad` in the shape of the reduced input. */
function spread({ b, node, input, integers }: RuleContext, grad: Value): Value {
  const shape = sizes(input(0));
  const named = node.inputs[1] === undefined ? [] : integers(1);
  const axes = new Set(
    (named.length === 0 ? shape.map((_, axis) => axis) : named).map((axis) => (axis + shape.length) % shape.length),
  );
  const kept = shape.map((size, axis) => (axes.has(axis) ? 1 : size));
  return b.Expand(node.attributes['keepdims'] === 0 ? b.Reshape(grad, kept) : grad, shape);
}
