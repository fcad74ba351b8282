// Batches on the way of drawing: x_t is what the sampler meets under guidance with the gates as they are, not a noised reference. A gate
// then learns from the mistakes that it makes itself, and how loud an expert must be under guidance. The MoLE paper's code trains so
// (it denoises from almost pure noise and lets CLIP look at every step). Drawings that start from noised references know what they
// should become, so that they need no CLIP: see ReferenceJudge.
import { denoiserOf, type Network } from '../diffusion/denoiser.ts';
import { guided } from '../diffusion/guidance.ts';
import { schedules, sigmaAt, type TrainingSchedule } from '../diffusion/noise-schedule.ts';
import { startFromLatent, startFromNoise, stepNoise } from '../diffusion/noise-source.ts';
import { samplers } from '../diffusion/samplers.ts';
import { batchNoise, stack, type TorchGenerator } from '../tensor/random.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { x0Factors } from '../mole/clip-loss.ts';
import { pickAlike, type TrainingBatch } from './training-batch.ts';
import type { TrainingImage } from './training-images.ts';
import type { Judge } from './training-session.ts';

export interface DrawingOptions {
  /** Pictures drawn at once. */
  readonly batch: number;
  /** Steps of a drawing; each is a batch. */
  readonly steps: number;
  /** Scale of classifier-free guidance. */
  readonly cfgScale: number;
  /** Where a drawing starts: at noise, or at a noised reference, any step but the first being the first that is drawn. */
  readonly from: 'noise' | 'references';
}

/** What the UNet predicts of x_t [B, C, h, w] at a timestep under captions, with the gates as they are. */
export type Predict = (
  batch: Pick<TrainingBatch, 'bucket' | 'images' | 'sample' | 'timestep'>,
  captions: readonly string[],
) => Promise<FloatTensor>;

/** Deterministic, and what most pictures are drawn with. */
const { sample: draw, schedule: scheduleName, start } = samplers['dpmpp-2m'];

/** Drawings that are kept and learnt from before new ones are made: the gates hardly move in that time. */
const drawingsKept = 4;

export class DrawnBatches {
  readonly #images: readonly TrainingImage[];
  readonly #schedule: TrainingSchedule;
  readonly #options: DrawingOptions;
  #kept: TrainingBatch[] = [];

  constructor(images: readonly TrainingImage[], schedule: TrainingSchedule, options: DrawingOptions) {
    this.#images = images;
    this.#schedule = schedule;
    this.#options = options;
  }

  /** A step of a drawing that was not handed out yet; draws anew when none is left. */
  async next(random: TorchGenerator, predict: Predict): Promise<TrainingBatch> {
    if (this.#kept.length === 0) {
      for (let i = 0; i < drawingsKept; i++) this.#kept.push(...(await this.#draw(random, predict)));
    }
    const [place] = random.randint(0, this.#kept.length, 1);
    return this.#kept.splice(place!, 1)[0]!;
  }

  /** Draws by the captions of some pictures of one stack and size: a batch per step. */
  async #draw(random: TorchGenerator, predict: Predict): Promise<readonly TrainingBatch[]> {
    const { batch, steps, cfgScale, from } = this.#options;
    const images = pickAlike(this.#images, random, batch);
    const captions = images.map(({ caption }) => caption);
    const clean = images.map(({ latents }) => latents[random.randint(0, latents.length, 1)[0]!]!);
    const [, ...shape] = clean[0]!.shape;
    const seeds = Array.from(random.randint(0, 2 ** 31 - 1, batch));
    const all = schedules[scheduleName].sigmas(this.#schedule, steps);
    const sigmas = from === 'noise' ? all : all.slice(random.randint(1, Math.max(2, steps - 1), 1)[0]);
    const { noise, generators } = batchNoise(seeds, shape);
    const met: TrainingBatch[] = [];
    const network: Network = guided(
      async (sample, at, branches) => {
        const timestep = floatTensor([batch], new Float32Array(batch).fill(at));
        const seen = { bucket: images[0]!.bucket, images, sample, timestep };
        const alphaBar = 1 / (1 + sigmaAt(this.#schedule, at) ** 2);
        met.push({
          ...seen,
          clean,
          captions,
          alphaBar: captions.map(() => alphaBar),
          guidance: cfgScale,
          // A judge looks at the prediction itself.
          target: floatTensor(sample.shape),
          weight: floatTensor([batch, 1, 1, 1]),
        });
        const said: FloatTensor[] = [];
        for (const branch of branches) {
          said.push(await predict(seen, branch === 'conditional' ? captions : captions.map(() => '')));
        }
        return said;
      },
      { scale: cfgScale },
    );
    const started =
      from === 'noise'
        ? startFromNoise(noise, sigmas[0]!, start)
        : startFromLatent(stack(clean, shape), noise, sigmas[0]!);
    const noises = stepNoise('none', { seeds, generators, shape, sigmas });
    const way = draw(denoiserOf(this.#schedule, network), started, sigmas, noises);
    while ((await way.next()).done !== true);
    return met;
  }
}

/**
 * How far the clean picture that a guided prediction amounts to is from the reference that its drawing started from: the mean of
 * (x0 - reference)^2 over batch and latent, differentiable in closed form. Judging x0 instead of the prediction weighs a v by
 * 1 - alphaBar, so that the last steps, where a drawing has left its reference for good, say little.
 */
export class ReferenceJudge implements Judge {
  readonly #schedule: TrainingSchedule;

  constructor(schedule: TrainingSchedule) {
    this.#schedule = schedule;
  }

  judge({ sample, alphaBar, clean }: TrainingBatch, prediction: FloatTensor): ReturnType<Judge['judge']> {
    const gradient = new Float32Array(prediction.data.length);
    const size = gradient.length / clean.length;
    let loss = 0;
    clean.forEach(({ data }, i) => {
      const factors = x0Factors(alphaBar[i]!, this.#schedule.config.predictionType);
      for (let j = 0, k = i * size; j < size; j++, k++) {
        const far = factors.sample * sample.data[k]! + factors.prediction * prediction.data[k]! - data[j]!;
        loss += far * far;
        gradient[k] = (2 * far * factors.prediction) / gradient.length;
      }
    });
    loss /= gradient.length;
    return Promise.resolve({ loss, parts: { reference: loss }, gradient: floatTensor(prediction.shape, gradient) });
  }
}
