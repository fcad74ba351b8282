// Every gradient rule against torch autograd (test/golden/autodiff.py) and against central differences of the operator itself.
import { afterEach, describe, expect, it } from 'vitest';
import { gradientOutput, withGradient } from '../../src-main/autodiff/gradient.ts';
import { GraphBuilder } from '../../src-main/graph/builder.ts';
import type { Graph, Value } from '../../src-main/graph/ir.ts';
import { Session } from '../../src-main/runtime/session.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { directionalSlope, dot } from '../support/finite-difference.ts';
import { buildCase, operatorCases } from '../support/gradient-case.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { gradientTolerance } from '../support/tolerances.ts';

const witness = readGolden('autodiff/operators.safetensors');

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.release();
});

async function runner(
  graph: Graph,
): Promise<(feeds: Record<string, FloatTensor>) => Promise<Record<string, Float32Array>>> {
  const session = await Session.open(graph, { provider: 'cpu', threads: 1 });
  sessions.push(session);
  return async (feeds) => {
    const results = await session.run(feeds);
    return Object.fromEntries(
      Object.entries(results).map(([name, { data }]) => [name, (data as Float32Array).slice()]),
    );
  };
}

describe('gradients of single operators', () => {
  it.each(operatorCases.map(([name, operator], index) => [name, operator, index] as const))(
    '%s: equal to torch and to central differences',
    async (name, operator, index) => {
      const { forward, gradient, trainables, outputs, feeds } = buildCase(index, operator);
      const found = await (await runner(gradient))(feeds);
      const run = await runner(forward);
      const loss = async (changed: Record<string, FloatTensor>): Promise<number> => {
        const results = await run({ ...feeds, ...changed });
        return outputs.reduce((sum, output) => sum + dot(results[output]!, feeds[`g${output.slice(1)}`]!.data), 0);
      };
      for (const input of trainables) {
        const grad = found[gradientOutput(input)]!;
        expect(relativeError(grad, witness(`${name}.${input.slice(1)}`).data), input).toBeLessThan(
          gradientTolerance.rule,
        );
        // Along the gradient itself, each number weighed differently: steep, so that rounding of the loss matters least.
        const weights = new TorchGenerator(index).rand([grad.length]).data;
        const tilted = grad.map((value, i) => value * (0.5 + weights[i]!));
        const length = Math.sqrt(dot(tilted, tilted));
        const direction = tilted.map((value) => value / length);
        const { shape, data } = feeds[input]!;
        const slope = await directionalSlope((x) => loss({ [input]: floatTensor(shape, x) }), data, direction, 0.002);
        expect(Math.abs(slope / dot(grad, direction) - 1), `${input} by differences`).toBeLessThan(
          gradientTolerance.difference,
        );
      }
    },
  );
});

describe('attention over many tokens', () => {
  // Two heads of these scores are more than what is differentiated at a time.
  const [tokens, heads, size] = [1500, 2, 4];
  const shape = [1, tokens, heads * size];
  const feeds = Object.fromEntries(
    ['q', 'k', 'v', 'seed'].map((name, i) => [name, new TorchGenerator(i).randn(shape)] as const),
  );
  const gradientOf = async (
    attend: (b: GraphBuilder, q: Value, k: Value, v: Value) => Value,
    withRespectTo: readonly string[],
  ): Promise<Record<string, Float32Array>> => {
    const b = new GraphBuilder('attention');
    b.output('y', attend(b, b.input('q', shape), b.input('k', shape), b.input('v', shape)));
    return (await runner(withGradient(b.build(), { of: [{ output: 'y', seed: 'seed' }], withRespectTo })))(feeds);
  };

  it.each([[['q', 'k', 'v']], [['q']], [['k', 'v']], [['v']]])(
    'with respect to %j: the fused kernel has the gradient of MatMul, Softmax, MatMul',
    async (names) => {
      const fused = await gradientOf((b, q, k, v) => b.MultiHeadAttention(q, k, v, heads), names);
      const plain = await gradientOf((b, q, k, v) => {
        const split = (x: Value, perm: readonly number[]): Value =>
          b.Transpose(b.Reshape(x, [1, tokens, heads, size]), perm);
        const scores = b.MatMul(b.Mul(split(q, [0, 2, 1, 3]), b.constant(1 / Math.sqrt(size))), split(k, [0, 2, 3, 1]));
        const mixed = b.MatMul(b.Softmax(scores), split(v, [0, 2, 1, 3]));
        return b.Reshape(b.Transpose(mixed, [0, 2, 1, 3]), shape);
      }, names);
      for (const name of names) {
        const output = gradientOutput(name);
        expect(relativeError(fused[output]!, plain[output]!), name).toBeLessThan(gradientTolerance.rule);
      }
    },
  );
});
