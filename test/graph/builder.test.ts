// The graph builder: names, sharing, scopes, weights and the errors that a network's author or a wrong checkpoint meets.
import { describe, expect, it } from 'vitest';
import { GraphBuilder, WeightShapeError } from '../../src-main/graph/builder.ts';
import type { TensorRef } from '../../src-main/graph/ir.ts';

const ref = (shape: readonly number[], more: Partial<TensorRef> = {}): TensorRef => ({
  file: '/models/a.safetensors',
  dtype: 'float32',
  shape,
  offset: 64,
  length: 4 * shape.reduce((a, b) => a * b, 1),
  ...more,
});

describe('names', () => {
  it('scopes read like module paths', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', [2]);
    const y = b.scope('down_blocks.0', () => b.scope('attn1', () => b.Exp(x)));
    expect(y.name).toBe('down_blocks.0/attn1/Exp:0');
    expect(b.Exp(x).name).toBe('Exp:0');
  });

  it('a scope ends when its body throws', () => {
    const b = new GraphBuilder('net');
    expect(() =>
      b.scope('inner', () => {
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(b.Exp(b.input('x', [1])).name).toBe('Exp:0');
  });

  it('are unique even when a caller chose one that looks numbered', () => {
    const b = new GraphBuilder('net');
    const names = ['w', 'w.1', 'w', 'w'].map((name) => b.input(name, [1]).name);
    expect(new Set(names).size).toBe(4);
  });

  it('an output may not take the name of an input or another output', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', [1]);
    expect(() => {
      b.output('x', x);
    }).toThrow('Output x has the name of another value of net');
    b.output('y', x);
    expect(() => {
      b.output('y', x);
    }).toThrow('Output y');
  });
});

describe('values', () => {
  it('every value is made before it is used and made once', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', [1, 4, 8, 8]);
    const [left, right] = b.Split(b.Sigmoid(x), [2, 2], 1);
    b.output('y', b.Concat([b.Mul(left!, b.constant(2)), right!], 1));
    const graph = b.build();
    const made = new Set([...graph.inputs, ...graph.initializers.map(({ value }) => value)].map(({ name }) => name));
    for (const node of graph.nodes) {
      for (const input of node.inputs) if (input !== undefined) expect(made).toContain(input.name);
      for (const output of node.outputs) {
        expect(made).not.toContain(output.name);
        made.add(output.name);
      }
    }
    expect(made).toContain('y');
  });

  it('equal small constants are made once, of either type and shape apart', () => {
    const b = new GraphBuilder('net');
    expect(b.constant(0.5)).toBe(b.constant(0.5));
    expect(b.constant(0.5)).not.toBe(b.constant([0.5]));
    expect(b.integers([1, 2])).toBe(b.integers([1, 2]));
    expect(b.integers([1, 2])).not.toBe(b.constant([1, 2]));
    expect(b.build().initializers).toHaveLength(4);
  });

  it('a constant must fill its shape', () => {
    expect(() => new GraphBuilder('net').constant([1, 2, 3], [2, 2])).toThrow('[2, 2] needs 4 numbers, got 3');
  });

  it('a half-precision output is refused: only float32 and int64 leave a graph', () => {
    const b = new GraphBuilder('net');
    const half = b.Cast(b.input('x', [2]), 'float16');
    expect(() => {
      b.output('y', half);
    }).toThrow('Output y is float16; only float32 and int64');
  });

  it('a wrong number of inputs names the operator', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', [2]);
    expect(() => b.op('Add', [x])).toThrow('Add takes 2 to 2 inputs, got 1');
    expect(() => b.op('Exp', [x], {}, 2)).toThrow('Exp has no output 1');
  });
});

describe('weights', () => {
  it('a float32 weight is used where it lies; another float type is cast', () => {
    const b = new GraphBuilder('net');
    expect(b.weight('a', ref([2, 3]), [2, 3]).name).toBe('a');
    const cast = b.weight('b', ref([2, 3], { dtype: 'bfloat16' }), [2, 3]);
    expect(cast.dtype).toBe('float32');
    expect(b.build().nodes.map(({ op }) => op)).toEqual(['Cast']);
  });

  it('a half-precision table is cast after the rows are taken, never whole', () => {
    const b = new GraphBuilder('net');
    const rows = b.embedding('table', ref([100, 4], { dtype: 'float16' }), [100, 4], b.input('ids', [1, 7], 'int64'));
    expect(rows).toMatchObject({ dtype: 'float32', shape: [1, 7, 4] });
    expect(b.build().nodes.map(({ op }) => op)).toEqual(['Gather', 'Cast']);
  });

  it('the same tensor asked for twice is one initializer', () => {
    const b = new GraphBuilder('net');
    expect(b.weight('a', ref([2]), [2])).toBe(b.weight('a', ref([2]), [2]));
    expect(b.build().initializers).toHaveLength(1);
  });

  it('another tensor under a used name is refused, naming both files', () => {
    const b = new GraphBuilder('net');
    b.weight('a', ref([2]), [2]);
    expect(() => b.weight('a', ref([2], { file: '/models/b.safetensors' }), [2])).toThrow(
      /Weight a of net .*a\.safetensors.*b\.safetensors/,
    );
  });

  it('axes of size 1 may differ: a 1x1 convolution stored as a matrix', () => {
    expect(new GraphBuilder('net').weight('w', ref([6, 4]), [6, 4, 1, 1]).shape).toEqual([6, 4, 1, 1]);
  });

  it('another shape is a WeightShapeError with file, tensor and both shapes', () => {
    const attempt = () => new GraphBuilder('net').weight('conv_in.weight', ref([320, 9, 3, 3]), [320, 4, 3, 3]);
    expect(attempt).toThrow(WeightShapeError);
    expect(attempt).toThrow(
      '/models/a.safetensors: tensor conv_in.weight has shape [320, 9, 3, 3], this network needs [320, 4, 3, 3]',
    );
  });
});
