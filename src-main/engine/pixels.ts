// Between pictures (8-bit RGB, interleaved) and image tensors ([1, 3, H, W] in [-1, 1]), and the quick look at a latent.
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';

/** Interleaved 8-bit RGB. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3], 0..255. */
  readonly rgb: Uint8Array;
}

/** Image [1, 3, H, W] in [-1, 1] -> pixels, clamped and rounded to nearest as diffusers' image processor does. */
export function toPixels(image: FloatTensor): Pixels {
  const [, channels, height, width] = image.shape as [number, number, number, number];
  const size = height * width;
  const rgb = new Uint8Array(size * channels);
  for (let channel = 0; channel < channels; channel++) {
    for (let i = 0; i < size; i++) {
      const value = image.data[channel * size + i]! * 0.5 + 0.5;
      rgb[i * channels + channel] = Math.round(Math.min(1, Math.max(0, value)) * 255);
    }
  }
  return { width, height, rgb };
}

/** Pixels -> image [1, 3, H, W] in [-1, 1]. */
export function fromPixels({ width, height, rgb }: Pixels): FloatTensor {
  const size = height * width;
  const data = new Float32Array(size * 3);
  for (let i = 0; i < size; i++) {
    for (let channel = 0; channel < 3; channel++) data[channel * size + i] = (rgb[i * 3 + channel]! / 255) * 2 - 1;
  }
  return floatTensor([1, 3, height, width], data);
}

/**
 * Stable Diffusion 1's latents to RGB by one matrix, row per latent channel: a blurry but instant look at a step.
 * Numbers: the linear fit that AUTOMATIC1111 and ComfyUI use
 * (https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204).
 */
const latentToRgb = [
  [0.3512, 0.2297, 0.3227],
  [0.325, 0.4974, 0.235],
  [-0.2829, 0.1762, 0.2721],
  [-0.212, -0.2616, -0.7177],
] as const;

/** Latents as the UNet sees them [1, 4, H, W] -> a picture of W x H pixels. */
export function quickLook(latent: FloatTensor): Pixels {
  const [, channels, height, width] = latent.shape as [number, number, number, number];
  const size = height * width;
  const image = floatTensor([1, 3, height, width]);
  for (let channel = 0; channel < Math.min(channels, latentToRgb.length); channel++) {
    for (let i = 0; i < size; i++) {
      const value = latent.data[channel * size + i]!;
      for (let color = 0; color < 3; color++) image.data[color * size + i]! += value * latentToRgb[channel]![color]!;
    }
  }
  return toPixels(image);
}

/** True when every number of `tensor` is finite. */
export function isFinite(tensor: FloatTensor): boolean {
  return tensor.data.every(Number.isFinite);
}
