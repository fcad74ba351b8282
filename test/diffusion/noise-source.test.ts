// Step noise continues each image's own stream, so pictures do not depend on the batch they were made in.
import { describe, expect, it } from 'vitest';
import { brownianNoise } from '../../src-main/diffusion/brownian-tree.ts';
import { independentNoise, startFromLatent, startFromNoise, stepNoise } from '../../src-main/diffusion/noise-source.ts';
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

describe('the source a sampler asks for', () => {
  const sigmas = Float64Array.of(10, 5, 1, 0);
  const run = () => ({ seeds: [7], generators: batchNoise([7], shape).generators, shape, sigmas });

  it('brownian spans the whole schedule, from its lowest level above 0', () => {
    expect(stepNoise('brownian', run())(5, 1)).toEqual(brownianNoise([7], shape, 1, 10)(5, 1));
  });

  it("independent continues the image's stream", () => {
    expect(stepNoise('independent', run())(5, 1)).toEqual(independentNoise(run().generators, shape)(5, 1));
  });

  it('brownian for a run of one step, which asks for no noise, is no error', () => {
    expect(() => stepNoise('brownian', { ...run(), sigmas: Float64Array.of(10, 0) })).not.toThrow();
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
