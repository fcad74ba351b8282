// Leaves out what no output needs: nodes, and the initializers that only they read.
import type { Graph, Node, Value } from '../ir.ts';

/** `graph` without dead nodes. Inputs and outputs stay as they are. */
export function prune(graph: Graph): Graph {
  const needed = new Set<Value>(graph.outputs);
  const nodes: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((output) => needed.has(output))) continue;
    nodes.push(node);
    for (const input of node.inputs) if (input !== undefined) needed.add(input);
  }
  return {
    ...graph,
    nodes: nodes.reverse(),
    initializers: graph.initializers.filter(({ value }) => needed.has(value)),
  };
}
