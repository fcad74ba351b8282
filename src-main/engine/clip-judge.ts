// The clip loss of a training run (mole/clip-loss.ts): captions and reference pictures are looked at once, before the first update;
// then each prediction of the UNet is decoded, looked at and compared, and the gradient goes back to the UNet as its seed.
// An estimate of the clean picture out of almost pure noise shows nothing yet, so timesteps come from the lower half of the schedule.
import { gradientOutput, withGradient } from '../autodiff/gradient.ts';
import { withRecomputation } from '../autodiff/recompute.ts';
import { FailureError } from '../contract/failure.ts';
import type { TrainingSchedule } from '../diffusion/noise-schedule.ts';
import { bindSizes } from '../graph/passes/bind.ts';
import {
  clipJudge,
  clipReference,
  judgeNames,
  x0Factors,
  type ClipSight,
  type ClipWeights,
} from '../mole/clip-loss.ts';
import { clipTextEmbeds, endOfText } from '../networks/clip-text-embeds.ts';
import type { Session } from '../runtime/session.ts';
import { stack } from '../tensor/random.ts';
import { floatTensor, intTensor, type FloatTensor } from '../tensor/tensor.ts';
import { tokenChunks } from '../text/prompt.ts';
import { clipTokenizer } from '../text/tokenizer.ts';
import type { LoadedModel } from './loaded-model.ts';
import type { OpenedClip } from './open-clip.ts';
import type { TrainingBatch } from './training-batch.ts';
import type { TrainingImage } from './training-images.ts';
import { sizesOf } from './training-graph.ts';
import type { Judge } from './training-session.ts';

/** Both terms of the paper's words alike. */
const plainWeights: ClipWeights = { global: 1, local: 1 };
/** Captions are told apart in nats, distances are of a cosine: this makes them about alike. */
const contrastWeights: ClipWeights = { ...plainWeights, contrast: 0.3 };

/** Timesteps that the clip loss draws from: 0 to this, exclusive. */
export const judgedTimesteps = (schedule: TrainingSchedule): number => Math.ceil(schedule.alphaBar.length / 2);

export class ClipJudge implements Judge {
  readonly #model: LoadedModel;
  readonly #clip: OpenedClip;
  readonly #schedule: TrainingSchedule;
  /** Embeddings [P] by caption, and by reference latent. */
  readonly #texts = new Map<string, FloatTensor>();
  readonly #references = new Map<FloatTensor, FloatTensor>();
  readonly #open = new Map<string, Session>();
  readonly #weights: ClipWeights;

  private constructor(model: LoadedModel, clip: OpenedClip, schedule: TrainingSchedule, contrast: boolean) {
    this.#weights = contrast ? contrastWeights : plainWeights;
    this.#model = model;
    this.#clip = clip;
    this.#schedule = schedule;
  }

  /**
   * Looks at the captions and pictures; with `contrast` each caption is told from the others. Throws a FailureError 'bad-request' for
   * a picture without a caption.
   */
  static async prepare(
    model: LoadedModel,
    clip: OpenedClip,
    schedule: TrainingSchedule,
    images: readonly TrainingImage[],
    signal: AbortSignal,
    { contrast = false }: { readonly contrast?: boolean } = {},
  ): Promise<ClipJudge> {
    const bare = images.find(({ caption }) => caption === '');
    if (bare !== undefined) {
      throw new FailureError({
        kind: 'bad-request',
        file: bare.path,
        message: `The clip loss compares what is drawn with the caption of its picture, and ${bare.path} has none. Give --caption, or a .txt file beside each picture.`,
      });
    }
    const judge = new ClipJudge(model, clip, schedule, contrast);
    await judge.#readCaptions(new Set(images.map(({ caption }) => caption)));
    const latents = images.flatMap((image) => image.latents);
    for (const shape of new Set(latents.map((latent) => latent.shape.join('x')))) {
      await judge.#lookAt(
        latents.filter((latent) => latent.shape.join('x') === shape),
        signal,
      );
    }
    return judge;
  }

  async judge(batch: TrainingBatch, prediction: FloatTensor) {
    const factors = batch.alphaBar.map((alphaBar) => x0Factors(alphaBar, this.#schedule.config.predictionType));
    const column = (numbers: readonly number[]): FloatTensor =>
      floatTensor([numbers.length, 1, 1, 1], Float32Array.from(numbers));
    const width = [this.#clip.config.projectionDim];
    const feeds: Record<string, FloatTensor> = {
      [judgeNames.prediction]: prediction,
      [judgeNames.sample]: batch.sample,
      [judgeNames.sampleFactor]: column(factors.map(({ sample }) => sample)),
      [judgeNames.predictionFactor]: column(factors.map((factor) => factor.prediction)),
      [judgeNames.text]: stack(
        batch.images.map(({ caption }) => this.#texts.get(caption)!),
        width,
      ),
      [judgeNames.reference]: stack(
        batch.clean.map((latent) => this.#references.get(latent)!),
        width,
      ),
    };
    if (this.#weights.contrast !== undefined) {
      const captions = [...this.#texts.keys()];
      feeds[judgeNames.captions] = stack([...this.#texts.values()], width);
      feeds[judgeNames.own] = floatTensor(
        [batch.images.length, captions.length],
        Float32Array.from(batch.images.flatMap((image) => captions.map((one) => (one === image.caption ? 1 : 0)))),
      );
    }
    const key = prediction.shape.join('x');
    let session = this.#open.get(key);
    if (session === undefined) {
      const graph = clipJudge(this.#sight(prediction), this.#weights);
      const withRespectTo = [judgeNames.prediction];
      const gradient = withGradient(bindSizes(graph, sizesOf(graph, feeds)), {
        of: [{ output: judgeNames.loss }],
        withRespectTo,
      });
      // Decoding at full size fills the memory: Stable Diffusion's decoder with ViT-B/16 takes 1.9 GB at 256x256 with activations
      // computed twice, 3.6 GB without, and 5.1 GB at 512x512.
      session = await this.#model.openGraph(withRecomputation(gradient));
      this.#open.set(key, session);
    }
    const result = (await session.run(feeds)) as Readonly<Record<string, FloatTensor>>;
    const number = (name: string): number => result[name]!.data[0]!;
    return {
      loss: number(judgeNames.loss),
      parts: {
        'clip global': number(judgeNames.global),
        'clip local': number(judgeNames.local),
        ...(this.#weights.contrast === undefined ? {} : { 'clip contrast': number(judgeNames.contrast) }),
      },
      gradient: result[gradientOutput(judgeNames.prediction)]!,
    };
  }

  async release(): Promise<void> {
    for (const session of this.#open.values()) await session.release();
    this.#open.clear();
  }

  async #readCaptions(captions: ReadonlySet<string>): Promise<void> {
    const { config, weights: source } = this.#clip;
    const session = await this.#model.openGraph(clipTextEmbeds(config, { ref: (name) => source.ref(name) }));
    try {
      for (const caption of captions) {
        const { tokens } = tokenChunks(caption, clipTokenizer())[0]!;
        const ids = intTensor([1, tokens.length], tokens);
        const { text_embeds } = await session.run({ input_ids: ids, end: endOfText(ids, config.eosTokenId) });
        this.#texts.set(caption, text_embeds as FloatTensor);
      }
    } finally {
      await session.release();
    }
  }

  /** Embeds reference pictures of one size, as the autoencoder shows them: a perfect prediction is then at distance 0. */
  async #lookAt(latents: readonly FloatTensor[], signal: AbortSignal): Promise<void> {
    const session = await this.#model.openGraph(clipReference(this.#sight(latents[0]!)));
    try {
      for (const latent of latents) {
        signal.throwIfAborted();
        this.#references.set(latent, (await session.run({ x0: latent }))['image_embeds'] as FloatTensor);
      }
    } finally {
      await session.release();
    }
  }

  #sight({ shape }: FloatTensor): ClipSight {
    const { vae } = this.#model.checkpoint;
    if (vae.kind !== 'kl') throw new Error(`${vae.file} is no autoencoder that the clip loss can be taken through.`);
    const { config, weights: source, normalisation } = this.#clip;
    return {
      vae: { config: vae.config, ref: (name) => vae.weights.ref(name) },
      clip: { config, ref: (name) => source.ref(name), normalisation },
      height: shape[2]!,
      width: shape[3]!,
      attention: this.#model.device.fusedAttention ? 'fused' : 'plain',
    };
  }
}
