// Seeds mean what they mean in PyTorch: golden draws from torch (test/golden/noise.py).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { batchNoise, imageSeeds, slerp, TorchGenerator } from '../../src-main/tensor/random.ts';
import { maxDifference, readGolden } from '../support/read-golden.ts';
import { noiseTolerance } from '../support/tolerances.ts';

const golden = readGolden('random/noise.safetensors');
const seeds = [0n, 42n, 1234567890123n, 2n ** 32n + 5n, -1n];
const equalShare = (a: Float32Array, b: Float32Array): number =>
  a.filter((value, i) => value === b[i]).length / a.length;

describe('randn draws what torch draws', () => {
  for (const seed of seeds) {
    it.each([1, 5, 15])(`seed ${seed}, %i elements: the scalar path, equal to the last bit`, (size) => {
      expect(new TorchGenerator(seed).randn([size]).data).toEqual(golden(`one/${seed}/${size}`).data);
    });

    it.each([16, 17, 1000])(`seed ${seed}, %i elements: the path in groups of 16`, (size) => {
      const drawn = new TorchGenerator(seed).randn([size]).data;
      expect(maxDifference(drawn, golden(`one/${seed}/${size}`).data)).toBeLessThanOrEqual(noiseTolerance.absolute);
    });

    it(`seed ${seed}: the state carries over six calls of mixed size`, () => {
      const generator = new TorchGenerator(seed);
      const row = [3, 17, 2, 16, 1, 33].flatMap((size) => [...generator.randn([size]).data]);
      expect(maxDifference(row, golden(`row/${seed}`).data)).toBeLessThanOrEqual(noiseTolerance.absolute);
    });
  }

  it('a 512x512 picture starts from the same [4, 64, 64] noise, most of it equal to the last bit', () => {
    const drawn = new TorchGenerator(42).randn([4, 64, 64]);
    const expected = golden('image/42');
    expect(drawn.shape).toEqual(expected.shape);
    expect(maxDifference(drawn.data, expected.data)).toBeLessThanOrEqual(noiseTolerance.absolute);
    expect(equalShare(drawn.data, expected.data)).toBeGreaterThan(noiseTolerance.equalShare);
  });
});

describe('the other draws', () => {
  const integers = JSON.parse(
    readFileSync(new URL('../golden/data/random/integers.json', import.meta.url), 'utf8'),
  ) as { randint: { low: number; high: number; values: number[] }[]; randperm: number[] };

  it('rand equals torch.rand to the last bit', () => {
    expect(new TorchGenerator(42).rand([100]).data).toEqual(golden('rand/42').data);
  });

  it.each(integers.randint)('randint($low, $high) equals torch.randint', ({ low, high, values }) => {
    expect(new TorchGenerator(42).randint(low, high, values.length)).toEqual(values);
  });

  it('randperm equals torch.randperm', () => {
    expect(new TorchGenerator(42).randperm(integers.randperm.length)).toEqual(integers.randperm);
  });
});

describe('generator state', () => {
  it('a saved and restored generator, and a clone, go on alike, a waiting normal included', () => {
    const generator = new TorchGenerator(7);
    generator.randn([3]);
    const state = generator.save();
    const clone = generator.clone();
    const next = generator.randn([700]).data;
    expect(clone.randn([700]).data).toEqual(next);
    generator.restore(state);
    expect(generator.randn([700]).data).toEqual(next);
  });

  it('only the low 32 bits of a seed count, as in torch', () => {
    expect(new TorchGenerator(2n ** 32n + 5n).randn([20])).toEqual(new TorchGenerator(5).randn([20]));
  });

  it.each([0.5, NaN, 2 ** 60])('the seed %f is refused', (seed) => {
    expect(() => new TorchGenerator(seed)).toThrow(/seed is an integer/);
  });

  it('a shape with a fractional or negative size is refused', () => {
    expect(() => new TorchGenerator(0).randn([4, 0.3])).toThrow(/whole numbers/);
    expect(() => new TorchGenerator(0).randn([-1])).toThrow(/whole numbers/);
  });
});

describe('batches and variations', () => {
  it('image i of a batch is the picture of seed + i alone', () => {
    const { noise, generators } = batchNoise(imageSeeds(42, 3), [4, 8, 8]);
    expect(noise.shape).toEqual([3, 4, 8, 8]);
    const alone = new TorchGenerator(44);
    expect(noise.data.slice(2 * 256)).toEqual(alone.randn([4, 8, 8]).data);
    expect(generators[2]!.randn([4, 8, 8])).toEqual(alone.randn([4, 8, 8]));
  });

  it.each([0.05, 0.5, 0.9])('variation strength %f mixes as AUTOMATIC1111 does', (strength) => {
    const { noise } = batchNoise([42], [4, 8, 6], { seeds: [7], strength });
    expect(maxDifference(noise.data, golden(`slerp/${strength}`).data)).toBeLessThanOrEqual(noiseTolerance.slerp);
  });

  it('variation strength 0 leaves the noise alone; 1 gives the variation', () => {
    const shape = [4, 8, 6];
    expect(batchNoise([42], shape, { seeds: [7], strength: 0 }).noise).toEqual(batchNoise([42], shape).noise);
    const full = batchNoise([42], shape, { seeds: [7], strength: 1 }).noise;
    expect(maxDifference(full.data, new TorchGenerator(7).randn(shape).data)).toBeLessThanOrEqual(noiseTolerance.slerp);
  });

  it('slerp of a noise with itself is that noise, not NaN', () => {
    const noise = new TorchGenerator(1).randn([4, 8, 8]);
    expect(maxDifference(slerp(0.3, noise, noise).data, noise.data)).toBeLessThanOrEqual(noiseTolerance.slerp);
  });
});
