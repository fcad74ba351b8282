// Shape inference against the runtime: every operator of ops.ts runs on small tensors, and what comes back has the shape
// and type that infer.ts said. A wrong type makes onnxruntime refuse the graph, since outputs declare what was inferred.
import { afterAll, describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import { broadcast, multiply, ShapeError } from '../../src-main/graph/infer.ts';
import type { Attributes, Dim, Value } from '../../src-main/graph/ir.ts';
import { ops, type OpName } from '../../src-main/graph/ops.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { floatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';

type Make = (b: GraphBuilder, x: (...shape: Dim[]) => Value) => readonly Value[];

const open: Session[] = [];
afterAll(async () => {
  for (const session of open) await session.release();
});

/** Builds a graph, runs it on the CPU with `sizes` for symbols; gives the inferred and the returned shapes. */
async function witness(make: Make, sizes: Readonly<Record<string, number>> = {}): Promise<[Dim[][], number[][]]> {
  const b = new GraphBuilder('one operator');
  const feeds: Record<string, Tensor> = {};
  const outputs = make(b, (...shape) => {
    const input = b.input(`x${Object.keys(feeds).length}`, shape);
    const tensor = floatTensor(shape.map((size) => (typeof size === 'string' ? sizes[size]! : size)));
    tensor.data.forEach((_, i) => (tensor.data[i] = ((i * 7) % 11) / 11 + 0.1));
    feeds[input.name] = tensor;
    return input;
  });
  outputs.forEach((value, i) => {
    // Only float32 and int64 leave a graph.
    b.output(`y${i}`, value.dtype === 'float32' || value.dtype === 'int64' ? value : b.Cast(value, 'float32'));
  });
  const session = await Session.open(b.build(), { provider: 'cpu' });
  open.push(session);
  const results = await session.run(feeds);
  return [outputs.map(({ shape }) => [...shape]), outputs.map((_, i) => [...results[`y${i}`]!.shape])];
}

/** One operator on values, `integers` given as constants. */
const make =
  (
    op: OpName,
    shapes: readonly (readonly number[])[],
    integers: readonly (readonly number[])[] = [],
    attributes: Attributes = {},
  ): Make =>
  (b, x) =>
    b.op(op, [...shapes.map((shape) => x(...shape)), ...integers.map((list) => b.integers(list))], attributes);

const spatial = { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [1, 1], dilations: [1, 1], group: 1 };

const table: readonly (readonly [OpName, string, Make])[] = [
  ...(['Neg', 'Abs', 'Exp', 'Log', 'Sqrt', 'Reciprocal', 'Sin', 'Cos', 'Tanh', 'Sigmoid', 'Erf', 'Relu'] as const).map(
    (op) => [op, '[2, 3]', make(op, [[2, 3]])] as const,
  ),
  ['Gelu', '[2, 3]', make('Gelu', [[2, 3]])],
  ['Gelu', 'tanh', make('Gelu', [[2, 3]], [], { approximate: 'tanh' })],
  ['Identity', 'a scalar', make('Identity', [[]])],
  ['Cast', 'to float16', (b, x) => [b.Cast(x(2, 3), 'float16')]],
  ['Cast', 'to int64', (b, x) => [b.Cast(x(2, 3), 'int64')]],
  ...(['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Max', 'Min', 'Greater'] as const).map(
    (op) =>
      [
        op,
        'broadcast both ways',
        make(op, [
          [2, 1, 3],
          [4, 1],
        ]),
      ] as const,
  ),
  ['Add', 'a scalar', make('Add', [[], [2, 2]])],
  ['Where', 'broadcast of three', (b, x) => b.op('Where', [b.op('Greater', [x(2, 1), x(2, 1)])[0], x(3), x(1, 1, 1)])],
  [
    'MatMul',
    'batch broadcast',
    make('MatMul', [
      [2, 1, 3, 4],
      [5, 4, 6],
    ]),
  ],
  ['Gemm', 'plain with bias', make('Gemm', [[2, 3], [3, 4], [4]])],
  [
    'Gemm',
    'both transposed',
    make(
      'Gemm',
      [
        [3, 2],
        [4, 3],
      ],
      [],
      { transA: 1, transB: 1 },
    ),
  ],
  [
    'Conv',
    '3x3 padded',
    make(
      'Conv',
      [
        [1, 4, 5, 7],
        [6, 4, 3, 3],
      ],
      [],
      spatial,
    ),
  ],
  [
    'Conv',
    'stride 2 on odd and even sizes',
    make('Conv', [[2, 4, 5, 8], [6, 4, 3, 3], [6]], [], { ...spatial, strides: [2, 2] }),
  ],
  [
    'Conv',
    'asymmetric padding',
    make(
      'Conv',
      [
        [1, 4, 8, 8],
        [6, 4, 3, 3],
      ],
      [],
      { ...spatial, pads: [0, 0, 1, 1], strides: [2, 2] },
    ),
  ],
  [
    'Conv',
    'groups and dilation',
    make(
      'Conv',
      [
        [1, 4, 9, 9],
        [6, 2, 3, 3],
      ],
      [],
      { ...spatial, dilations: [2, 2], group: 2 },
    ),
  ],
  [
    'ConvTranspose',
    'stride 2 with output padding',
    make(
      'ConvTranspose',
      [
        [1, 4, 5, 6],
        [4, 3, 3, 3],
      ],
      [],
      { ...spatial, strides: [2, 2], output_padding: [1, 1] },
    ),
  ],
  [
    'ConvTranspose',
    'groups and dilation',
    make(
      'ConvTranspose',
      [
        [1, 4, 5, 6],
        [4, 3, 3, 3],
      ],
      [],
      { ...spatial, dilations: [2, 2], group: 2 },
    ),
  ],
  ['Softmax', 'over axis 1', make('Softmax', [[2, 3, 4]], [], { axis: 1 })],
  [
    'LayerNormalization',
    'over the last axis',
    make('LayerNormalization', [[2, 3, 4], [4], [4]], [], { axis: -1, epsilon: { float: 1e-5 } }),
  ],
  [
    'InstanceNormalization',
    '[B, C, n]',
    make('InstanceNormalization', [[2, 3, 8], [3], [3]], [], { epsilon: { float: 1e-5 } }),
  ],
  ...(['ReduceMean', 'ReduceSum', 'ReduceMax'] as const).flatMap(
    (op) =>
      [
        [op, 'kept axes', make(op, [[2, 3, 4]], [[0, -1]])],
        [op, 'dropped axes', make(op, [[2, 3, 4]], [[1]], { keepdims: 0 })],
        [op, 'all axes', make(op, [[2, 3, 4]], [], { keepdims: 0 })],
        [op, 'an empty list of axes', make(op, [[2, 3, 4]], [[]])],
      ] as const,
  ),
  ['Reshape', 'kept and free sizes', make('Reshape', [[2, 3, 4]], [[0, -1, 2]])],
  ['Reshape', 'to a scalar', make('Reshape', [[1, 1]], [[]])],
  ['Transpose', 'permuted', make('Transpose', [[2, 3, 4]], [], { perm: [2, 0, 1] })],
  ['Transpose', 'reversed', make('Transpose', [[2, 3, 4]])],
  [
    'Concat',
    'three on a negative axis',
    make(
      'Concat',
      [
        [2, 3],
        [2, 1],
        [2, 4],
      ],
      [],
      { axis: -1 },
    ),
  ],
  ['Split', 'by sizes', (b, x) => b.Split(x(2, 7), [3, 4], -1)],
  ['Split', 'in even parts', (b, x) => b.op('Split', [x(6, 2)], { axis: 0, num_outputs: 3 }, 3)],
  ['Split', 'in uneven parts', (b, x) => b.op('Split', [x(7, 2)], { axis: 0, num_outputs: 3 }, 3)],
  [
    'Slice',
    'from the end',
    make(
      'Slice',
      [[5, 6]],
      [
        [-3, 1],
        [100, -1],
        [0, 1],
      ],
    ),
  ],
  ['Slice', 'without axes', make('Slice', [[5, 6]], [[1], [3]])],
  ['Slice', 'in steps', make('Slice', [[5, 6]], [[0], [5], [0], [2]])],
  ['Slice', 'backwards', make('Slice', [[5, 6]], [[-1], [-100], [0], [-1]])],
  ['Slice', 'backwards in steps', make('Slice', [[5, 6]], [[4], [0], [1], [-2]])],
  ['Slice', 'to nothing', make('Slice', [[5, 6]], [[3], [2], [0]])],
  ['Gather', 'rows', (b, x) => [b.Gather(x(5, 3), b.Reshape(b.integers([0, 4, 1, 1]), [2, 2]))]],
  ['Gather', 'a scalar index on axis 1', (b, x) => [b.Gather(x(5, 3), b.Squeeze(b.integers([2]), [0]), 1)]],
  ['Unsqueeze', 'two axes', make('Unsqueeze', [[2, 3]], [[0, -1]])],
  ['Squeeze', 'a negative axis', make('Squeeze', [[2, 1, 3, 1]], [[1, -1]])],
  ['Expand', 'both ways', make('Expand', [[3, 1]], [[2, 1, 4]])],
  ['Pad', 'both sides', make('Pad', [[2, 3]], [[0, 1, 2, 3]])],
  ['Pad', 'cropping', make('Pad', [[4, 3]], [[-1, 0, 0, 0]])],
  ['Resize', 'twice the size', (b, x) => [b.Resize(x(1, 2, 3, 5), 2)]],
  ['QuickGelu', '[2, 3]', make('QuickGelu', [[2, 3]], [], { alpha: { float: 1.702 } })],
  [
    'MultiHeadAttention',
    'self-attention',
    make(
      'MultiHeadAttention',
      [
        [1, 5, 8],
        [1, 5, 8],
        [1, 5, 8],
      ],
      [],
      { num_heads: 2 },
    ),
  ],
  [
    'MultiHeadAttention',
    'wider values',
    make(
      'MultiHeadAttention',
      [
        [2, 5, 8],
        [2, 7, 8],
        [2, 7, 12],
      ],
      [],
      { num_heads: 2 },
    ),
  ],
];

describe('inferred shapes are those that onnxruntime returns', () => {
  it.each(table)('%s: %s', async (_, __, build) => {
    const [inferred, returned] = await witness(build);
    expect(inferred).toEqual(returned);
  });

  it('the table has every operator', () => {
    expect(new Set(table.map(([op]) => op))).toEqual(new Set(Object.keys(ops)));
  });
});

/** Value of a symbolic size: '40*B' with B = 2 is 80. */
const evaluate = (size: Dim, sizes: Readonly<Record<string, number>>): number =>
  typeof size === 'number'
    ? size
    : size.split('*').reduce((product, part) => product * (/^\d+$/.test(part) ? Number(part) : sizes[part]!), 1);

const symbolic: readonly (readonly [string, Make])[] = [
  ['MatMul with a symbolic batch and rows', (b, x) => [b.MatMul(x('B', 'R', 4), x(4, 5))]],
  ['MatMul over a symbolic inner size', (b, x) => [b.MatMul(x(3, 'R'), x('R', 5))]],
  ['Conv of a symbolic batch', (b, x) => [b.Conv(x('B', 3, 6, 6), x(4, 3, 3, 3), undefined, { padding: 1 })]],
  ['Conv that keeps a symbolic height', (b, x) => [b.Conv(x(1, 3, 'B', 6), x(4, 3, 3, 3), undefined, { padding: 1 })]],
  ['Reshape splits and joins symbolic axes', (b, x) => [b.Reshape(x('B', 6, 4, 'R'), [0, -1, 2])]],
  ['Reshape carries a product to another axis', (b, x) => [b.Reshape(b.Reshape(x('B', 6, 4), [-1, 2]), [-1, 3, 4])]],
  ['Resize of a symbolic size', (b, x) => [b.Resize(x(1, 2, 'B', 'R'), 2)]],
  ['Transpose, Unsqueeze and Squeeze', (b, x) => [b.Squeeze(b.Unsqueeze(b.Transpose(x('B', 'R'), [1, 0]), [1]), [1])]],
  ['Gather by symbolic many indices', (b, x) => [b.Gather(x(5, 3), b.Cast(x('B', 'R'), 'int64'))]],
  ['Softmax and ReduceSum', (b, x) => [b.ReduceSum(b.Softmax(x('B', 'R')), [1], false)]],
  ['Add of like symbols and of 1', (b, x) => [b.Add(b.Add(x('B', 'R'), x('R')), x(1, 1))]],
];

describe('symbolic sizes', () => {
  it.each(symbolic)('%s', async (_, build) => {
    for (const sizes of [
      { B: 2, R: 3 },
      { B: 5, R: 1 },
    ]) {
      const [inferred, returned] = await witness(build, sizes);
      expect(inferred.map((shape) => shape.map((size) => evaluate(size, sizes)))).toEqual(returned);
    }
  });

  it('products have one name whatever their order', () => {
    expect(multiply('B', 'A')).toBe(multiply('A', 'B'));
    expect(multiply(multiply('B', 2), multiply('A', 3))).toBe('6*A*B');
    expect(multiply('B', 1)).toBe('B');
  });

  it('broadcasts with 1 and with themselves only', () => {
    expect(broadcast(['B', 1], ['R'])).toEqual(['B', 'R']);
    expect(() => broadcast(['B'], ['R'])).toThrow(ShapeError);
    expect(() => broadcast(['B'], [4])).toThrow('[B] and [4] do not broadcast');
  });
});

const wrong: readonly (readonly [string, RegExp, Make])[] = [
  [
    'sizes that do not broadcast',
    /^Add: \[2, 3\] and \[4\] do not broadcast .*x0 \[2, 3\]; x1 \[4\]/,
    make('Add', [[2, 3], [4]]),
  ],
  ['types that differ', /^Add: types differ: float32 and int64/, (b, x) => [b.Add(x(1), b.integers([1]))]],
  [
    'inner sizes of a product',
    /^MatMul: inner sizes 3 and 4 differ/,
    make('MatMul', [
      [2, 3],
      [4, 5],
    ]),
  ],
  ['a vector in a product', /^MatMul: both inputs need rank 2/, make('MatMul', [[3], [3, 5]])],
  [
    'inner sizes of Gemm',
    /^Gemm: inner sizes 3 and 4 differ/,
    make('Gemm', [
      [2, 3],
      [4, 5],
    ]),
  ],
  [
    'channels of a kernel',
    /^Conv: the input has 4 channels, the kernel expects 3/,
    make(
      'Conv',
      [
        [1, 4, 5, 5],
        [6, 3, 3, 3],
      ],
      [],
      spatial,
    ),
  ],
  [
    'a kernel larger than its input',
    /^Conv: a kernel of 3/,
    make(
      'Conv',
      [
        [1, 4, 2, 2],
        [6, 4, 3, 3],
      ],
      [],
      { ...spatial, pads: [0, 0, 0, 0] },
    ),
  ],
  [
    'channels of a transposed kernel',
    /^ConvTranspose: the input has 4 channels, the kernel expects 3/,
    make(
      'ConvTranspose',
      [
        [1, 4, 5, 5],
        [3, 6, 3, 3],
      ],
      [],
      spatial,
    ),
  ],
  ['an element count', /^Reshape: \[2, 3\] has 6 elements, \[4\] has 4/, make('Reshape', [[2, 3]], [[4]])],
  [
    'a free size that does not divide',
    /^Reshape: \[2, 3\] does not divide into \[4, -1\]/,
    make('Reshape', [[2, 3]], [[4, -1]]),
  ],
  ['two free sizes', /^Reshape: \[-1, -1\] has more than one free size/, make('Reshape', [[2, 3]], [[-1, -1]])],
  ['a kept axis that is not there', /^Reshape: \[6, 1, 0\] keeps axis 2/, make('Reshape', [[2, 3]], [[6, 1, 0]])],
  ['a permutation', /^Transpose: perm \[0, 0\] does not fit rank 2/, make('Transpose', [[2, 3]], [], { perm: [0, 0] })],
  [
    'sizes beside the joined axis',
    /^Concat: sizes differ outside axis 0/,
    make(
      'Concat',
      [
        [2, 3],
        [2, 4],
      ],
      [],
      { axis: 0 },
    ),
  ],
  ['ranks of joined values', /^Concat: ranks differ/, make('Concat', [[2, 3], [2]], [], { axis: 0 })],
  ['sizes of parts', /^Split: sizes \[3, 3\] do not add up to 7/, (b, x) => b.Split(x(7), [3, 3], 0)],
  ['an axis', /^Gather: axis 2 is outside rank 2/, (b, x) => [b.Gather(x(5, 3), b.integers([0]), 2)]],
  ['a squeezed axis that is not 1', /^Squeeze: axis 0 has size 2, not 1/, make('Squeeze', [[2, 3]], [[0]])],
  [
    'a shape that is not a constant',
    /^Reshape: input 1 must be a constant/,
    (b, x) => b.op('Reshape', [x(2, 3), b.Cast(x(2), 'int64')]),
  ],
  ['padding of another rank', /^Pad: 2 pads do not fit rank 2/, make('Pad', [[2, 3]], [[1, 1]])],
  ['a step of zero', /^Slice: step 0/, make('Slice', [[5]], [[0], [5], [0], [0]])],
];

describe('a mistake is named with its operator and shapes', () => {
  it.each(wrong)('%s', (_, message, build) => {
    const b = new GraphBuilder('wrong');
    let count = 0;
    const attempt = () => {
      try {
        build(b, (...shape) => b.input(`x${count++}`, shape));
        return 'nothing was thrown';
      } catch (error) {
        return error;
      }
    };
    const error = attempt();
    expect(error).toBeInstanceOf(ShapeError);
    expect((error as ShapeError).message).toMatch(message);
  });
});
