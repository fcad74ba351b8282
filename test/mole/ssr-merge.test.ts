// SSR-Merge against ordinary least squares on dense matrices (test/golden/merging.py), and what theorem 3.1 promises.
import { describe, expect, it } from 'vitest';
import { rankOf, type LowRank } from '../../src-main/mole/expert.ts';
import { stackDown, stackUp } from '../../src-main/mole/low-rank-matrices.ts';
import { foldRouter, keepMoments, routedExperts, ssrRouter } from '../../src-main/mole/ssr-merge.ts';
import { matmul, qr, transpose } from '../../src-main/tensor/linear-algebra.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { asConv, delta, experts, golden, layer, randn, scale, sum } from '../support/merging-case.ts';
import { relativeError } from '../support/read-golden.ts';
import { mergeTolerance } from '../support/tolerances.ts';

const ranks = experts.map(rankOf);
const moments = [0, 1, 2].map((i) => golden(`ssr/moment/${i}`));

/** E[u u^T] of inputs x [in, T]. */
const momentOf = (layers: readonly LowRank[], x: FloatTensor): FloatTensor => {
  const u = matmul(stackDown(layers), x);
  return scale(matmul(u, transpose(u)), 1 / x.shape[1]!);
};

/** sum_k E_k |B_cat R u - B_k u_k|^2 + ridge sum_i G_ii |B_cat R e_i|^2, from the moments. */
function loss(router: FloatTensor, ridge: number): number {
  const folded = matmul(stackUp(experts), router);
  const energy = (a: FloatTensor, c: FloatTensor) =>
    matmul(a, c).data.reduce((total, value, i) => total + value * a.data[i]!, 0); // trace(a c a^T)
  let start = 0;
  const errors = moments.map((moment, k) => {
    const own = folded.data.slice();
    for (let o = 0; o < 10; o++) {
      for (let r = 0; r < ranks[k]!; r++) own[o * 9 + start + r]! -= experts[k]!.up.data[o * ranks[k]! + r]!;
    }
    start += ranks[k]!;
    return energy(floatTensor([10, 9], own), moment);
  });
  const heard = (i: number) => moments.reduce((total, { data }) => total + data[i * 9 + i]!, 0);
  const size = folded.data.reduce((total, value, i) => total + heard(i % 9) * value * value, 0);
  return errors.reduce((total, error) => total + error, ridge * size);
}

describe('ssrRouter', () => {
  it.each(['0.0001', '0.01'])('folded, it is the least-squares map of numpy, ridge %s', (ridge) => {
    const router = ssrRouter(moments, ranks, Number(ridge));
    const folded = foldRouter(experts, router);
    expect(folded.down).toEqual(stackDown(experts));
    expect(relativeError(folded.up.data, golden(`ssr/folded/${ridge}`).data)).toBeLessThan(mergeTolerance.routed);
  });

  it('no router near it has a smaller loss', () => {
    const ridge = 1e-4;
    const router = ssrRouter(moments, ranks, ridge);
    const least = loss(router, ridge);
    for (let seed = 0; seed < 8; seed++) {
      for (const step of [0.03, -0.03]) {
        expect(loss(sum([router, scale(randn(seed, 9, 9), step)]), ridge)).toBeGreaterThan(least);
      }
    }
    // The plain sum is the router I.
    const identity = floatTensor(
      [9, 9],
      Float32Array.from({ length: 81 }, (_, i) => (i % 10 === 0 ? 1 : 0)),
    );
    expect(loss(identity, ridge)).toBeGreaterThan(2 * least);
  });

  it('experts whose prompts are heard in separable subspaces each answer their own prompt exactly', () => {
    const q = transpose(qr(randn(1, 12, 9)).q); // [9, 12], orthonormal rows
    const apart = [
      [0, 3],
      [3, 5],
      [5, 9],
    ].map(([start, end], k) =>
      layer(randn(2 + k, 10, end! - start!), floatTensor([end! - start!, 12], q.data.slice(start! * 12, end! * 12))),
    );
    const mix = sum([matmul(q, transpose(q)), scale(randn(9, 9, 9), 0.2)]); // what each prompt says, heard by all
    const heard = matmul(transpose(q), mix); // [12, 9]
    let start = 0;
    const inputs = apart.map((one, k) => {
      const columns = rankOf(one);
      const own = floatTensor(
        [12, columns],
        Float32Array.from(
          { length: 12 * columns },
          (_, i) => heard.data[Math.floor(i / columns) * 9 + start + (i % columns)]!,
        ),
      );
      start += columns;
      return matmul(own, randn(20 + k, columns, 50));
    });
    const router = ssrRouter(
      inputs.map((x) => momentOf(apart, x)),
      apart.map(rankOf),
      1e-6,
    );
    const merged = delta(foldRouter(apart, router));
    const plain = sum(apart.map(delta));
    inputs.forEach((x, k) => {
      const alone = matmul(delta(apart[k]!), x);
      expect(relativeError(matmul(merged, x).data, alone.data)).toBeLessThan(mergeTolerance.separable);
      expect(relativeError(matmul(plain, x).data, alone.data)).toBeGreaterThan(0.1);
    });
  });

  it('the same expert twice speaks once', () => {
    const twice = [experts[0]!, experts[0]!];
    const x = randn(5, 12, 64);
    const moment = momentOf(twice, x);
    const router = ssrRouter([moment, moment], [3, 3]);
    const answer = matmul(delta(foldRouter(twice, router)), x);
    expect(relativeError(answer.data, matmul(delta(experts[0]!), x).data)).toBeLessThan(1e-3); // the ridge
    expect(() => ssrRouter([moment, moment], [3, 3], 0)).toThrow(/positive definite.*ridge above 0/);
  });

  it('a single expert is left alone, and silence asks for nothing', () => {
    const [moment] = keepMoments(moments, ranks, [1]);
    expect([...ssrRouter([moment!], [2]).data]).toEqual([1, 0, 0, 1]);
    expect(ssrRouter([floatTensor([5, 5]), floatTensor([5, 5])], [3, 2])).toEqual(floatTensor([5, 5]));
  });

  it('neither the scale of the activations nor that of one expert inside its factors matters', () => {
    const whole = delta(foldRouter(experts, ssrRouter(moments, ranks)));
    const quiet = ssrRouter(
      moments.map((moment) => scale(moment, 1e-4)),
      ranks,
    );
    expect(relativeError(delta(foldRouter(experts, quiet)).data, whole.data)).toBeLessThan(mergeTolerance.routed);
    const factor = (i: number) => (i < 3 ? 100 : 1); // the first expert's A, and its B the other way round
    const shared = experts.map(({ up, down }, k) =>
      k === 0 ? layer(scale(up, 0.01), scale(down, 100)) : layer(up, down),
    );
    const louder = moments.map(({ data }) =>
      floatTensor(
        [9, 9],
        data.map((value, i) => value * factor(Math.floor(i / 9)) * factor(i % 9)),
      ),
    );
    const same = delta(foldRouter(shared, ssrRouter(louder, ranks)));
    expect(relativeError(same.data, whole.data)).toBeLessThan(mergeTolerance.routed);
  });

  it('a rank that hears nothing gets no share and does not disturb the others', () => {
    const deaf = layer(randn(3, 10, 2), floatTensor([2, 12]));
    const [first, second] = experts.map((_, k) => keepMoments(moments, ranks, [0, 1])[k]);
    const wider = [first!, second!, floatTensor([5, 5])].map(({ data }) =>
      floatTensor(
        [7, 7],
        Float32Array.from({ length: 49 }, (_, i) =>
          Math.max(Math.floor(i / 7), i % 7) < 5 ? data[Math.floor(i / 7) * 5 + (i % 7)]! : 0,
        ),
      ),
    );
    const folded = foldRouter([experts[0]!, experts[1]!, deaf], ssrRouter(wider, [3, 2, 2]));
    const without = foldRouter(experts.slice(0, 2), ssrRouter([first!, second!], [3, 2]));
    expect(relativeError(delta(folded).data, delta(without).data)).toBeLessThan(1e-6);
  });

  it('moments of other ranks are refused in words', () => {
    expect(() => ssrRouter(moments, [3, 2, 5])).toThrow(/\[10, 10\] per expert for ranks 3 \+ 2 \+ 5.*\[9, 9\]/);
    expect(() => ssrRouter(moments.slice(1), ranks)).toThrow(/per expert/);
    const broken = moments.map((moment) => scale(moment, NaN));
    expect(() => ssrRouter(broken, ranks)).toThrow(/finite numbers/);
    expect(() => foldRouter(experts, floatTensor([8, 8]))).toThrow(/router \[9, 9\].*\[8, 8\]/);
  });
});

describe('the two ways to use a router', () => {
  const router = ssrRouter(moments, ranks);

  it('as experts of their own ranks it gives the same delta as folded into one', () => {
    const routed = routedExperts(experts, router);
    expect(routed.map(rankOf)).toEqual(ranks);
    expect(relativeError(sum(routed.map(delta)).data, delta(foldRouter(experts, router)).data)).toBeLessThan(1e-6);
  });

  it('a weight scales one answer in both', () => {
    const weights = [0.5, -1, 2];
    const routed = routedExperts(experts, router).map((one, k) => scale(delta(one), weights[k]!));
    expect(relativeError(sum(routed).data, delta(foldRouter(experts, router, weights)).data)).toBeLessThan(1e-6);
  });

  it('a convolution keeps its shape', () => {
    expect(routedExperts(experts.map(asConv), router)[2]!.down.shape).toEqual([4, 3, 2, 2]);
    const folded = foldRouter(experts.map(asConv), router);
    expect([folded.down.shape, folded.up.shape]).toEqual([
      [9, 3, 2, 2],
      [10, 9],
    ]);
  });
});

describe('keepMoments', () => {
  it('is what would have been measured without the others', () => {
    const inputs = [randn(1, 12, 30), randn(2, 12, 30), randn(3, 12, 30)];
    const all = inputs.map((x) => momentOf(experts, x));
    const kept = [experts[0]!, experts[2]!];
    const fewer = keepMoments(all, ranks, [0, 2]);
    expect(relativeError(fewer[0]!.data, momentOf(kept, inputs[0]!).data)).toBeLessThan(1e-6);
    expect(relativeError(fewer[1]!.data, momentOf(kept, inputs[2]!).data)).toBeLessThan(1e-6);
  });
});
