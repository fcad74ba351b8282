// Step noise continues each image's own stream, so pictures do not depend on the batch they were made in.
import { describe, expect, it } from 'vitest';
import { independentNoise, startFromLatent, startFromNoise } from '../../src-main/diffusion/noise-source.ts';
import { batchNoise, TorchGenerator } from '../../src-main/tensor/random.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';

const shape = [4, 8, 8];

describe('independent step noise', () => {
  it("is the next draw of the image's generator, whatever its neighbours", () => {
    const noise = independentNoise(batchNoise([1, 2], shape).generators, shape);
    const alone = new TorchGenerator(2);
    alone.randn(shape);
    for (let step = 0; step < 3; step++) expect(noise(1, 0.5).data.slice(256)).toEqual(alone.randn(shape).data);
  });
});

describe('starting states', () => {
  const noise = floatTensor([1, 2], Float32Array.of(1, -2));

  it('from noise: sigma times it, or of unit variance once scaled', () => {
    expect([...startFromNoise(noise, 3, 'sigma').data]).toEqual([3, -6]);
    expect(startFromNoise(noise, 3, 'unit-variance').data[0]).toBeCloseTo(Math.sqrt(10), 6);
  });

  it('from a latent: the latent plus sigma times the noise', () => {
    expect([...startFromLatent(floatTensor([1, 2], Float32Array.of(5, 5)), noise, 2).data]).toEqual([7, 1]);
  });
});
