// The self-test of providers: right on the CPU, and able to tell wrong numbers from rounding.
import { describe, expect, it } from 'vitest';
import { attend, convolve, groupNormSilu } from '../../src-main/runtime/self-test-reference.ts';
import { relativeToPeak, selfTest, selfTestLimits } from '../../src-main/runtime/self-test.ts';

describe('on the CPU', () => {
  it('every operator and the fused attention agree with float64 arithmetic', async () => {
    const { error, fusedAttentionError, speed } = await selfTest('cpu');
    expect(error).toBeLessThan(2e-6);
    expect(fusedAttentionError).toBeLessThan(2e-6);
    expect(speed).toBeUndefined();
  });

  it('a provider that is not there is a RuntimeFailure', async () => {
    const absent = process.platform === 'win32' ? 'coreml' : 'dml';
    await expect(selfTest(absent)).rejects.toMatchObject({ name: 'RuntimeFailure' });
  });
});

describe('the measure of error', () => {
  it('is the largest difference relative to the peak', () => {
    expect(relativeToPeak([1, 2, 3.5], [1, 2, -4])).toBe(7.5 / 4);
    expect(relativeToPeak([0, 0], [0, 0])).toBe(0);
  });

  it('is infinite for NaN, infinities, other lengths and values where there should be none', () => {
    expect(relativeToPeak([1, NaN], [1, 2])).toBe(Infinity);
    expect(relativeToPeak([1, Infinity], [1, 2])).toBe(Infinity);
    expect(relativeToPeak([1], [1, 2])).toBe(Infinity);
    expect(relativeToPeak([1e-9, 0], [0, 0])).toBe(Infinity);
  });

  it('has a limit between the rounding of TF32 and the smallest wrong kernel seen', () => {
    expect(selfTestLimits.error).toBeGreaterThan(2e-3);
    expect(selfTestLimits.error).toBeLessThan(3e-2 / 3);
  });
});

// Worked by hand, so that the reference itself has a witness.
describe('the float64 reference', () => {
  it('convolution: a 3x3 sum over a padded 3x3 picture of ones counts neighbours', () => {
    const options = { kernel: 3, stride: 1, padding: 1 };
    const ones = new Array<number>(9).fill(1);
    expect([...convolve(ones, [1, 3, 3], ones, [0.5], options)]).toEqual(
      [4, 6, 4, 6, 9, 6, 4, 6, 4].map((count) => count + 0.5),
    );
    expect([...convolve(ones, [1, 3, 3], ones, [0], { ...options, stride: 2 })]).toEqual([4, 4, 4, 4]);
  });

  it('convolution: channels are weighed apart, kernel rows run down the picture', () => {
    const x = [1, 2, 3, 4, 10, 20, 30, 40]; // two channels of 2x2
    expect([...convolve(x, [2, 2, 2], [1, 0.1, 2, -1], [0, 1], { kernel: 1, stride: 1, padding: 0 })]).toEqual([
      2, 4, 6, 8, -7, -15, -23, -31,
    ]);
    const down = [0, 0, 0, 0, 0, 0, 0, 1, 0]; // takes the pixel below
    const below = convolve([1, 2, 3, 4], [1, 2, 2], down, [0], { kernel: 3, stride: 1, padding: 1 });
    expect([...below]).toEqual([3, 4, 0, 0]);
  });

  it('group normalisation: two values become -1 and 1 before the gate', () => {
    const gate = (x: number): number => x / (1 + Math.exp(-x));
    expect([...groupNormSilu([3, 5, 10, 30], 2, 0)]).toEqual([gate(-1), gate(1), gate(-1), gate(1)]);
  });

  it('attention: equal keys give the mean, a far larger score gives its value, heads do not mix', () => {
    const mean = attend([1, 1], [0, 0, 0, 0], [2, 4, 6, 8], { width: 2, heads: 1, causal: false });
    expect([...mean]).toEqual([4, 6]);
    const sharp = attend([1e4, 0], [1, 0, 0, 0], [2, 4, 6, 8], { width: 2, heads: 2, causal: false });
    expect([...sharp]).toEqual([2, 6]);
  });

  it('attention: the first token of a causal one sees itself alone', () => {
    const y = attend([1, 2, 3, 4], [1, 1, 9, 9], [5, 6, 7, 8], { width: 2, heads: 1, causal: true });
    expect([...y.slice(0, 2)]).toEqual([5, 6]);
  });
});
