// Gradients of matrix products. Y = A B: dA = G B^T, dB = A^T G. Attention is differentiated through its scores, which are
// computed again instead of kept.
import type { GraphBuilder } from '../../graph/builder.ts';
import type { Value } from '../../graph/ir.ts';
import { sizes, type RuleTable } from '../rule.ts';

export const linearRules = {
  MatMul: ({ b, grad, input, wanted }) => {
    const [a, w] = [input(0), input(1)];
    const matrix = w.shape.length === 2;
    return [
      wanted(0) ? b.MatMul(grad(), transposed(b, w)) : undefined,
      // A matrix that served a whole batch: one product over all rows instead of one per row.
      wanted(1)
        ? matrix
          ? b.Gemm(rows(b, a), rows(b, grad()), undefined, { transA: true })
          : b.MatMul(transposed(b, a), grad())
        : undefined,
    ];
  },

  // Y = op(A) op(B) + C
  Gemm: ({ b, grad, input, wanted, node }) => {
    const [transA, transB] = [node.attributes['transA'] === 1, node.attributes['transB'] === 1];
    const [a, w] = [input(0), input(1)];
    const dA = transA
      ? () => b.Gemm(w, grad(), undefined, { transA: transB, transB: true }) // op(B) G^T
      : () => b.Gemm(grad(), w, undefined, { transB: !transB }); // G op(B)^T
    const dB = transB
      ? () => b.Gemm(grad(), a, undefined, { transA: true, transB: transA }) // G^T op(A)
      : () => b.Gemm(a, grad(), undefined, { transA: !transA }); // op(A)^T G
    return [wanted(0) ? dA() : undefined, wanted(1) ? dB() : undefined, wanted(2) ? grad() : undefined];
  },

  MultiHeadAttention: ({ b, node, input, output, grad, wanted }) => {
    const heads = Number(node.attributes['num_heads']);
    const wants = [wanted(0), wanted(1), wanted(2)] as const;
    const split = [input(0), input(1), input(2), grad(), output()].map((x) => splitHeads(b, x, heads));
    const [queries, keys] = [sizes(split[0]!), sizes(split[1]!)];
    const perHead = 4 * queries[0]! * queries[2]! * keys[2]!;
    const chunk = Math.max(1, Math.floor(scoreBytes / perHead));
    const merge = (x: Value | undefined): Value | undefined => (x === undefined ? undefined : mergeHeads(b, x));
    // Queries as many as keys: the three gradients of a few heads lie side by side, so that their scores are done with.
    if (chunk >= heads || queries[2] !== keys[2] || wants.every((want) => !want)) {
      return headGradients(b, split, wants).map(merge);
    }
    const counts = Array.from({ length: Math.ceil(heads / chunk) }, (_, i) => Math.min(chunk, heads - i * chunk));
    const parts = split.map((x) => b.Split(x, counts, 1));
    const chunks = counts.map((_, i) => {
      const found = headGradients(
        b,
        parts.map((part) => part[i]!),
        wants,
      );
      return b.Concat(
        found.filter((x) => x !== undefined),
        3,
      );
    });
    const kinds = wants.flatMap((want, i) => (want ? [sizes(split[i]!)[3]!] : []));
    const together = b.Split(b.Concat(chunks, 1), kinds, 3);
    let next = 0;
    return wants.map((want) => (want ? merge(together[next++]) : undefined));
  },
} satisfies RuleTable;

/** Scores of this many bytes are differentiated at a time: they stay in the processor's cache, and out of the peak. */
const scoreBytes = 16 * 2 ** 20;

/**
 * P = softmax(Q K^T s), Y = P V per head: dV = P^T G, dP = G V^T, dS = P (dP - sum(dP P)), dQ = s dS K, dK = s dS^T Q.
 * `attended` is Q, K, V, G and Y per head: [B, N, T or S, D/N]. sum(dP P) over keys is sum(G Y) over the head's width, which is narrower (Dao et al. 2022, arXiv:2205.14135, Eq. 4).
 */
function headGradients(
  b: GraphBuilder,
  attended: readonly Value[],
  wanted: readonly [boolean, boolean, boolean],
): readonly (Value | undefined)[] {
  const [q, k, v, g, y] = attended as readonly [Value, Value, Value, Value, Value];
  const scale = b.constant(1 / Math.sqrt(sizes(q)[3]!));
  const p = b.Softmax(b.MatMul(b.Mul(q, scale), transposed(b, k)));
  const dV = wanted[2] ? b.MatMul(transposed(b, p), g) : undefined;
  if (!wanted[0] && !wanted[1]) return [undefined, undefined, dV];
  // dP - sum(dP P) as one product, [G, -sum] [V, 1]^T: a pass over the scores less.
  const sum = b.ReduceSum(b.Mul(g, y), [3]); // [B, N, T, 1]
  const one = b.Expand(b.constant(1), [...sizes(v).slice(0, 3), 1]);
  const dS = b.Mul(p, b.MatMul(b.Concat([g, b.Neg(sum)], 3), transposed(b, b.Concat([v, one], 3))));
  return [
    wanted[0] ? b.Mul(b.MatMul(dS, k), scale) : undefined,
    wanted[1] ? b.Mul(b.MatMul(transposed(b, dS), q), scale) : undefined,
    dV,
  ];
}

/** The last two axes exchanged. */
function transposed(b: GraphBuilder, x: Value): Value {
  const axes = x.shape.map((_, axis) => axis);
  return b.Transpose(x, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!]);
}

/** [..., n] -> [rows, n]. */
function rows(b: GraphBuilder, x: Value): Value {
  return x.shape.length === 2 ? x : b.Reshape(x, [-1, Number(x.shape.at(-1))]);
}

function splitHeads(b: GraphBuilder, x: Value, heads: number): Value {
  const [batch, tokens, width] = sizes(x) as readonly [number, number, number];
  return b.Transpose(b.Reshape(x, [batch, tokens, heads, width / heads]), [0, 2, 1, 3]);
}

function mergeHeads(b: GraphBuilder, x: Value): Value {
  const [batch, heads, tokens, size] = sizes(x) as readonly [number, number, number, number];
  return b.Reshape(b.Transpose(x, [0, 2, 1, 3]), [batch, tokens, heads * size]);
}
