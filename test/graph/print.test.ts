// A graph as text: what an engineer reads in an error.
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph } from '../../src-main/graph/ir.ts';
import { printGraph } from '../../src-main/graph/print.ts';

function perceptron(): Graph {
  const b = new GraphBuilder('perceptron');
  const x = b.input('x', ['B', 3]);
  const ids = b.input('ids', [2], 'int64');
  const w = b.weight('fc.weight', { file: '/f', dtype: 'float16', shape: [4, 3], offset: 0, length: 24 }, [4, 3]);
  const y = b.scope('fc', () => b.Gemm(x, w, undefined, { transB: true }));
  const [low, high] = b.Split(
    b.LayerNormalization(y, b.constant([1, 1, 1, 1]), b.constant([0, 0, 0, 0]), 1e-5),
    [1, 3],
    1,
  );
  b.output('low', b.Mul(low!, b.constant(0.5)));
  b.output('rows', b.Gather(b.Transpose(high!, [1, 0]), ids));
  return b.build();
}

describe('printGraph', () => {
  it('shows one line per node: outputs with shapes, operator, inputs with small constants in place, attributes', () => {
    expect(printGraph(perceptron())).toBe(
      [
        'perceptron(x [B, 3], ids int64[2])',
        'Cast:0 [4, 3] = Cast(fc.weight) {to: float32}',
        'fc/Gemm:0 [B, 4] = Gemm(x, Cast:0) {transA: 0, transB: 1}',
        'LayerNormalization:0 [B, 4] = LayerNormalization(fc/Gemm:0, [1, 1, 1, 1], [0, 0, 0, 0]) {axis: -1, epsilon: 0.00001}',
        'Split:0 [B, 1], Split:1 [B, 3] = Split(LayerNormalization:0, [1, 3]) {axis: 1}',
        'Mul:0 [B, 1] = Mul(Split:0, 0.5)',
        'low [B, 1] = Identity(Mul:0)',
        'Transpose:0 [3, B] = Transpose(Split:1) {perm: [1, 0]}',
        'Gather:0 [2, B] = Gather(Transpose:0, ids) {axis: 0}',
        'rows [2, B] = Identity(Gather:0)',
        '-> low [B, 1], rows [2, B]',
      ].join('\n'),
    );
  });

  it('shows the surroundings of one node', () => {
    expect(printGraph(perceptron(), { around: 'Mul', context: 1 }).split('\n')).toEqual([
      'Split:0 [B, 1], Split:1 [B, 3] = Split(LayerNormalization:0, [1, 3]) {axis: 1}',
      'Mul:0 [B, 1] = Mul(Split:0, 0.5)',
      'low [B, 1] = Identity(Mul:0)',
    ]);
  });
});
