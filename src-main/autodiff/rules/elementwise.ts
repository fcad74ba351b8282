// Gradients of operators that act number by number. y = f(x): dx = g f'(x). Broadcast inputs are summed down by the walk.
import type { GraphBuilder } from '../../graph/builder.ts';
import type { Value } from '../../graph/ir.ts';
import type { Rule, RuleContext, RuleTable } from '../rule.ts';

/** dx = g times what `slope` returns. */
const unary =
  (slope: (b: GraphBuilder, x: Value, y: Value, context: RuleContext) => Value): Rule =>
  (context) => [context.b.Mul(context.grad(), slope(context.b, context.input(0), context.output(), context))];

const zero = (b: GraphBuilder): Value => b.constant(0);
const attribute = ({ node }: RuleContext, name: string): unknown => node.attributes[name];

export const elementwiseRules = {
  Neg: ({ b, grad }) => [b.Neg(grad())],
  Abs: ({ b, grad, input }) => [b.Where(b.Greater(input(0), zero(b)), grad(), b.Neg(grad()))],
  Exp: unary((_, _x, y) => y),
  Log: ({ b, grad, input }) => [b.Div(grad(), input(0))],
  // 1 / (2 y)
  Sqrt: ({ b, grad, output }) => [b.Div(b.Mul(grad(), b.constant(0.5)), output())],
  // -y^2
  Reciprocal: unary((b, _, y) => b.Neg(b.Mul(y, y))),
  Sin: unary((b, x) => b.Cos(x)),
  Cos: unary((b, x) => b.Neg(b.Sin(x))),
  // 1 - y^2
  Tanh: unary((b, _, y) => b.Sub(b.constant(1), b.Mul(y, y))),
  // y (1 - y)
  Sigmoid: unary((b, _, y) => b.Mul(y, b.Sub(b.constant(1), y))),
  // 2 / sqrt(pi) exp(-x^2)
  Erf: unary((b, x) => b.Mul(b.constant(2 / Math.sqrt(Math.PI)), b.Exp(b.Neg(b.Mul(x, x))))),
  Relu: ({ b, grad, input }) => [b.Where(b.Greater(input(0), zero(b)), grad(), zero(b))],
  Gelu: unary((b, x, _, context) => (attribute(context, 'approximate') === 'tanh' ? tanhGelu(b, x) : gelu(b, x))),
  // s + alpha x s (1 - s), s = sigmoid(alpha x)
  QuickGelu: unary((b, x, _, context) => {
    const alpha = b.constant((attribute(context, 'alpha') as { readonly float: number }).float);
    const scaled = b.Mul(x, alpha);
    const s = b.Sigmoid(scaled);
    return b.Mul(s, b.Add(b.constant(1), b.Mul(scaled, b.Sub(b.constant(1), s))));
  }),
  Identity: ({ grad }) => [grad()],
  Cast: ({ b, grad, input }) => [input(0).dtype === 'float32' ? grad() : b.Cast(grad(), input(0).dtype)],

  Add: ({ grad }) => [grad(), grad()],
  Sub: ({ b, grad, wanted }) => [grad(), wanted(1) ? b.Neg(grad()) : undefined],
  Mul: ({ b, grad, input, wanted }) => [
    wanted(0) ? b.Mul(grad(), input(1)) : undefined,
    wanted(1) ? b.Mul(grad(), input(0)) : undefined,
  ],
  // da = g / b, db = -g y / b
  Div: ({ b, grad, input, output, wanted }) => [
    wanted(0) ? b.Div(grad(), input(1)) : undefined,
    wanted(1) ? b.Neg(b.Div(b.Mul(grad(), output()), input(1))) : undefined,
  ],
  // da = g b a^(b-1), db = g y log a
  Pow: ({ b, grad, input, output, wanted }) => [
    wanted(0) ? b.Mul(grad(), b.Mul(input(1), b.Pow(input(0), b.Sub(input(1), b.constant(1))))) : undefined,
    wanted(1) ? b.Mul(grad(), b.Mul(output(), b.Log(input(0)))) : undefined,
  ],
  // The larger one takes all; of equals the second.
  Max: ({ b, grad, input }) => choose(b, b.Greater(input(0), input(1)), grad()),
  Min: ({ b, grad, input }) => choose(b, b.Greater(input(1), input(0)), grad()),
  Where: ({ b, grad, input }) => [undefined, ...choose(b, input(0), grad())],
} satisfies RuleTable;

/** [g where the condition holds, g elsewhere]. */
const choose = (b: GraphBuilder, condition: Value, grad: Value): readonly [Value, Value] => [
  b.Where(condition, grad, zero(b)),
  b.Where(condition, zero(b), grad),
];

/** Phi(x) + x phi(x), the normal distribution and its density. */
function gelu(b: GraphBuilder, x: Value): Value {
  const half = b.constant(0.5);
  const distribution = b.Mul(half, b.Add(b.constant(1), b.Erf(b.Mul(x, b.constant(Math.SQRT1_2)))));
  const density = b.Mul(b.Exp(b.Mul(b.Mul(x, x), b.constant(-0.5))), b.constant(1 / Math.sqrt(2 * Math.PI)));
  return b.Add(distribution, b.Mul(x, density));
}

/** Of 0.5 x (1 + tanh(u)), u = c (x + 0.044715 x^3): 0.5 (1 + t) + 0.5 x (1 - t^2) c (1 + 3 * 0.044715 x^2). */
function tanhGelu(b: GraphBuilder, x: Value): Value {
  const [c, cubic] = [Math.sqrt(2 / Math.PI), 0.044715];
  const square = b.Mul(x, x);
  const t = b.Tanh(b.Mul(b.constant(c), b.Mul(x, b.Add(b.constant(1), b.Mul(b.constant(cubic), square)))));
  const slope = b.Mul(b.constant(c), b.Add(b.constant(1), b.Mul(b.constant(3 * cubic), square)));
  const bend = b.Mul(b.Mul(x, b.Sub(b.constant(1), b.Mul(t, t))), slope);
  return b.Mul(b.constant(0.5), b.Add(b.Add(b.constant(1), t), bend));
}
