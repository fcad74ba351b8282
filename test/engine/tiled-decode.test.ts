// Decoding in tiles against decoding at once, with decoders whose answer is known.
import { describe, expect, it } from 'vitest';
import { decodeTiled } from '../../src-main/engine/tiled-decode.ts';
import { floatTensor, type FloatTensor } from '../../src-main/tensor/tensor.ts';
import { maxDifference } from '../support/read-golden.ts';

/** Twice the size, three channels, each pixel from its own latent alone: tiles must not change the result. */
function pixelwise(latent: FloatTensor): Promise<FloatTensor> {
  const [, , height, width] = latent.shape as [number, number, number, number];
  const image = floatTensor([1, 3, height * 2, width * 2]);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height * 2; y++) {
      for (let x = 0; x < width * 2; x++) {
        const value = latent.data[(c * height + (y >> 1)) * width + (x >> 1)]!;
        image.data[(c * height * 2 + y) * width * 2 + x] = Math.sin(value * (c + 1));
      }
    }
  }
  return Promise.resolve(image);
}

const ramp = (height: number, width: number): FloatTensor =>
  floatTensor(
    [1, 4, height, width],
    Float32Array.from({ length: 4 * height * width }, (_, i) => Math.sin(i / 7) * 3),
  );

describe('decodeTiled', () => {
  it.each([
    [64, 64],
    [100, 70],
    [65, 64],
    [20, 200],
    [129, 131],
  ])('gives the whole decode for a decoder without context, %i x %i latents', async (height, width) => {
    const latent = ramp(height, width);
    const [whole, tiled] = [await pixelwise(latent), await decodeTiled(latent, pixelwise)];
    expect(tiled.shape).toEqual(whole.shape);
    expect(maxDifference(tiled.data, whole.data)).toBeLessThan(1e-6);
  });

  it('asks for tiles of one size, so that one session serves all', async () => {
    const sizes = new Set<string>();
    await decodeTiled(ramp(150, 90), (tile) => {
      sizes.add(tile.shape.join('x'));
      return pixelwise(tile);
    });
    expect([...sizes]).toEqual(['1x4x64x64']);
  });

  it('shows no seam where tiles disagree: neighbouring pixels differ by less than the tiles do', async () => {
    let tile = 0;
    // Tile n answers n everywhere: a hard edge between tiles would be a step of 1.
    const image = await decodeTiled(ramp(64, 200), (part) => {
      const value = tile++;
      return Promise.resolve(
        floatTensor([1, 3, 128, 128], new Float32Array(3 * 128 * 128).fill(value + part.shape[0]! - 1)),
      );
    });
    const row = image.data.subarray(0, 400);
    const steps = Array.from({ length: 399 }, (_, x) => Math.abs(row[x + 1]! - row[x]!));
    expect(Math.max(...steps)).toBeLessThan(0.1);
  });

  it('stops between tiles when told to', async () => {
    let decoded = 0;
    const stop = (): void => {
      if (decoded === 2) throw new Error('stopped');
    };
    const work = decodeTiled(ramp(200, 200), (part) => (decoded++, pixelwise(part)), stop);
    await expect(work).rejects.toThrow('stopped');
    expect(decoded).toBe(2);
  });
});
