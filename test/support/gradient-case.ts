// Cases of test/golden/autodiff.py: one operator each, its inputs and what flows back drawn by the same seeds.
import { readFileSync } from 'node:fs';
import { withGradient } from '../../src-main/autodiff/gradient.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Attributes, Graph, Value } from '../../src-main/graph/ir.ts';
import type { OpName } from '../../src-main/graph/ops.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';

interface Drawn {
  readonly draw: readonly number[];
  readonly positive?: boolean;
  readonly away?: boolean;
  readonly fixed?: boolean;
  readonly condition?: boolean;
}
type Source = Drawn | { readonly integers: readonly number[] } | { readonly floats: readonly number[] } | null;

interface OperatorCase {
  readonly op: OpName;
  readonly inputs: readonly Source[];
  readonly attributes: Attributes;
  readonly outputs: number;
  readonly unused: readonly number[];
}

/** Cases by name, in the order of their seeds. */
export const operatorCases = Object.entries(
  JSON.parse(readFileSync(new URL('../golden/data/autodiff/operators.json', import.meta.url), 'utf8')) as Readonly<
    Record<string, OperatorCase>
  >,
);

/** The operator alone with its gradient: `x<i>` -> `y<j>` and `x<i>.grad`, where `g<j>` flows back into output j. */
export interface BuiltCase {
  readonly forward: Graph;
  readonly gradient: Graph;
  readonly trainables: readonly string[];
  readonly outputs: readonly string[];
  /** x<i> and g<j>. */
  readonly feeds: Readonly<Record<string, FloatTensor>>;
}

export function buildCase(index: number, { op, inputs, attributes, outputs, unused }: OperatorCase): BuiltCase {
  const b = new GraphBuilder(op);
  const feeds: Record<string, FloatTensor> = {};
  const trainables: string[] = [];
  const given = inputs.map((source, i): Value | undefined => {
    if (source === null) return undefined;
    if ('integers' in source) return b.integers(source.integers);
    if ('floats' in source) return b.constant(source.floats.length === 1 ? source.floats[0]! : source.floats);
    const name = `x${i}`;
    const { data } = new TorchGenerator(100 * index + i).randn(source.draw);
    if (source.positive === true) data.forEach((x, at) => (data[at] = Math.abs(x) + 0.5));
    if (source.away === true) data.forEach((x, at) => (data[at] = x + 0.5 * Math.sign(x)));
    feeds[name] = floatTensor(source.draw, data);
    const input = b.input(name, source.draw);
    if (source.condition === true) return b.Greater(input, b.constant(0));
    if (source.fixed !== true) trainables.push(name);
    return input;
  });
  const results = b.op(op, given, attributes, outputs);
  const names = results.flatMap((result, j) => {
    if (unused.includes(j)) return [];
    b.output(`y${j}`, result);
    const shape = result.shape.map(Number);
    feeds[`g${j}`] = new TorchGenerator(100 * index + 50 + j).randn(shape);
    return [`y${j}`];
  });
  const forward = b.build();
  const gradient = withGradient(forward, {
    of: names.map((output) => ({ output, seed: `g${output.slice(1)}` })),
    withRespectTo: trainables,
  });
  return { forward, gradient, trainables, outputs: names, feeds };
}
