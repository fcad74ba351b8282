// Passes over a graph: sizes get their numbers, dead nodes go.
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import { bindSizes } from '../../src-main/graph/passes/bind.ts';
import { prune } from '../../src-main/graph/passes/prune.ts';

describe('bindSizes', () => {
  const b = new GraphBuilder('symbolic');
  const x = b.input('x', ['B', 3]);
  const rows = b.input('rows', ['6*B', 'R']);
  b.output('flat', b.Reshape(b.MatMul(x, b.constant(new Float32Array(12), [3, 4])), [-1]));
  b.output('wide', b.Resize(b.Reshape(x, [0, 3, 1, 1]), 2));
  b.output('turned', b.Transpose(rows, [1, 0]));
  const graph = b.build();

  it('gives every symbol its number, and products of symbols theirs', () => {
    const bound = bindSizes(graph, { B: 2, R: 5 });
    expect(bound.inputs.map(({ shape }) => shape)).toEqual([
      [2, 3],
      [12, 5],
    ]);
    expect(bound.outputs.map(({ shape }) => shape)).toEqual([[8], [2, 3, 2, 2], [5, 12]]);
    expect(bound.nodes.flatMap(({ outputs }) => outputs.flatMap(({ shape }) => shape)).every(Number.isInteger)).toBe(
      true,
    );
  });

  it('names a symbol without a number', () => {
    expect(() => bindSizes(graph, { B: 2 })).toThrow('rows has a size "R", for which no number is given.');
  });
});

describe('prune', () => {
  it('leaves out nodes and weights that no output needs, and keeps inputs', () => {
    const b = new GraphBuilder('waste');
    const x = b.input('x', [2]);
    b.input('y', [2]);
    b.Mul(x, b.constant([3, 4]));
    b.output('z', b.Add(x, b.constant([1, 2])));
    const pruned = prune(b.build());
    expect(pruned.nodes.map(({ op }) => op)).toEqual(['Add', 'Identity']);
    expect(pruned.initializers.flatMap((weight) => (weight.kind === 'inline' ? [...weight.data] : []))).toEqual([1, 2]);
    expect(pruned.inputs.map(({ name }) => name)).toEqual(['x', 'y']);
  });
});
