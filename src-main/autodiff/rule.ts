// What a gradient rule is: the vector-Jacobian product of one operator, written with the same operators, so that a gradient is
// an ordinary graph. Shapes are fixed by then (graph/passes/bind.ts).
import type { GraphBuilder } from '../graph/builder.ts';
import type { Node, Value } from '../graph/ir.ts';
import type { OpName } from '../graph/ops.ts';

export interface RuleContext {
  readonly b: GraphBuilder;
  readonly node: Node;
  /** Inputs that are there; an omitted optional input throws. */
  readonly input: (index: number) => Value;
  readonly output: (index?: number) => Value;
  /** dL/d output, in the output's shape; zeros where nothing flowed back. */
  readonly grad: (index?: number) => Value;
  /** Whether dL/d input is wanted: rules leave out what nobody reads. */
  readonly wanted: (index: number) => boolean;
  /** Integers of a constant input (axes, shapes). */
  readonly integers: (index: number) => readonly number[];
  /** Whether an input is a constant of which every number is `value`. */
  readonly isConstant: (index: number, value: number) => boolean;
}

/**
 * dL/d input for each input, undefined where it is not wanted or always zero. A rule may return a gradient in the broadcast
 * shape of its output: the walk sums it down to the input's shape.
 */
export type Rule = (context: RuleContext) => readonly (Value | undefined)[];

/** Rules of one family of operators. */
export type RuleTable = Readonly<Partial<Record<OpName, Rule>>>;

/** Sizes of a value whose shape is fixed. Throws when a size is symbolic. */
export function sizes(value: Value): readonly number[] {
  return value.shape.map((size) => {
    if (typeof size === 'string') throw new Error(`${value.name} has the symbolic size ${size}; bind sizes first.`);
    return size;
  });
}
