// Gradients of operators that move numbers: each number's gradient moves back the same way.
import type { Value } from '../../graph/ir.ts';
import { sizes, type Rule, type RuleTable } from '../rule.ts';

/** Any change of shape that keeps the order of the numbers. */
const reshaped: Rule = ({ b, grad, input }) => [b.Reshape(grad(), sizes(input(0)))];

export const movementRules = {
  Reshape: reshaped,
  Unsqueeze: reshaped,
  Squeeze: reshaped,
  Transpose: ({ b, node, grad, input }) => {
    const rank = input(0).shape.length;
    const perm =
      (node.attributes['perm'] as readonly number[] | undefined) ?? input(0).shape.map((_, i) => rank - 1 - i);
    return [
      b.Transpose(
        grad(),
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
    ];
  },
  Concat: ({ b, node, grad, wanted }) => {
    const first = node.inputs[0]!;
    const axis = (Number(node.attributes['axis']) + first.shape.length) % first.shape.length;
    let start = 0;
    return node.inputs.map((input, i): Value | undefined => {
      const from = start;
      start += sizes(input!)[axis]!;
      return wanted(i) ? b.Slice(grad(), [from], [start], [axis]) : undefined;
    });
  },
  Split: ({ b, node, grad }) => {
    const axis = Number(node.attributes['axis'] ?? 0);
    return [
      b.Concat(
        node.outputs.map((_, i) => grad(i)),
        axis,
      ),
    ];
  },
  // Zeros where nothing was taken.
  Slice: ({ b, node, grad, input, integers }) => {
    const shape = sizes(input(0));
    const [starts, ends] = [integers(1), integers(2)];
    const axes = node.inputs[3] === undefined ? starts.map((_, i) => i) : integers(3);
    if (node.inputs[4] !== undefined && integers(4).some((step) => step !== 1))
      throw new Error(`${node.name}: gradients of slices with steps are not written.`);
    const [before, after] = [shape.map(() => 0), shape.map(() => 0)];
    axes.forEach((axis, i) => {
      const at = (axis + shape.length) % shape.length;
      const size = shape[at]!;
      const clamp = (index: number): number => Math.max(0, Math.min(size, index < 0 ? index + size : index));
      before[at] = clamp(starts[i]!);
      after[at] = size - clamp(ends[i]!);
    });
    return [b.Pad(grad(), [...before, ...after])];
  },
  Pad: ({ b, grad, input, integers }) => {
    const shape = sizes(input(0));
    const pads = integers(1);
    const starts = shape.map((_, axis) => pads[axis]!);
    return [
      b.Slice(
        grad(),
        starts,
        starts.map((start, axis) => start + shape[axis]!),
        shape.map((_, axis) => axis),
      ),
    ];
  },
  // Stretched axes are summed down by the walk.
  Expand: ({ grad }) => [grad()],
  // Nearest by whole factors: a number's gradient is the sum over its square.
  Resize: ({ b, grad, input }) => {
    const [from, to] = [sizes(input(0)), sizes(grad())];
    const shape = from.flatMap((size, axis) => [size, to[axis]! / size]); // [B, 1, C, 1, H, s, W, s]
    return [
      b.ReduceSum(
        b.Reshape(grad(), shape),
        from.map((_, axis) => 2 * axis + 1),
        false,
      ),
    ];
  },
} satisfies RuleTable;
