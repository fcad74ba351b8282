// Guidance: what is asked of the network, and the arithmetic of diffusers' rescale_noise_cfg (test/golden/samplers.py).
import { describe, expect, it } from 'vitest';
import { guided, type Branch, type BranchNetwork } from '../../src-main/diffusion/guidance.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { readGolden, relativeError } from '../support/read-golden.ts';
import { diffusionTolerance } from '../support/tolerances.ts';

const golden = readGolden('diffusion/guidance.safetensors');
const means = readGolden('diffusion/trajectories.safetensors')('means');
const half = means.data.length / 2;
const shape = [2, ...means.shape.slice(1)];
const predictions: Record<Branch, FloatTensor> = {
  conditional: floatTensor(shape, means.data.slice(0, half)),
  unconditional: floatTensor(shape, means.data.slice(half)),
};
const network: BranchNetwork = (_scaled, _timestep, branches) => Promise.resolve(branches.map((b) => predictions[b]));

describe('classifier-free guidance', () => {
  it('at scale 1 asks for the conditional branch alone and returns it unchanged', async () => {
    const asked: (readonly Branch[])[] = [];
    const spy: BranchNetwork = (scaled, timestep, branches) => {
      asked.push(branches);
      return network(scaled, timestep, branches);
    };
    expect(await guided(spy, { scale: 1, rescale: 0.7 })(predictions.conditional, 10)).toBe(predictions.conditional);
    expect(asked).toEqual([['conditional']]);
  });

  it('at scale 0 returns the unconditional prediction', async () => {
    const out = await guided(network, { scale: 0 })(predictions.conditional, 10);
    expect(out.data).toEqual(predictions.unconditional.data);
  });

  it.each([
    ['scale 7.5', 0],
    ['scale 7.5, rescale 0.3', 0.3],
    ['scale 7.5, rescale 0.7', 0.7],
    ['scale 7.5, rescale 1.0', 1],
  ])('%s equals diffusers', async (name, rescale) => {
    const out = await guided(network, { scale: 7.5, rescale })(predictions.conditional, 10);
    expect(relativeError(out.data, golden(name).data)).toBeLessThanOrEqual(diffusionTolerance.guidance);
  });

  it('a network that returns too few predictions is named as the fault', async () => {
    const lazy: BranchNetwork = () => Promise.resolve([predictions.conditional]);
    await expect(guided(lazy, { scale: 2 })(predictions.conditional, 1)).rejects.toThrow(/returned 1 predictions/);
  });
});
