// What a job will need in memory, estimated before it is spent. The factors were measured (test/bench/RESULTS.md) on
// full-size Stable Diffusion 1.5 on the CPU and are rounded up; the estimate is for a decision, not for a bill.
import type { AutoencoderConfig, UNetConfig } from '../networks/configs.ts';

/** Live activations of the UNet, in tensors of [C0, H, W] float32. */
const unetTensors = 70;
/**
 * What the backward pass of a training step keeps, in times of the forward pass's activations: measured 11 to 13 at 256x256 and
 * 512x512, and 7 with activations computed again.
 */
const trainingFactor = { kept: 13, recomputed: 7.5 };
/** Live activations of the VAE decoder, in tensors of [C0, 8H, 8W] float32: the widest stretch is its last level. */
const decoderTensors = 9;

/** Bytes of activations of one UNet pass at latent size [height, width], with fused attention. */
export function unetActivationBytes(config: UNetConfig, height: number, width: number): number {
  return unetTensors * 4 * config.blockOutChannels[0]! * height * width;
}

/** Bytes of activations of one training step on `batch` latents of [height, width]. */
export function trainingActivationBytes(
  config: UNetConfig,
  height: number,
  width: number,
  { batch, recompute }: { readonly batch: number; readonly recompute: boolean },
): number {
  const factor = recompute ? trainingFactor.recomputed : trainingFactor.kept;
  return factor * batch * unetActivationBytes(config, height, width);
}

/** Bytes of activations of decoding a latent of [height, width] to pixels. */
export function decoderActivationBytes(config: AutoencoderConfig, height: number, width: number): number {
  const scale = 2 ** (config.blockOutChannels.length - 1);
  return decoderTensors * 4 * config.blockOutChannels[0]! * height * width * scale * scale;
}

/** `4.3 GB`, for messages. */
export function showBytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.ceil(bytes / 1e6)} MB`;
}
