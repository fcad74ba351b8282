// Gives symbolic sizes their numbers: the same graph for one batch size, one stack of experts. Gradients are written for fixed
// shapes, which are known by the time anything is trained.
import { infer } from '../infer.ts';
import type { Graph, Node, Value } from '../ir.ts';
import type { OpName } from '../ops.ts';

/**
 * `graph` with every symbol of its input shapes replaced by its size in `sizes`, and all shapes inferred again. Throws when a
 * symbol has no size, and ShapeError when the sizes contradict the graph.
 */
export function bindSizes(graph: Graph, sizes: Readonly<Record<string, number>>): Graph {
  const bound = new Map<Value, Value>();
  const integers = new Map<Value, readonly number[]>();
  const resolve = (value: Value): Value => {
    const known = bound.get(value);
    if (known !== undefined) return known;
    const shape = value.shape.map((size) => (typeof size === 'number' ? size : evaluate(size, sizes, value.name)));
    const fixed = { ...value, shape };
    bound.set(value, fixed);
    return fixed;
  };
  const inputs = graph.inputs.map(resolve);
  const initializers = graph.initializers.map((initializer) => {
    const value = resolve(initializer.value);
    if (initializer.kind === 'external') return { ...initializer, value };
    integers.set(value, Array.from(initializer.data, Number));
    return { ...initializer, value };
  });
  const nodes = graph.nodes.map((node): Node => {
    const fed = node.inputs.map((input) => (input === undefined ? undefined : resolve(input)));
    const inferred = infer(node.op as OpName, {
      inputs: fed,
      attributes: node.attributes,
      outputCount: node.outputs.length,
      constant: (value) => integers.get(value),
    });
    const outputs = node.outputs.map((output, i) => {
      const fixed = { ...output, shape: inferred[i]!.shape };
      bound.set(output, fixed);
      return fixed;
    });
    return { ...node, inputs: fed, outputs };
  });
  return { name: graph.name, inputs, initializers, nodes, outputs: graph.outputs.map(resolve) };
}

/** 4096 * R of '4096*R'. */
function evaluate(size: string, sizes: Readonly<Record<string, number>>, name: string): number {
  return size.split('*').reduce((product, part) => {
    const factor = /^\d+$/.test(part) ? Number(part) : sizes[part];
    if (factor === undefined) throw new Error(`${name} has a size "${size}", for which no number is given.`);
    return product * factor;
  }, 1);
}
