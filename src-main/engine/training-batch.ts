// One training batch of a diffusion model (Ho et al. 2020, arXiv:2006.11239, algorithm 1): pictures, timesteps and noise drawn from
// one generator, noised latents x_t = sqrt(a) x0 + sqrt(1 - a) noise, and what the network should predict of them.
import type { TrainingSchedule } from '../diffusion/noise-schedule.ts';
import { stack, type TorchGenerator } from '../tensor/random.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import type { TrainingImage } from './training-images.ts';

export interface TrainingBatch {
  readonly bucket: string;
  /** Chosen pictures, one per entry of the batch. */
  readonly images: readonly TrainingImage[];
  /** What was noised of each, as latents [1, C, h, w]: the picture, or its mirror image. */
  readonly clean: readonly FloatTensor[];
  /** Captions; empty where dropped. */
  readonly captions: readonly string[];
  /** x_t [B, C, h, w]. */
  readonly sample: FloatTensor;
  /** [B] */
  readonly timestep: FloatTensor;
  /** alphaBar of each timestep, B in all. */
  readonly alphaBar: readonly number[];
  /** Scale of classifier-free guidance that a judge sees the prediction under; undefined or 1: the captions' prediction itself. */
  readonly guidance?: number;
  /** Noise or v [B, C, h, w]. */
  readonly target: FloatTensor;
  /** [B, 1, 1, 1] */
  readonly weight: FloatTensor;
}

export interface BatchOptions {
  readonly batch: number;
  readonly captionDropout: number;
  /** gamma of min-SNR (Hang et al. 2023, arXiv:2303.09556): weights min(snr, gamma) / snr for noise, / (snr + 1) for v. */
  readonly minSnr?: number | undefined;
  /** Timesteps are drawn from 0 to this, exclusive; the whole schedule's unless given. */
  readonly timesteps?: number | undefined;
}

/** Pictures of one bucket and one stack, `count` of them, any of them more than once. */
export function pickAlike(
  images: readonly TrainingImage[],
  random: TorchGenerator,
  count: number,
): readonly TrainingImage[] {
  const first = images[random.randint(0, images.length, 1)[0]!]!;
  const alike = images.filter(({ bucket, stack }) => bucket === first.bucket && stack === first.stack);
  const others = random.randint(0, alike.length, count).slice(1);
  return [first, ...others.map((i) => alike[i]!)];
}

/** Draws a batch; all its pictures are of one bucket and one stack. */
export function drawBatch(
  images: readonly TrainingImage[],
  schedule: TrainingSchedule,
  random: TorchGenerator,
  { batch, captionDropout, minSnr, timesteps: end = schedule.alphaBar.length }: BatchOptions,
): TrainingBatch {
  const chosen = pickAlike(images, random, batch);
  const timesteps = random.randint(0, end, batch);
  const shape = chosen[0]!.latents[0]!.shape.slice(1);
  const v = schedule.config.predictionType === 'v_prediction';
  const [samples, targets]: FloatTensor[][] = [[], []];
  const weights: number[] = [];
  const captions: string[] = [];
  const clean: FloatTensor[] = [];
  chosen.forEach((image, i) => {
    const latent = image.latents[random.randint(0, image.latents.length, 1)[0]!]!;
    const x0 = latent.data;
    clean.push(latent);
    const noise = random.randn(shape).data;
    captions.push(random.rand([1]).data[0]! < captionDropout ? '' : image.caption);
    const alphaBar = schedule.alphaBar[timesteps[i]!]!;
    const [signal, sigma] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
    samples!.push(
      floatTensor(
        shape,
        x0.map((x, j) => signal * x + sigma * noise[j]!),
      ),
    );
    targets!.push(
      v
        ? floatTensor(
            shape,
            x0.map((x, j) => signal * noise[j]! - sigma * x),
          )
        : floatTensor(shape, noise),
    );
    const snr = alphaBar / (1 - alphaBar);
    weights.push(minSnr === undefined ? 1 : Math.min(snr, minSnr) / (v ? snr + 1 : snr));
  });
  return {
    bucket: chosen[0]!.bucket,
    images: chosen,
    clean,
    captions,
    sample: stack(samples!, shape),
    timestep: floatTensor([batch], Float32Array.from(timesteps)),
    alphaBar: Array.from(timesteps, (t) => schedule.alphaBar[t]!),
    target: stack(targets!, shape),
    weight: floatTensor([batch, 1, 1, 1], Float32Array.from(weights)),
  };
}
