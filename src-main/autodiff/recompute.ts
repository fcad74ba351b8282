// Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) as a rewriting of a finished gradient graph: what the backward pass
// reads from inside a segment is computed a second time from the segment's inputs, so that the forward pass may forget it.
// The second computation reads x + 0 g instead of x, g a number that only the backward pass knows: without that, onnxruntime
// would see two equal computations and keep one, or run the second long before it is needed.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Node, Value } from '../graph/ir.ts';
import type { OpName } from '../graph/ops.ts';
import { prune } from '../graph/passes/prune.ts';
import { gradientScope } from './gradient.ts';

export interface RecomputationOptions {
  /**
   * The segment of a node of the forward pass; nodes of none are kept. Unless given, the outermost scope of its name: a
   * UNet's resnets and transformers.
   */
  readonly segment?: (node: Node) => string | undefined;
}

/** The outermost scope of a node's name: `down_blocks.0.attentions.0` of `down_blocks.0.attentions.0/MatMul`. */
export const outermostScope = ({ name }: Node): string | undefined =>
  name.includes('/') ? name.slice(0, name.indexOf('/')) : undefined;

/**
 * `graph`, made by withGradient, with the activations inside each segment computed again in the backward pass. Outputs are
 * equal; the memory for activations falls to the segments' inputs and one segment's inside, for one more forward pass.
 * What hangs on the graph's inputs and weights alone is kept, and so are segments that are read before anything has flowed back
 * (the last one).
 */
export function withRecomputation(graph: Graph, { segment = outermostScope }: RecomputationOptions = {}): Graph {
  const isBackward = (node: Node): boolean => node.name.startsWith(`${gradientScope}/`);
  const segmentOf = new Map<Node, string>();
  for (const node of graph.nodes) {
    const name = isBackward(node) ? undefined : segment(node);
    if (name !== undefined) segmentOf.set(node, name);
  }
  const producer = new Map<Value, Node>();
  for (const node of graph.nodes) for (const output of node.outputs) producer.set(output, node);
  const segmentOfValue = (value: Value): string | undefined => {
    const node = producer.get(value);
    return node === undefined ? undefined : segmentOf.get(node);
  };
  const kept = keptValues(graph, isBackward, segmentOf, segmentOfValue);
  const inside = (value: Value): string | undefined => (kept.has(value) ? undefined : segmentOfValue(value));
  const late = lateValues(graph, isBackward);

  const b = GraphBuilder.extend(graph);
  /** What flows back, as late as it is known, in the order of the backward pass. */
  let flowing: Value | undefined;
  const segments = new Map<string, Segment | undefined>();
  const rewritten = graph.nodes.map((node): Node => {
    if (!isBackward(node)) return node;
    const inputs = node.inputs.map((input) => {
      const name = input === undefined ? undefined : inside(input);
      if (input === undefined || name === undefined) return input;
      if (!segments.has(name)) {
        segments.set(name, flowing === undefined ? undefined : new Segment(b, name, flowing, producer, inside));
      }
      return segments.get(name)?.again(input) ?? input;
    });
    flowing = node.outputs.find((output) => late.has(output)) ?? flowing;
    return { ...node, inputs };
  });
  const built = b.build();
  const made = built.nodes.slice(graph.nodes.length);
  return prune({ ...built, nodes: inOrder([...rewritten, ...made]) });
}

/** One segment's second computation as it grows. */
class Segment {
  readonly #b: GraphBuilder;
  readonly #name: string;
  readonly #producer: ReadonlyMap<Value, Node>;
  readonly #inside: (value: Value) => string | undefined;
  /** 0 g: [1]. */
  readonly #nothing: Value;
  readonly #made = new Map<Value, Value>();

  constructor(
    b: GraphBuilder,
    name: string,
    flowing: Value,
    producer: ReadonlyMap<Value, Node>,
    inside: (value: Value) => string | undefined,
  ) {
    this.#b = b;
    this.#name = name;
    this.#producer = producer;
    this.#inside = inside;
    this.#nothing = b.scope('again', () => b.Mul(b.Slice(b.Reshape(flowing, [-1]), [0], [1], [0]), b.constant(0)));
  }

  /** `value`, of inside the segment or its border, computed or read a second time. */
  again(value: Value): Value {
    const known = this.#made.get(value);
    if (known !== undefined) return known;
    const node = this.#producer.get(value);
    // Inputs of the graph and weights are there anyway.
    if (node === undefined) return value;
    const b = this.#b;
    if (this.#inside(value) !== this.#name) {
      const guarded =
        value.dtype === 'float32' && value.shape.length > 0
          ? b.scope('again', () => b.Add(value, this.#nothing))
          : value;
      this.#made.set(value, guarded);
      return guarded;
    }
    const inputs = node.inputs.map((input) => (input === undefined ? undefined : this.again(input)));
    // Nothing of the pictures in it: kept.
    if (inputs.every((input, i) => input === node.inputs[i])) {
      node.outputs.forEach((output) => this.#made.set(output, output));
      return value;
    }
    const outputs = b.scope('again', () => b.op(node.op as OpName, inputs, node.attributes, node.outputs.length));
    node.outputs.forEach((output, i) => this.#made.set(output, outputs[i]!));
    return this.#made.get(value)!;
  }
}

/** Values that outlive their segment: read by another part of the forward pass, or outputs of the graph. */
function keptValues(
  graph: Graph,
  isBackward: (node: Node) => boolean,
  segmentOf: ReadonlyMap<Node, string>,
  segmentOfValue: (value: Value) => string | undefined,
): ReadonlySet<Value> {
  const kept = new Set<Value>(graph.outputs);
  for (const node of graph.nodes) {
    if (isBackward(node)) continue;
    for (const input of node.inputs) {
      if (input !== undefined && segmentOfValue(input) !== segmentOf.get(node)) kept.add(input);
    }
  }
  return kept;
}

/** Values of the backward pass that no run can know before its forward pass has ended: those that hang on a loss or a seed. */
function lateValues(graph: Graph, isBackward: (node: Node) => boolean): ReadonlySet<Value> {
  const outputs = new Set<Value>(graph.outputs);
  const [varying, flowing] = [new Set<Value>(graph.inputs), new Set<Value>()];
  let started = false;
  for (const node of graph.nodes) {
    const varies = node.inputs.some((input) => input !== undefined && varying.has(input));
    if (varies) for (const output of node.outputs) varying.add(output);
    if (!isBackward(node) || node.outputs.some((output) => outputs.has(output))) continue;
    // The first node of the backward pass is the loss's own.
    const flows = !started || node.inputs.some((input) => input !== undefined && flowing.has(input));
    started = true;
    if (flows) for (const output of node.outputs) flowing.add(output);
  }
  return new Set([...flowing].filter((value) => varying.has(value) && value.dtype === 'float32'));
}

/** Nodes in an order in which every value is produced before it is used, otherwise as listed. */
function inOrder(nodes: readonly Node[]): readonly Node[] {
  const producer = new Map<Value, Node>();
  for (const node of nodes) for (const output of node.outputs) producer.set(output, node);
  const ordered = new Set<Node>();
  const visit = (node: Node): void => {
    if (ordered.has(node)) return;
    for (const input of node.inputs) {
      const before = input === undefined ? undefined : producer.get(input);
      if (before !== undefined) visit(before);
    }
    ordered.add(node);
  };
  nodes.forEach(visit);
  return [...ordered];
}
