// A prompt becomes a picture: the whole story from top to bottom. Latent diffusion sampling (Rombach et al. 2022) with
// classifier-free guidance; each picture of a batch is its own run, so that it does not depend on its neighbours.
import { FailureError } from '../contract/failure.ts';
import type { FinishedPicture, GenerateEvent, GenerateResult, GenerateSettings } from '../contract/generation.ts';
import { denoiserOf, type Network } from '../diffusion/denoiser.ts';
import { guided, type Branch } from '../diffusion/guidance.ts';
import { schedules, sigmasForStrength, trainingSchedule } from '../diffusion/noise-schedule.ts';
import { startFromLatent, startFromNoise, stepNoise } from '../diffusion/noise-source.ts';
import { samplers } from '../diffusion/samplers.ts';
import { weightedSum } from '../diffusion/weighted-sum.ts';
import { decodePicture, resizeCover } from '../formats/png.ts';
import { makeFolder } from '../formats/write-new.ts';
import { expertInput } from '../mole/expert-layers.ts';
import { RuntimeFailure } from '../runtime/session.ts';
import { batchNoise } from '../tensor/random.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { extractTags } from '../text/prompt-tags.ts';
import { promptWarnings } from '../text/prompt.ts';
import { openTaesd } from './checkpoint.ts';
import { encodePrompts, type EncodedPrompts } from './encode-prompt.ts';
import type { JobContext } from './engine.ts';
import type { LoadedModel } from './loaded-model.ts';
import { decoderActivationBytes, showBytes, unetActivationBytes } from './memory.ts';
import type { Mixture } from './mixture.ts';
import { fromPixels, isFinite, quickLook, toPixels, type Pixels } from './pixels.ts';
import { savePicture } from './save-picture.ts';
import { decodeTiled } from './tiled-decode.ts';

type Context = JobContext<GenerateEvent>;
export type GeneratedPictures = Pick<GenerateResult, 'pictures' | 'warnings' | 'timings'>;

/**
 * Draws `settings.batch` pictures with an opened model and writes each as it is finished. Yields to `context.emit`
 * stages, steps, previews and pictures. Throws FailureError: cancelled (finished pictures stay), out-of-memory,
 * not-a-number, bad-request; library errors pass through.
 */
export async function generateImage(
  settings: GenerateSettings,
  model: LoadedModel,
  mixture: Mixture,
  context: Context,
  availableBytes: number,
): Promise<GeneratedPictures> {
  model.useMixture(mixture);
  const clock = new Clock();
  const warnings: string[] = [...model.checkpoint.warnings];
  const warn = (message: string): void => {
    if (warnings.includes(message)) return;
    warnings.push(message);
    context.emit({ kind: 'warning', message });
  };
  model.checkpoint.warnings.forEach((message) => {
    context.emit({ kind: 'warning', message });
  });
  const stage = (name: (GenerateEvent & { kind: 'stage' })['stage'], message: string): void => {
    throwIfCancelled(context);
    context.emit({ kind: 'stage', stage: name, message });
  };

  const size = pictureSize(settings, model);
  checkMemory(model, mixture, size, availableBytes);
  // A folder that cannot be written is told before the drawing, not after it.
  await makeFolder(settings.output.folder);

  stage('encoding-prompt', 'Reading the prompt');
  const prompt = plainPrompt(settings.prompt, false, warn);
  const negativePrompt = plainPrompt(settings.negativePrompt, true, warn);
  const prompts = await clock.time('encodeMs', () =>
    encodeForPasses(model, mixture, { ...settings, prompt, negativePrompt }),
  );
  const look = await previewer(settings, model);
  const init = settings.init === undefined ? undefined : await encodeInit(settings.init.picture, size, model, stage);

  stage('opening', `Opening the UNet on the ${model.device.provider} device`);
  await clock.time('openMs', () => model.openUNet(size.latentHeight, size.latentWidth, prompts.textTokens));
  announce(mixture, model, prompts, context);

  const firstSeed = settings.seed ?? Math.floor(Math.random() * 2 ** 32);
  const pictures: FinishedPicture[] = [];
  for (let index = 0; index < settings.batch; index++) {
    const seed = firstSeed + index;
    stage('denoising', settings.batch === 1 ? 'Drawing' : `Drawing picture ${index + 1} of ${settings.batch}`);
    const latent = await clock.time('denoiseMs', () =>
      denoise({ settings, model, mixture, prompts, init, look, size, seed, index, context, clock }),
    );
    stage('decoding', 'Turning latents into pixels');
    const image = await clock.time('decodeMs', () => decode(model, latent, availableBytes, context, warn));
    stage('saving', 'Writing the file');
    const pixels = toPixels(image);
    const path = await savePicture(pixels, { settings, checkpoint: model.checkpoint, mixture, seed, index });
    const picture = { path, seed, width: pixels.width, height: pixels.height };
    pictures.push(picture);
    context.emit({ kind: 'picture', picture });
  }
  return { pictures, warnings, timings: clock.timings() };
}

interface Size {
  /** Latents. */
  readonly latentHeight: number;
  readonly latentWidth: number;
  /** Pixels. */
  readonly height: number;
  readonly width: number;
}

/** The asked size, or the model's own. Throws when the model's autoencoder cannot make it. */
function pictureSize(settings: GenerateSettings, model: LoadedModel): Size {
  const scale = model.pixelsPerLatent;
  const own = model.checkpoint.unet.config.sampleSize * scale;
  const [height, width] = [settings.height ?? own, settings.width ?? own];
  if (height % scale !== 0 || width % scale !== 0) {
    throw new FailureError({
      kind: 'bad-request',
      message: `Width and height must be multiples of ${scale} pixels for this model, got ${width}x${height}.`,
    });
  }
  return { height, width, latentHeight: height / scale, latentWidth: width / scale };
}

/** Refuses a job that cannot fit before anything is opened, and says what would fit. */
function checkMemory(model: LoadedModel, mixture: Mixture, size: Size, availableBytes: number): void {
  const { unet, weightBytes } = model.checkpoint;
  const weights = weightBytes.unet + weightBytes.textEncoder + mixture.bytes;
  const needed = weights + unetActivationBytes(unet.config, size.latentHeight, size.latentWidth);
  if (needed <= availableBytes) return;
  const perLatent = unetActivationBytes(unet.config, 1, 1);
  const fitting = Math.floor(Math.sqrt(Math.max(0, availableBytes - weights) / perLatent)) * model.pixelsPerLatent;
  const rounded = Math.floor(fitting / 64) * 64;
  throw new FailureError({
    kind: 'out-of-memory',
    message:
      `${size.width}x${size.height} needs about ${showBytes(needed)} of memory, ${showBytes(availableBytes)} are free. ` +
      (rounded >= 64
        ? `About ${rounded}x${rounded} would fit; closing other programs frees more.`
        : `The model${mixture.entries.length > 0 ? ' with its experts' : ' alone'} needs ${showBytes(weights)}: close other programs or choose a smaller model.`),
  });
}

async function encodeInit(
  path: string,
  size: Size,
  model: LoadedModel,
  stage: (name: 'encoding-picture', message: string) => void,
): Promise<FloatTensor> {
  stage('encoding-picture', 'Reading the starting picture');
  const picture = await resizeCover(await decodePicture(path), size.width, size.height);
  return model.encode(fromPixels(picture));
}

/** A picture of a latent on its way. */
type Previewer = (latent: FloatTensor) => Promise<Pixels>;

/** TAESD when a preview decoder is given, else the matrix that costs nothing. */
async function previewer(settings: GenerateSettings, model: LoadedModel): Promise<Previewer> {
  if (settings.previewEvery === 0 || settings.previewDecoder === undefined) {
    return (latent) => Promise.resolve(quickLook(latent));
  }
  const taesd = await openTaesd(settings.previewDecoder);
  return async (latent) => toPixels(await model.preview(latent, taesd));
}

/** A prompt without tags: those of the prompt are in the mixture by now, those of the negative prompt mean nothing. */
function plainPrompt(text: string, negative: boolean, warn: (message: string) => void): string {
  const { prompt, tags } = extractTags(text);
  if (negative && tags.length > 0) {
    warn(`Tags in the negative prompt are left out: ${tags.map(({ source }) => source).join(' ')}`);
  }
  for (const { message } of promptWarnings(prompt)) warn(message);
  return prompt;
}

/** The text states for each expert that speaks alone, or for all together. */
interface PassPrompts {
  readonly of: (alone: number | undefined) => EncodedPrompts;
  /** Of all experts together. */
  readonly gates: EncodedPrompts['gates'];
  readonly textTokens: number;
}

/** Encodes the prompts once for every set of experts that speaks together in some step. */
async function encodeForPasses(
  model: LoadedModel,
  mixture: Mixture,
  prompts: Omit<Parameters<typeof encodePrompts>[1], 'alone'>,
): Promise<PassPrompts> {
  const encoded = new Map<number | undefined, EncodedPrompts>();
  const apart = mixture.speaksInText;
  for (let step = 0; step < prompts.steps; step++) {
    for (const pass of mixture.passes(step)) {
      const alone = apart ? pass : undefined;
      if (!encoded.has(alone)) encoded.set(alone, await encodePrompts(model, { ...prompts, alone }));
    }
  }
  const [first] = encoded.values();
  const { gates, textTokens } = first!;
  return { of: (alone) => encoded.get(apart ? alone : undefined)!, gates, textTokens };
}

function mean(tensors: readonly FloatTensor[]): FloatTensor {
  const [first, ...rest] = tensors.map((tensor) => [1 / tensors.length, tensor] as const);
  return rest.length === 0 ? tensors[0]! : weightedSum(first!, ...rest);
}

/** Says once which experts and gates the values of each step belong to. */
function announce(mixture: Mixture, model: LoadedModel, prompts: PassPrompts, context: Context): void {
  if (mixture.entries.length === 0) return;
  const { gates } = prompts;
  const text = {
    groups: gates === undefined ? [] : model.gateGroups('text_encoder').map(({ name }) => name),
    ...(gates === undefined ? {} : { gates: gateValues(new Map(Object.entries(gates) as [Branch, FloatTensor][])) }),
    weights: rowsOf(mixture.weights('text_encoder', model.rows('text_encoder'), 0, 1)[expertInput.weights]!)[0]!,
  };
  context.emit({
    kind: 'mixture',
    mode: mixture.mode,
    experts: mixture.entries.map(({ expert: { name, sha256 } }) => ({ name, sha256 })),
    groups: model.gateGroups().map(({ name, members }) => ({ name, row: model.unetRows.rowOf(members[0]!.name) })),
    rows: spokenRows(mixture, model),
    ...(mixture.speaksInText ? { text } : {}),
  });
}

/** Strengths [rows][N] of a step in a mode without gates: the mean over its passes. */
function strengthsAt(mixture: Mixture, model: LoadedModel, step: number, steps: number): readonly number[][] {
  const passes = mixture.passes(step).map((alone) => mixture.weights('unet', model.unetRows, step, steps, alone));
  const all = rowsOf(mean(passes.map((weights) => weights[expertInput.weights]!)));
  const spoken = spokenRows(mixture, model);
  return all.filter((_, r) => spoken.includes(model.unetRows.names[r]!));
}

/** Rows of the UNet in which some expert has layers. */
function spokenRows({ entries }: Mixture, { unetRows }: LoadedModel): readonly string[] {
  const spoken = new Set(entries.flatMap(({ expert }) => [...expert.layers.unet.keys()].map(unetRows.rowOf)));
  return unetRows.names.filter((name) => spoken.has(name));
}

/** [1, G, N] of each branch as rows of numbers. */
function gateValues(gates: ReadonlyMap<Branch, FloatTensor>): Partial<Record<Branch, readonly (readonly number[])[]>> {
  return Object.fromEntries([...gates].map(([branch, values]) => [branch, rowsOf(values)]));
}

/** [rows, N] or [1, rows, N] as rows of numbers. */
function rowsOf({ shape, data }: FloatTensor): number[][] {
  const width = shape.at(-1)!;
  return Array.from({ length: data.length / width }, (_, r) => [...data.subarray(r * width, (r + 1) * width)]);
}

interface DenoiseJob {
  readonly settings: GenerateSettings;
  readonly model: LoadedModel;
  readonly mixture: Mixture;
  readonly prompts: PassPrompts;
  /** Latents of the starting picture [1, C, H, W], for img2img. */
  readonly init: FloatTensor | undefined;
  readonly look: Previewer;
  readonly size: Size;
  readonly seed: number;
  readonly index: number;
  readonly context: Context;
  readonly clock: Clock;
}

/** Runs the sampler from the seed's noise to a clean latent [1, C, H, W]. */
async function denoise(job: DenoiseJob): Promise<FloatTensor> {
  const { settings, model, mixture, prompts, init, size, context, clock } = job;
  const { checkpoint } = model;
  const training = trainingSchedule(checkpoint.scheduler);
  const entry = samplers[settings.sampler];
  const schedule = settings.schedule === 'automatic' ? entry.schedule : settings.schedule;
  const allSigmas = schedules[schedule].sigmas(training, settings.steps);
  const sigmas = init === undefined ? allSigmas : sigmasForStrength(allSigmas, settings.init!.strength);
  const shape = [checkpoint.unet.config.inChannels, size.latentHeight, size.latentWidth];
  const { noise, generators } = batchNoise(
    [job.seed],
    shape,
    settings.variation && { seeds: [settings.variation.seed], strength: settings.variation.strength },
  );
  // Strength so low that no step is left: the starting picture as it is.
  if (init !== undefined && sigmas.length < 2) return init;

  let step = 0;
  const gates = new Map<Branch, FloatTensor>();
  const network: Network = guided(
    async (scaled, timestep, branches) => {
      const at = settings.steps - (sigmas.length - 1) + step;
      const passes = mixture.passes(at);
      const predictions: FloatTensor[] = [];
      // Branch by branch: on the CPU a batch of two takes twice the time and twice the memory of one.
      for (const branch of branches) {
        const said: FloatTensor[] = [];
        for (const alone of passes) {
          throwIfCancelled(context);
          const states = prompts.of(alone).at(at)[branch];
          const time = floatTensor([1], Float32Array.of(timestep));
          const result = await model.predict(scaled, time, states, { step: at, steps: settings.steps, alone, branch });
          said.push(result.prediction);
          if (result.gates !== undefined) gates.set(branch, result.gates);
        }
        // LoRA Composite (arXiv:2402.16843, Eq. 4): the guided scores' mean, which is the mean of each branch.
        predictions.push(mean(said));
      }
      return predictions;
    },
    { scale: settings.cfgScale, rescale: settings.cfgRescale },
  );
  const denoiser = denoiserOf(training, network);
  const start =
    init === undefined ? startFromNoise(noise, sigmas[0]!, entry.start) : startFromLatent(init, noise, sigmas[0]!);
  const steps = entry.sample(
    denoiser,
    start,
    sigmas,
    stepNoise(entry.noise, { seeds: [job.seed], generators, shape, sigmas: allSigmas }),
  );
  const total = sigmas.length - 1;
  const progress = clock.progress(total, settings.batch, job.index);
  let latent = start;
  for await (const { index, x, denoised } of steps) {
    step = index + 1;
    latent = x;
    if (!isFinite(x)) {
      throw new FailureError({
        kind: 'not-a-number',
        message:
          `The numbers broke down at step ${step} of ${total} (${entry.label}, CFG ${settings.cfgScale}). ` +
          `Use a lower CFG scale or another sampler; if it happens with every prompt, the model file may be damaged.`,
      });
    }
    const shown = settings.previewEvery > 0 && step % settings.previewEvery === 0 && step < total;
    context.emit({
      kind: 'step',
      step,
      steps: total,
      index: job.index,
      batch: settings.batch,
      ...progress(step),
      ...(shown ? { preview: await job.look(denoised) } : {}),
      ...(gates.size > 0 ? { gates: gateValues(gates) } : {}),
      ...(gates.size === 0 && mixture.entries.length > 0
        ? { weights: strengthsAt(mixture, model, settings.steps - total + index, settings.steps) }
        : {}),
    });
    throwIfCancelled(context);
  }
  return latent;
}

/**
 * Latents to an image. Falls back to tiles when the whole would not fit in memory or running it ran out of memory, and
 * says so. Throws not-a-number when the decoder's output is not finite.
 */
async function decode(
  model: LoadedModel,
  latent: FloatTensor,
  availableBytes: number,
  context: Context,
  warn: (message: string) => void,
): Promise<FloatTensor> {
  const { vae, weightBytes } = model.checkpoint;
  const whole = (part: FloatTensor): Promise<FloatTensor> => model.decode(part);
  const tiled = (why: string): Promise<FloatTensor> => {
    warn(`${why}, so the picture was decoded in tiles; colours can differ slightly from tile to tile.`);
    return decodeTiled(latent, whole, () => {
      throwIfCancelled(context);
    });
  };
  const [height, width] = [latent.shape[2]!, latent.shape[3]!];
  const needed = vae.kind === 'kl' ? weightBytes.vae + decoderActivationBytes(vae.config, height, width) : 0;
  let image: FloatTensor;
  if (needed > availableBytes) {
    image = await tiled(`Decoding at once needs about ${showBytes(needed)}, ${showBytes(availableBytes)} are free`);
  } else {
    try {
      image = await whole(latent);
    } catch (error) {
      if (!(error instanceof RuntimeFailure && error.outOfMemory)) throw error;
      await model.release('vae decoder');
      image = await tiled('The decoder ran out of memory');
    }
  }
  if (!isFinite(image)) {
    throw new FailureError({
      kind: 'not-a-number',
      message:
        'The VAE returned numbers that are not finite (a black picture). Choose another VAE file, or the cpu device.',
    });
  }
  return image;
}

/** Stops the job where it stands when the user has cancelled it. */
function throwIfCancelled({ signal }: Context): void {
  if (signal.aborted) {
    throw new FailureError({ kind: 'cancelled', message: 'The job was cancelled. Finished pictures were kept.' });
  }
}

/** Where the time went, and how long is left. */
class Clock {
  readonly #start = performance.now();
  readonly #spent = { openMs: 0, encodeMs: 0, denoiseMs: 0, decodeMs: 0 };
  #steps = 0;
  #stepMs = 0;

  async time<T>(part: 'openMs' | 'encodeMs' | 'denoiseMs' | 'decodeMs', work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.#spent[part] += performance.now() - start;
    }
  }

  /** Call with each finished step of picture `index`: time gone, and an estimate of the time left for all pictures. */
  progress(steps: number, batch: number, index: number): (step: number) => { elapsedMs: number; remainingMs: number } {
    let last = performance.now();
    return (step) => {
      const now = performance.now();
      this.#steps++;
      this.#stepMs += now - last;
      last = now;
      const left = steps - step + (batch - 1 - index) * steps;
      return { elapsedMs: now - this.#start, remainingMs: (left * this.#stepMs) / this.#steps };
    };
  }

  timings(): GenerateResult['timings'] {
    const round = (ms: number): number => Math.round(ms * 10) / 10;
    return {
      openMs: round(this.#spent.openMs),
      encodeMs: round(this.#spent.encodeMs),
      denoiseMs: round(this.#spent.denoiseMs),
      stepMs: this.#steps === 0 ? 0 : round(this.#stepMs / this.#steps),
      decodeMs: round(this.#spent.decodeMs),
      totalMs: round(performance.now() - this.#start),
    };
  }
}
