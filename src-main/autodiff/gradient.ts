// Reverse mode over the graph: walks back from a loss, visits only what lies between trainables and the loss, and appends
// the gradient to the graph as ordinary nodes. Un-broadcasting happens here once, so that no rule has to.
// Textbook: Griewank & Walther 2008, Evaluating Derivatives, section 3.2; the table-plus-walk form is tinygrad's and micrograd's.
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Node, Value } from '../graph/ir.ts';
import type { OpName } from '../graph/ops.ts';
import { prune } from '../graph/passes/prune.ts';
import { printGraph } from '../graph/print.ts';
import type { DType } from '../tensor/dtype.ts';
import { elementCount, sameShape } from '../tensor/shape.ts';
import { sizes, type Rule, type RuleContext } from './rule.ts';
import { convolutionRules } from './rules/convolution.ts';
import { elementwiseRules } from './rules/elementwise.ts';
import { linearRules } from './rules/linear.ts';
import { movementRules } from './rules/movement.ts';
import { normalizationRules } from './rules/normalization.ts';
import { reductionRules } from './rules/reduction.ts';

const rules = {
  ...elementwiseRules,
  ...linearRules,
  ...convolutionRules,
  ...normalizationRules,
  ...reductionRules,
  ...movementRules,
} as Readonly<Partial<Record<OpName, Rule>>>;

/** An operator on the way from the loss to a trainable has no gradient rule. */
export class MissingRuleError extends Error {
  override name = 'MissingRuleError';
}

/** The scope of the names of all nodes that the walk adds. */
export const gradientScope = 'gradient';

/** Name of the output that holds dL/d `input`. */
export const gradientOutput = (input: string): string => `${input}.grad`;

export interface GradientOptions {
  /** Outputs of the graph to walk back from. The sum of loss[i] * seed[i] is differentiated; a scalar without a seed has seed 1. */
  readonly of: readonly { readonly output: string; readonly seed?: string }[];
  /** Names of the graph inputs to differentiate with respect to: float32. */
  readonly withRespectTo: readonly string[];
  /** How the outputs are called; gradientOutput unless given (a gradient of a gradient needs names of its own). */
  readonly name?: (input: string) => string;
}

/**
 * `graph` (fixed shapes) with an output `<input>.grad`, of that input's shape, for each input in `withRespectTo`. Inputs that the
 * loss does not depend on get zeros. A named seed becomes a new graph input in the shape of its output.
 * Throws MissingRuleError naming the operator and the node, and an Error for names that the graph does not have.
 */
export function withGradient(
  graph: Graph,
  { of, withRespectTo, name: outputName = gradientOutput }: GradientOptions,
): Graph {
  const b = GraphBuilder.extend(graph);
  const targets = withRespectTo.map((name) => {
    const input = named(graph.inputs, name, 'input');
    if (input.dtype !== 'float32') throw new Error(`${name} is ${input.dtype}: only float32 inputs have a gradient.`);
    return input;
  });
  const dependent = dependents(graph, targets);
  const grads = new Map<Value, Value>();
  for (const { output: name, seed } of of) {
    const output = named(graph.outputs, name, 'output');
    const start = seed === undefined ? b.Expand(b.constant(1), sizes(scalar(output))) : b.input(seed, sizes(output));
    accumulate(b, grads, output, start);
  }
  b.scope(gradientScope, () => {
    for (const node of [...graph.nodes].reverse()) {
      const reached = node.outputs.some((output) => grads.has(output));
      const wanted = node.inputs.map((input) => input !== undefined && dependent.has(input));
      if (!reached || !wanted.includes(true)) continue;
      const found = apply(b, node, grads, wanted);
      node.inputs.forEach((input, i) => {
        const grad = found[i];
        if (input !== undefined && wanted[i]! && grad !== undefined) accumulate(b, grads, input, grad);
      });
    }
  });
  for (const target of targets) {
    b.output(outputName(target.name), grads.get(target) ?? b.Expand(b.constant(0), sizes(target)));
  }
  return prune(b.build());
}

function named(values: readonly Value[], name: string, kind: string): Value {
  const found = values.find((value) => value.name === name);
  if (found !== undefined) return found;
  throw new Error(
    `The graph has no ${kind} ${name}; it has ${values
      .map((value) => value.name)
      .slice(0, 12)
      .join(', ')}.`,
  );
}

function scalar(output: Value): Value {
  if (elementCount(sizes(output)) === 1) return output;
  throw new Error(`${output.name} is no scalar: name a seed for it.`);
}

/** Types that a gradient can flow through. */
const floats: ReadonlySet<DType> = new Set(['float32', 'float16', 'bfloat16'] as const);

/** Values that change when a target does. */
function dependents(graph: Graph, targets: readonly Value[]): ReadonlySet<Value> {
  const found = new Set(targets);
  for (const { inputs, outputs } of graph.nodes) {
    if (!inputs.some((input) => input !== undefined && found.has(input))) continue;
    for (const output of outputs) if (floats.has(output.dtype)) found.add(output);
  }
  return found;
}

function apply(
  b: GraphBuilder,
  node: Node,
  grads: ReadonlyMap<Value, Value>,
  wanted: readonly boolean[],
): readonly (Value | undefined)[] {
  const rule = rules[node.op as OpName];
  if (rule === undefined) {
    throw new MissingRuleError(
      `${node.op} has no gradient rule, and node ${node.name} lies between the loss and what is trained:\n${printGraph(b.build(), { around: node.name })}`,
    );
  }
  const context: RuleContext = {
    b,
    node,
    input: (index) => {
      const value = node.inputs[index];
      if (value === undefined) throw new Error(`${node.name} has no input ${index}.`);
      return value;
    },
    output: (index = 0) => node.outputs[index]!,
    grad: (index = 0) => grads.get(node.outputs[index]!) ?? b.Expand(b.constant(0), sizes(node.outputs[index]!)),
    wanted: (index) => wanted[index] ?? false,
    integers: (index) => {
      const found = b.numbersOf(node.inputs[index]!);
      if (found === undefined) throw new Error(`Input ${index} of ${node.name} must be a constant.`);
      return found;
    },
    isConstant: (index, number) => {
      const value = node.inputs[index];
      return value !== undefined && b.numbersOf(value)?.every((entry) => entry === number) === true;
    },
  };
  return b.scope(node.name, () => rule(context));
}

/** Adds `grad` to what already flowed back to `value`, summed over the axes along which `value` was broadcast. */
function accumulate(b: GraphBuilder, grads: Map<Value, Value>, value: Value, grad: Value): void {
  const own = unbroadcast(b, grad, sizes(value));
  const before = grads.get(value);
  grads.set(value, before === undefined ? own : b.Add(before, own));
}

/** Sums `grad` down to `shape`: axes that were added in front, and axes of size 1 that were stretched. */
export function unbroadcast(b: GraphBuilder, grad: Value, shape: readonly number[]): Value {
  const from = sizes(grad);
  if (sameShape(from, shape)) return grad;
  const added = from.length - shape.length;
  const axes = from.flatMap((size, axis) => (axis < added || (shape[axis - added] === 1 && size !== 1) ? [axis] : []));
  const summed = axes.length === 0 ? grad : b.ReduceSum(grad, axes);
  return sameShape(sizes(summed), shape) ? summed : b.Reshape(summed, shape);
}
