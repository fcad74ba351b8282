// NP-LoRA against the projection written out on dense matrices (test/golden/merging.py), and what the paper says of it.
import { describe, expect, it } from 'vitest';
import { npMerge } from '../../src-main/mole/np-merge.ts';
import { matmul, qr, transpose } from '../../src-main/tensor/linear-algebra.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';
import { asConv, delta, experts, golden, layer, randn, scale, sum } from '../support/merging-case.ts';
import { maxDifference, relativeError } from '../support/read-golden.ts';
import { mergeTolerance } from '../support/tolerances.ts';

describe('npMerge', () => {
  it.each([
    ['0.5', 0.5],
    ['3.0', 3],
    ['inf', Infinity],
  ])('mu %s: the second is projected off the first, the third off both', (name, mu) => {
    const merged = npMerge(experts, mu);
    expect(merged[0]!.down).toEqual(experts[0]!.down);
    for (const i of [1, 2]) {
      expect(merged[i]!.up).toBe(experts[i]!.up);
      expect(merged[i]!.down.shape).toEqual(experts[i]!.down.shape);
      expect(relativeError(delta(merged[i]!).data, golden(`np/${name}/${i}`).data)).toBeLessThan(
        mergeTolerance.projected,
      );
    }
  });

  it('mu 0 is the plain sum, and small strengths go there', () => {
    expect(npMerge(experts, 0)).toEqual(experts);
    const plain = sum(experts.map(delta));
    expect(relativeError(sum(npMerge(experts, 1e-4).map(delta)).data, plain.data)).toBeLessThan(1e-4);
  });

  it('the hard projection leaves the first expert alone in its own directions', () => {
    const [style, content] = npMerge(experts.slice(0, 2), Infinity).map(delta);
    const directions = qr(transpose(experts[0]!.down)).q; // span of V = rows of A (supplement VIII)
    expect(maxDifference(matmul(content!, directions).data, new Float32Array(30))).toBeLessThan(2e-6);
    const merged = matmul(sum([style!, content!]), directions);
    expect(relativeError(merged.data, matmul(delta(experts[0]!), directions).data)).toBeLessThan(
      mergeTolerance.projected,
    );
  });

  it('experts whose inputs are orthogonal are left as they are', () => {
    const q = transpose(qr(randn(1, 12, 9)).q); // [9, 12], orthonormal rows
    const rows = (start: number, end: number) => floatTensor([end - start, 12], q.data.slice(start * 12, end * 12));
    const apart = [
      layer(randn(2, 10, 3), matmul(randn(3, 3, 3), rows(0, 3))),
      layer(randn(4, 10, 2), matmul(randn(5, 2, 2), rows(3, 5))),
      layer(randn(6, 10, 4), matmul(randn(7, 4, 4), rows(5, 9))),
    ];
    npMerge(apart, Infinity).forEach((merged, i) => {
      expect(relativeError(merged.down.data, apart[i]!.down.data)).toBeLessThan(mergeTolerance.projected);
    });
  });

  it('an expert inside the span of those before it falls silent under the hard projection', () => {
    const inside = layer(randn(8, 10, 2), matmul(randn(9, 2, 3), experts[0]!.down));
    const [, silent, last] = npMerge([experts[0]!, inside, experts[2]!], Infinity);
    expect(maxDifference(silent!.down.data, new Float32Array(24))).toBeLessThan(2e-6);
    // Its rounding protects nothing: the third expert is projected off the first alone.
    const [, alone] = npMerge([experts[0]!, experts[2]!], Infinity);
    expect(relativeError(last!.down.data, alone!.down.data)).toBeLessThan(mergeTolerance.projected);
  });

  it('a layer that was never trained protects nothing', () => {
    const untrained = layer(floatTensor([10, 4]), randn(10, 4, 12));
    expect(npMerge([untrained, experts[1]!], Infinity)[1]).toEqual(experts[1]);
    const [, , beside] = npMerge([experts[0]!, untrained, experts[2]!]);
    const [, alone] = npMerge([experts[0]!, experts[2]!]);
    expect(beside!.down).toEqual(alone!.down);
  });

  it('a weight does not change what is protected', () => {
    const louder = layer(scale(experts[0]!.up, -40), experts[0]!.down);
    const [, content] = npMerge([louder, experts[1]!]);
    expect(relativeError(content!.down.data, npMerge(experts.slice(0, 2))[1]!.down.data)).toBeLessThan(1e-6);
  });

  it('a convolution is treated as the matrix over its patches', () => {
    const merged = npMerge(experts.map(asConv));
    expect(merged.map(({ down }) => down.shape)).toEqual([3, 2, 4].map((rank) => [rank, 3, 2, 2]));
    expect(merged.map(({ down }) => down.data)).toEqual(npMerge(experts).map(({ down }) => down.data));
  });

  it('strengths and stacks that make no sense are refused in words', () => {
    expect(() => npMerge(experts, -0.1)).toThrow(/strength mu from 0 on, got -0.1/);
    expect(() => npMerge(experts, NaN)).toThrow(/got NaN/);
    expect(() => npMerge([])).toThrow(/got none/);
    expect(() => npMerge([experts[0]!, asConv(experts[1]!)])).toThrow(/one module.*proj_in and conv_in/);
    const narrow = layer(experts[0]!.up, randn(1, 3, 11));
    expect(() => npMerge([experts[0]!, narrow])).toThrow(/\[r, 12\].*\[3, 11\]/);
  });
});
