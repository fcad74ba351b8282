// The VAE decoder in tiles: memory of one tile instead of the picture's, for large sizes and after running out.
// Tiles overlap by a quarter and are blended linearly, so that no seam shows; colours may differ slightly from the whole
// decode, because each tile's group norms see that tile alone.
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';

/** Side of a tile in latents: 512 pixels. */
export const tileLatents = 64;

/**
 * Decodes latents [1, C, H, W] tile by tile -> [1, 3, scale*H, scale*W]. `decode` gets tiles of the same size each time
 * (the last ones are moved inwards), so that one session serves them all. `beforeTile` may throw to cancel.
 */
export async function decodeTiled(
  latent: FloatTensor,
  decode: (tile: FloatTensor) => Promise<FloatTensor>,
  beforeTile: () => void = () => undefined,
  tile = tileLatents,
): Promise<FloatTensor> {
  const [, channels, height, width] = latent.shape as [number, number, number, number];
  const [tileHeight, tileWidth] = [Math.min(tile, height), Math.min(tile, width)];
  let sum: { scale: number; image: Float32Array; weight: Float32Array } | undefined;
  for (const top of starts(height, tileHeight)) {
    for (const left of starts(width, tileWidth)) {
      beforeTile();
      const part = floatTensor([1, channels, tileHeight, tileWidth]);
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < tileHeight; y++) {
          const from = (c * height + top + y) * width + left;
          part.data.set(latent.data.subarray(from, from + tileWidth), (c * tileHeight + y) * tileWidth);
        }
      }
      const image = await decode(part);
      const scale = image.shape[2]! / tileHeight;
      sum ??= {
        scale,
        image: new Float32Array(3 * height * width * scale * scale),
        weight: new Float32Array(height * width * scale * scale),
      };
      blend(sum, image, { top: top * scale, left: left * scale, width: width * scale, height: height * scale });
    }
  }
  const { scale, image, weight } = sum!;
  const size = weight.length;
  for (let i = 0; i < image.length; i++) image[i]! /= weight[i % size]!;
  return floatTensor([1, 3, height * scale, width * scale], image);
}

/** First rows of tiles that cover `size` with a quarter of overlap; the last tile ends at the border. */
function starts(size: number, tile: number): number[] {
  const step = Math.max(1, Math.floor(tile * 0.75));
  const count = Math.max(1, Math.ceil((size - tile) / step) + 1);
  return Array.from({ length: count }, (_, i) => Math.min(i * step, size - tile));
}

function blend(
  sum: { readonly image: Float32Array; readonly weight: Float32Array },
  tile: FloatTensor,
  at: { readonly top: number; readonly left: number; readonly width: number; readonly height: number },
): void {
  const [, channels, tileHeight, tileWidth] = tile.shape as [number, number, number, number];
  const size = at.width * at.height;
  // A ramp of a quarter on every side; never zero, so that borders of the picture keep their weight.
  const ramp = (i: number, length: number): number =>
    Math.min(1, (Math.min(i, length - 1 - i) + 1) / Math.max(1, length / 4));
  for (let y = 0; y < tileHeight; y++) {
    for (let x = 0; x < tileWidth; x++) {
      const share = ramp(y, tileHeight) * ramp(x, tileWidth);
      const to = (at.top + y) * at.width + at.left + x;
      sum.weight[to]! += share;
      for (let c = 0; c < channels; c++) {
        sum.image[c * size + to]! += share * tile.data[(c * tileHeight + y) * tileWidth + x]!;
      }
    }
  }
}
