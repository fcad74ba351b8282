// A graph as text, one line per node, as papers and error messages show it:
//   mid_block/Conv:0 [B, 32, 4, 4] = Conv(x, mid_block.conv.weight) {pads: [1, 1, 1, 1]}
import { showShape } from '../tensor/shape.ts';
import type { Attribute, Graph, Node, Value } from './ir.ts';

/** Numbers of a constant that are printed in its place. */
const shownNumbers = 8;

/**
 * The inputs, nodes and outputs of `graph`, in order. Small constants stand as their numbers, weights as their names.
 * `around` keeps the node of that name and `context` (3) nodes on both sides: an excerpt for an error.
 */
export function printGraph(
  graph: Graph,
  options: { readonly around?: string; readonly context?: number } = {},
): string {
  const constants = new Map<Value, string>();
  for (const initializer of graph.initializers) {
    if (initializer.kind !== 'inline' || initializer.data.length > shownNumbers) continue;
    const numbers = Array.from(initializer.data, Number);
    constants.set(initializer.value, initializer.value.shape.length === 0 ? String(numbers[0]) : showShape(numbers));
  }
  const line = (node: Node): string => printNode(node, (value) => constants.get(value) ?? value.name);
  const at = graph.nodes.findIndex(({ name }) => name === options.around);
  if (options.around !== undefined && at !== -1) {
    const context = options.context ?? 3;
    return graph.nodes
      .slice(Math.max(0, at - context), at + context + 1)
      .map(line)
      .join('\n');
  }
  return [
    `${graph.name}(${graph.inputs.map(typed).join(', ')})`,
    ...graph.nodes.map(line),
    `-> ${graph.outputs.map(typed).join(', ')}`,
  ].join('\n');
}

/** One node: `output [shape] = Op(inputs) {attributes}`. `name` says how a value is called; omitted inputs are `-`. */
export function printNode(node: Node, name: (value: Value) => string = (value) => value.name): string {
  const outputs = node.outputs.map(typed).join(', ');
  const inputs = node.inputs.map((input) => (input === undefined ? '-' : name(input))).join(', ');
  const attributes = Object.entries(node.attributes).map(([key, value]) => `${key}: ${printAttribute(value)}`);
  return `${outputs} = ${node.op}(${inputs})${attributes.length === 0 ? '' : ` {${attributes.join(', ')}}`}`;
}

/** Type and shape; float32 goes without saying. */
const typed = ({ name, dtype, shape }: Value): string =>
  `${name} ${dtype === 'float32' ? '' : dtype}${showShape(shape)}`;

function printAttribute(value: Attribute): string {
  if (typeof value === 'number' || typeof value === 'string') return String(value);
  if ('dtype' in value) return value.dtype;
  return 'float' in value ? String(value.float) : showShape(value);
}
