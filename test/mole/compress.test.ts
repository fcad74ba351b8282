// Baked layers against the dense sum and LAPACK's best approximation of it (test/golden/merging.py).
import { describe, expect, it } from 'vitest';
import { compress } from '../../src-main/mole/compress.ts';
import { rankOf } from '../../src-main/mole/expert.ts';
import { asConv, delta, experts, golden, scale, sum } from '../support/merging-case.ts';
import { relativeError } from '../support/read-golden.ts';
import { mergeTolerance } from '../support/tolerances.ts';

const coefficients = [0.7, -0.4, 1.5];
const parts = experts.map((layer, i) => ({ layer, coefficient: coefficients[i]! }));

describe('compress', () => {
  it.each([undefined, 9, 20])('rank %s loses nothing of three experts of rank 3 + 2 + 4', (rank) => {
    const baked = compress(parts, rank);
    expect(rankOf(baked)).toBe(9);
    expect(baked.residualEnergy).toBe(0);
    expect(relativeError(delta(baked).data, golden('bake/dense').data)).toBeLessThan(mergeTolerance.baked);
  });

  it.each([2, 5])('rank %i is the best approximation, and the residual is that of the dense matrices', (rank) => {
    const baked = compress(parts, rank);
    const best = golden(`bake/${rank}`);
    expect(rankOf(baked)).toBe(rank);
    expect(baked.up.shape).toEqual([10, rank]);
    expect(relativeError(delta(baked).data, best.data)).toBeLessThan(mergeTolerance.baked);
    expect(baked.residualEnergy).toBeCloseTo(golden(`bake/residual/${rank}`).data[0]!, 6);
    const left = relativeError(delta(baked).data, golden('bake/dense').data) ** 2;
    expect(baked.residualEnergy).toBeCloseTo(left, 6);
  });

  it('the magnitude is shared by both factors, so that half precision holds either', () => {
    const { up, down } = compress(parts, 5);
    const norm = (data: Float32Array): number => Math.hypot(...data);
    expect(norm(up.data) / norm(down.data)).toBeCloseTo(1, 5);
  });

  it('experts of coefficient 0 take no rank, and without any the layer is empty', () => {
    const [first, second] = parts;
    const one = compress([first!, { ...second!, coefficient: 0 }]);
    expect(rankOf(one)).toBe(3);
    expect(relativeError(delta(one).data, scale(delta(experts[0]!), 0.7).data)).toBeLessThan(mergeTolerance.baked);
    const none = compress([{ ...first!, coefficient: 0 }], 4);
    expect([none.up.shape, none.down.shape]).toEqual([
      [10, 0],
      [0, 12],
    ]);
  });

  it('a convolution keeps its kernel, cut or not', () => {
    const convs = experts.map((layer, i) => ({ layer: asConv(layer), coefficient: coefficients[i]! }));
    expect(compress(convs).down.shape).toEqual([9, 3, 2, 2]);
    const cut = compress(convs, 5);
    expect(cut.down.shape).toEqual([5, 3, 2, 2]);
    expect(cut.down.data).toEqual(compress(parts, 5).down.data);
  });

  it('the sum of two halves is the whole', () => {
    const twice = experts.slice(0, 1).flatMap((layer) => [0.25, 0.75].map((coefficient) => ({ layer, coefficient })));
    const baked = compress(twice, 3);
    expect(baked.residualEnergy).toBeLessThan(1e-12);
    expect(relativeError(delta(baked).data, sum([delta(experts[0]!)]).data)).toBeLessThan(mergeTolerance.baked);
  });

  it('what cannot be baked is refused in words', () => {
    expect(() => compress([])).toThrow(/got none/);
    expect(() => compress(parts, 0)).toThrow(/rank from 1 on, got 0/);
    expect(() => compress([{ layer: experts[0]!, coefficient: NaN }])).toThrow(/finite number, got NaN/);
    expect(() => compress([parts[0]!, { layer: asConv(experts[1]!), coefficient: 1 }])).toThrow(/one module/);
  });
});
