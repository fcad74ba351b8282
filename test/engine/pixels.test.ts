// Pictures to tensors and back.
import { describe, expect, it } from 'vitest';
import { fromPixels, isFinite, quickLook, toPixels } from '../../src-main/engine/pixels.ts';
import { floatTensor } from '../../src-main/tensor/tensor.ts';

describe('pixels and image tensors', () => {
  it('every 8-bit value survives the way to [-1, 1] and back', () => {
    const rgb = Uint8Array.from({ length: 256 * 3 }, (_, i) => Math.floor(i / 3));
    expect(toPixels(fromPixels({ width: 16, height: 16, rgb })).rgb).toEqual(rgb);
  });

  it('channels are interleaved in the picture and planes in the tensor', () => {
    const image = fromPixels({ width: 2, height: 1, rgb: Uint8Array.of(255, 0, 0, 0, 0, 255) });
    expect([...image.data]).toEqual([1, -1, -1, -1, -1, 1]);
  });

  it('values outside [-1, 1] are clamped', () => {
    const { rgb } = toPixels(floatTensor([1, 3, 1, 1], Float32Array.of(-7, 9, 0)));
    expect([...rgb]).toEqual([0, 255, 128]);
  });

  it('a quick look has one pixel per latent', () => {
    const { width, height, rgb } = quickLook(floatTensor([1, 4, 3, 5]));
    expect([width, height, rgb.length]).toEqual([5, 3, 45]);
    expect(new Set(rgb)).toEqual(new Set([128]));
  });

  it('NaN and infinity are not finite', () => {
    expect(isFinite(floatTensor([2], Float32Array.of(1, NaN)))).toBe(false);
    expect(isFinite(floatTensor([2], Float32Array.of(1, -Infinity)))).toBe(false);
    expect(isFinite(floatTensor([2], Float32Array.of(1, 2)))).toBe(true);
  });
});
