// Factorisations against LAPACK (test/golden/linear_algebra.py), and the properties that define them.
import { describe, expect, it } from 'vitest';
import {
  lowRankSvd,
  matmul,
  qr,
  solveSymmetric,
  svd,
  transpose,
  truncatedSvd,
  type Svd,
} from '../../src-main/tensor/linear-algebra.ts';
import { TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { maxDifference, readGolden, relativeError } from '../support/read-golden.ts';
import { linearAlgebraTolerance as tolerance } from '../support/tolerances.ts';

const golden = readGolden('linear-algebra/cases.safetensors');
const cases = ['tall', 'wide', 'square', 'row', 'graded', 'deficient'];

const randn = (seed: number, ...shape: number[]): FloatTensor => new TorchGenerator(seed).randn(shape);
const identity = (n: number): FloatTensor =>
  floatTensor(
    [n, n],
    Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
  );
const gram = (a: FloatTensor): FloatTensor => matmul(transpose(a), a);
const scaled = ({ u, s }: Svd): FloatTensor =>
  floatTensor(
    u.shape,
    u.data.map((value, i) => value * s[i % s.length]!),
  );
const product = (parts: Svd): FloatTensor => matmul(scaled(parts), transpose(parts.v));

describe('products', () => {
  it('matmul sums over the inner axis and transpose swaps the two', () => {
    const a = floatTensor([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
    const b = floatTensor([3, 1], Float32Array.of(1, 0, -1));
    expect([...matmul(a, b).data]).toEqual([-2, -2]);
    expect([...transpose(a).data]).toEqual([1, 4, 2, 5, 3, 6]);
    expect(matmul(randn(1, 3, 0), randn(2, 0, 4))).toEqual(floatTensor([3, 4]));
  });

  it('widths that are no multiple of the block are right too', () => {
    const [a, b] = [randn(3, 5, 9), randn(4, 9, 7)];
    expect(relativeError(transpose(matmul(a, b)).data, matmul(transpose(b), transpose(a)).data)).toBeLessThan(1e-7);
  });

  it('sizes that do not fit are named', () => {
    expect(() => matmul(randn(1, 2, 3), randn(2, 4, 5))).toThrow(/\[2, 3\] and \[4, 5\]/);
    expect(() => transpose(randn(1, 2, 3, 4))).toThrow(/two axes/);
  });
});

describe.each(cases)('%s', (name) => {
  const a = golden(`${name}/a`);
  const k = Math.min(...a.shape);
  const largest = golden(`${name}/s`).data[0]!;

  it('qr gives orthonormal columns and the matrix back', () => {
    const { q, r } = qr(a);
    expect(q.shape).toEqual([a.shape[0], k]);
    expect(maxDifference(gram(q).data, identity(k).data)).toBeLessThan(tolerance.orthonormal);
    expect(relativeError(matmul(q, r).data, a.data)).toBeLessThan(tolerance.product);
    expect(r.data.every((value, i) => Math.floor(i / r.shape[1]!) <= i % r.shape[1]! || value === 0)).toBe(true);
    if (name !== 'deficient') {
      expect(maxDifference(r.data, golden(`${name}/r`).data)).toBeLessThan(tolerance.value * largest);
    }
  });

  it('svd gives the singular values of LAPACK, orthonormal vectors and the matrix back', () => {
    const parts = svd(a);
    expect(parts.u.shape).toEqual([a.shape[0], k]);
    expect(parts.v.shape).toEqual([a.shape[1], k]);
    expect(maxDifference(parts.s, golden(`${name}/s`).data)).toBeLessThan(tolerance.value * largest);
    expect(maxDifference(gram(parts.u).data, identity(k).data)).toBeLessThan(tolerance.orthonormal);
    expect(maxDifference(gram(parts.v).data, identity(k).data)).toBeLessThan(tolerance.orthonormal);
    expect(relativeError(product(parts).data, a.data)).toBeLessThan(tolerance.product);
    expect([...parts.s]).toEqual([...parts.s].sort((left, right) => right - left));
  });

  it('truncatedSvd gives the best approximation of rank 3 and the share that it leaves out', () => {
    const parts = truncatedSvd(a, 3);
    const best = golden(`${name}/rank3`);
    expect(relativeError(product(parts).data, best.data)).toBeLessThan(tolerance.truncated);
    expect(parts.residualEnergy).toBeCloseTo(relativeError(best.data, a.data) ** 2, 6);
  });
});

describe('svd at the edges', () => {
  it.each([
    [4, 3],
    [3, 5],
  ])('a zero matrix [%i, %i] has zero values, orthonormal vectors and nothing left out', (m, n) => {
    for (const parts of [svd(floatTensor([m, n])), truncatedSvd(floatTensor([m, n]), 3)]) {
      expect([...parts.s]).toEqual([0, 0, 0]);
      expect(maxDifference(gram(parts.u).data, identity(3).data)).toBeLessThan(tolerance.orthonormal);
      expect(maxDifference(gram(parts.v).data, identity(3).data)).toBeLessThan(tolerance.orthonormal);
    }
    expect(truncatedSvd(floatTensor([m, n]), 2).residualEnergy).toBe(0);
    expect(lowRankSvd(floatTensor([m, 2]), floatTensor([2, n])).residualEnergy).toBe(0);
  });

  it('values of a matrix that is rank-deficient are 0, not noise', () => {
    const { s } = svd(
      matmul(floatTensor([5, 1], new Float32Array(5).fill(1)), floatTensor([1, 4], Float32Array.of(1, 2, 3, 4))),
    );
    expect(s[0]).toBeCloseTo(Math.sqrt(150), 4);
    expect([...s.subarray(1)]).toEqual([0, 0, 0]);
  });

  it('nearly parallel columns keep orthonormal vectors', () => {
    const a = randn(5, 40, 6);
    for (let i = 0; i < 40; i++) a.data[i * 6 + 1] = a.data[i * 6]! * (1 + (i === 3 ? 1e-6 : 0));
    const { u, v } = svd(a);
    expect(maxDifference(gram(u).data, identity(6).data)).toBeLessThan(tolerance.orthonormal);
    expect(maxDifference(gram(v).data, identity(6).data)).toBeLessThan(tolerance.orthonormal);
  });

  it('numbers that are not finite and ranks that are none are refused in words', () => {
    const a = randn(5, 4, 4);
    a.data[5] = NaN;
    expect(() => svd(a)).toThrow(/finite numbers/);
    expect(() => truncatedSvd(a, 2)).toThrow(/finite numbers/);
    expect(() => lowRankSvd(a, randn(6, 4, 4))).toThrow(/finite numbers/);
    expect(() => truncatedSvd(randn(5, 4, 4), 0)).toThrow(/rank from 1 on, got 0/);
  });
});

describe('truncatedSvd of larger matrices', () => {
  const slow = matmul(
    scaled({
      u: qr(randn(8, 120, 90)).q,
      s: Float32Array.from({ length: 90 }, (_, i) => 1 / (1 + i)),
      v: identity(90),
    }),
    transpose(qr(randn(9, 150, 90)).q),
  );

  it('a spectrum that falls slowly is followed to its first values', () => {
    const parts = truncatedSvd(slow, 16);
    expect(maxDifference(parts.s, svd(slow).s.subarray(0, 16))).toBeLessThan(tolerance.slowValue);
    const exact = svd(slow).s.reduce((sum, value, i) => sum + (i < 16 ? 0 : value * value), 0);
    const all = svd(slow).s.reduce((sum, value) => sum + value * value, 0);
    expect(parts.residualEnergy / (exact / all)).toBeGreaterThan(1 - 1e-4);
    expect(parts.residualEnergy / (exact / all)).toBeLessThan(1.01);
  });

  it('a matrix of the asked rank is left whole, and the same seed gives the same factors', () => {
    const a = matmul(randn(10, 64, 6), randn(11, 6, 200));
    const parts = truncatedSvd(a, 6);
    expect(relativeError(product(parts).data, a.data)).toBeLessThan(tolerance.product);
    expect(parts.residualEnergy).toBeLessThan(1e-12);
    expect(truncatedSvd(a, 6)).toEqual(parts);
  });
});

describe('lowRankSvd', () => {
  const [up, down] = [golden('product/up'), golden('product/down')];

  it('is the svd of the product', () => {
    const parts = lowRankSvd(up, down);
    expect(parts.s.length).toBe(5);
    expect(relativeError(product(parts).data, golden('product/dense').data)).toBeLessThan(tolerance.product);
    expect(maxDifference(parts.s, golden('product/s').data)).toBeLessThan(tolerance.value * parts.s[0]!);
    expect(parts.residualEnergy).toBe(0);
  });

  it('cut to a rank, it leaves out the energy of the values cut off', () => {
    const s = golden('product/s').data;
    const { u, residualEnergy } = lowRankSvd(up, down, 2);
    expect(u.shape).toEqual([30, 2]);
    const energy = (values: Float32Array): number => values.reduce((sum, value) => sum + value * value, 0);
    expect(residualEnergy).toBeCloseTo(energy(s.subarray(2)) / energy(s), 6);
  });

  it('a rank above both widths gives no more values than the product has', () => {
    const [tall, wide] = [randn(12, 4, 9), randn(13, 9, 6)];
    const parts = lowRankSvd(tall, wide);
    expect(parts.s.length).toBe(4);
    expect(relativeError(product(parts).data, matmul(tall, wide).data)).toBeLessThan(tolerance.product);
  });
});

describe('solveSymmetric', () => {
  it.each(['0.0', '0.5'])('solves as LAPACK does, ridge %s', (ridge) => {
    const x = solveSymmetric(golden('solve/g'), golden('solve/b'), Number(ridge));
    expect(relativeError(x.data, golden(`solve/x/${ridge}`).data)).toBeLessThan(tolerance.solve);
  });

  it('a singular matrix is refused without a ridge and solved with one', () => {
    const g = gram(floatTensor([1, 3], Float32Array.of(1, 2, 3)));
    const b = floatTensor([3, 1], Float32Array.of(1, 2, 3));
    expect(() => solveSymmetric(g, b, 0)).toThrow(/positive definite.*row 1 of 3/);
    const x = solveSymmetric(g, b, 1e-3); // (v v^T + ridge I) x = v has x = v / (|v|^2 + ridge)
    expect(
      maxDifference(
        x.data,
        b.data.map((value) => value / 14.001),
      ),
    ).toBeLessThan(1e-6);
    expect([...solveSymmetric(floatTensor([3, 3]), b, 2).data]).toEqual([0.5, 1, 1.5]);
  });
});
