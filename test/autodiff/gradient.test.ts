// What the walk promises whatever the rules are: it goes where it must and nowhere else, and its result is an ordinary graph.
import { afterEach, describe, expect, it } from 'vitest';
import { gradientOutput, MissingRuleError, withGradient } from '../../src-main/autodiff/gradient.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph, Value } from '../../src-main/graph/ir.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { floatTensor, type FloatTensor, type Tensor } from '../../src-main/tensor/tensor.ts';

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function run(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, FloatTensor>> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return (await session.run(feeds)) as Record<string, FloatTensor>;
}
const vector = (...values: number[]): FloatTensor => floatTensor([values.length], Float32Array.from(values));

/** sum of w_n tanh(... tanh(w_1 x)): layers in a row. */
function chain(depth: number): { readonly graph: Graph; readonly hidden: readonly Value[] } {
  const b = new GraphBuilder('chain');
  const hidden: Value[] = [b.input('x', [2])];
  for (let layer = 1; layer <= depth; layer++) {
    const w = b.input(`w${layer}`, [2]);
    hidden.push(b.scope(`layer${layer}`, () => b.Tanh(b.Mul(w, hidden.at(-1)!))));
  }
  b.output('loss', b.ReduceSum(hidden.at(-1)!, [0], false));
  return { graph: b.build(), hidden };
}

describe('the walk', () => {
  it('differentiates nothing upstream of the first trainable', () => {
    const { graph } = chain(5);
    const gradient = withGradient(graph, { of: [{ output: 'loss' }], withRespectTo: ['w4'] });
    const added = gradient.nodes.slice(graph.nodes.length);
    const walked = [1, 2, 3, 4, 5].filter((layer) => added.some(({ name }) => name.includes(`layer${layer}/`)));
    expect(walked).toEqual([4, 5]);
  });

  it('reads only what the gradient is made of: the input of the trainable layer, and what follows', () => {
    const { graph, hidden } = chain(5);
    const early = new Set(hidden.slice(0, 3));
    const gradient = withGradient(graph, { of: [{ output: 'loss' }], withRespectTo: ['w4'] });
    const added = gradient.nodes.slice(graph.nodes.length);
    const read = added.flatMap(({ inputs }) => inputs);
    expect(read).toContain(hidden[3]);
    expect(read.filter((value) => value !== undefined && early.has(value))).toEqual([]);
  });

  it('does not go into branches that end without the loss', async () => {
    const b = new GraphBuilder('two branches');
    const x = b.input('x', [2]);
    b.output('loss', b.ReduceSum(b.Mul(x, x), [0], false));
    // ReduceMax has no rule: it would throw.
    b.output('largest', b.op('ReduceMax', [x, b.integers([0])], { keepdims: 0 })[0]!);
    const gradient = withGradient(b.build(), { of: [{ output: 'loss' }], withRespectTo: ['x'] });
    const results = await run(gradient, { x: vector(1, -3) });
    expect([...results['x.grad']!.data]).toEqual([2, -6]);
    expect(results['largest']!.data[0]).toBe(1);
  });

  it('sums what flows back through every reader', async () => {
    const b = new GraphBuilder('readers');
    const x = b.input('x', [2]);
    const square = b.Mul(x, x);
    b.output('loss', b.ReduceSum(b.Add(b.Mul(square, x), square), [0], false)); // x^3 + x^2
    const gradient = withGradient(b.build(), { of: [{ output: 'loss' }], withRespectTo: ['x'] });
    expect([...(await run(gradient, { x: vector(1, 2) }))['x.grad']!.data]).toEqual([5, 16]);
  });

  it('weighs each loss by its seed', async () => {
    const b = new GraphBuilder('two losses');
    const x = b.input('x', [2]);
    b.output('squares', b.Mul(x, x));
    b.output('sum', b.ReduceSum(x, [0], false));
    const gradient = withGradient(b.build(), {
      of: [{ output: 'squares', seed: 's' }, { output: 'sum' }],
      withRespectTo: ['x'],
    });
    const results = await run(gradient, { x: vector(1, 2), s: vector(10, 100) });
    expect([...results['x.grad']!.data]).toEqual([21, 401]);
  });

  it('gives zeros for an input that the loss ignores', async () => {
    const b = new GraphBuilder('ignored');
    const [x, y] = [b.input('x', [2]), b.input('y', [3])];
    b.output('loss', b.ReduceSum(x, [0], false));
    b.output('other', b.Neg(y));
    const gradient = withGradient(b.build(), { of: [{ output: 'loss' }], withRespectTo: ['x', 'y'] });
    const results = await run(gradient, { x: vector(1, 2), y: vector(1, 2, 3) });
    expect([...results['x.grad']!.data]).toEqual([1, 1]);
    expect([...results['y.grad']!.data]).toEqual([0, 0, 0]);
  });

  it('keeps the outputs of the graph', async () => {
    const { graph } = chain(2);
    const gradient = withGradient(graph, { of: [{ output: 'loss' }], withRespectTo: ['w1'] });
    const feeds = { x: vector(0.3, -1), w1: vector(1, 2), w2: vector(-1, 0.5) };
    expect((await run(gradient, feeds))['loss']!.data[0]).toBe((await run(graph, feeds))['loss']!.data[0]);
  });

  it('of a gradient is the second derivative, and of that the third', async () => {
    const b = new GraphBuilder('polynomial');
    const x = b.input('x', [3]);
    const derivative = (graph: Graph, output: string, order: number): Graph => {
      const more = GraphBuilder.extend(graph);
      const value = graph.outputs.find(({ name }) => name === output)!;
      more.output(`sum ${order}`, more.ReduceSum(value, [0], false));
      return withGradient(more.build(), {
        of: [{ output: `sum ${order}` }],
        withRespectTo: ['x'],
        name: () => `derivative ${order}`,
      });
    };
    b.output('powers', b.Mul(b.Mul(x, x), b.Mul(x, x))); // x^4
    const first = derivative(b.build(), 'powers', 1);
    const third = derivative(derivative(first, 'derivative 1', 2), 'derivative 2', 3);
    const results = await run(third, { x: vector(1, -2, 0.5) });
    expect([...results['derivative 1']!.data]).toEqual([4, -32, 0.5]);
    expect([...results['derivative 2']!.data]).toEqual([12, 48, 3]);
    expect([...results['derivative 3']!.data]).toEqual([24, -48, 12]);
  });
});

describe('mistakes', () => {
  const b = new GraphBuilder('network');
  const x = b.input('x', [2, 3]);
  const ids = b.input('ids', [2], 'int64');
  b.output('y', b.Mul(x, b.constant(2)));
  b.output(
    'loss',
    b.scope('pool', () => b.op('ReduceMax', [x, b.integers([0, 1])], { keepdims: 0 })[0]!),
  );
  b.output('rows', b.Gather(x, ids));
  const graph = b.build();
  const differentiate = (output: string, input: string) => () =>
    withGradient(graph, { of: [{ output }], withRespectTo: [input] });

  it('an operator without a rule is named, with its node and its surroundings', () => {
    expect(differentiate('loss', 'x')).toThrow(MissingRuleError);
    expect(differentiate('loss', 'x')).toThrow(
      /ReduceMax has no gradient rule.*pool\/ReduceMax[^]*= ReduceMax\(x, \[0, 1\]\)/,
    );
  });

  it('unknown names are answered with those that there are', () => {
    expect(differentiate('cost', 'x')).toThrow('The graph has no output cost; it has y, loss, rows.');
    expect(differentiate('loss', 'w')).toThrow('The graph has no input w; it has x, ids.');
  });

  it('a loss that is no scalar needs a seed', () => {
    expect(differentiate('y', 'x')).toThrow('y is no scalar: name a seed for it.');
  });

  it('integers have no gradient', () => {
    expect(differentiate('rows', 'ids')).toThrow('ids is int64: only float32 inputs have a gradient.');
  });

  it('a symbolic size is named', () => {
    const open = new GraphBuilder('open');
    open.output('loss', open.ReduceSum(open.input('x', ['B']), [0], false));
    expect(() => withGradient(open.build(), { of: [{ output: 'loss' }], withRespectTo: ['x'] })).toThrow(
      'x has the symbolic size B; bind sizes first.',
    );
  });

  it('gradients are named after their inputs', () => {
    expect(gradientOutput('gate.weight')).toBe('gate.weight.grad');
  });
});
