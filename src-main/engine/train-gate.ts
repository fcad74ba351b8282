// Gate training, the story from experts and reference images to a gate file: only the gates learn, the base model and every expert
// stay as they are (arXiv:2404.13628, section 3.3, "optimization gating function only").
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { FailureError } from '../contract/failure.ts';
import { generateRequestSchema } from '../contract/generation.ts';
import type { GateLoss, TrainEvent, TrainGateSettings } from '../contract/training.ts';
import { trainingSchedule } from '../diffusion/noise-schedule.ts';
import type { GateSpec } from '../mole/gate.ts';
import { anyExpert, type TrainedGate } from '../mole/trained-gate.ts';
import { floatTensor } from '../tensor/tensor.ts';
import type { Arrays } from '../training/optimizer.ts';
import type { CurvePoint } from '../training/trainer.ts';
import { ClipJudge, judgedTimesteps } from './clip-judge.ts';
import { encodePrompts } from './encode-prompt.ts';
import type { JobContext } from './engine.ts';
import { writeGateFile } from './gate-file.ts';
import { GateLearner, stackEntry, type GateExpert } from './gate-learner.ts';
import { generateImage } from './generate-image.ts';
import type { LoadedModel } from './loaded-model.ts';
import { Mixture, noExperts } from './mixture.ts';
import { openClip, type OpenedClip } from './open-clip.ts';
import { DrawnBatches, ReferenceJudge } from './drawn-batch.ts';
import { drawBatch, type TrainingBatch } from './training-batch.ts';
import { checkTrainingMemory, loadTrainingImages, type TrainingImage } from './training-images.ts';
import { runTraining, trainingOptions, type TrainingOutcome } from './training-run.ts';
import { drawSample, sampler } from './training-samples.ts';
import { TrainingSession } from './training-session.ts';

/**
 * Learning rates that suit the forms: a pooled gate has thousands of normalised features, the paper's over a million, and one
 * step of Adam moves a logit by about rate * sqrt(features).
 */
const learningRates = { pooled: 1e-3, paper: 1e-5 } as const;

/** Pictures that each expert draws for the distillation loss. */
const drawingsPerPrompt = 2;

/** Experts that share a gate with those of the order, each in the role of the same place, and the pictures that teach them. */
export interface FurtherStack {
  readonly experts: readonly GateExpert[];
  /** Folders and picture files; unused with loss `distil`. */
  readonly images: readonly string[];
}

/**
 * Trains a gate over `experts` and writes it. With `further` stacks one gate learns a role from many experts (say, any subject
 * beside any style), so that it holds for experts that it never met. Throws FailureError.
 */
export async function trainGate(
  settings: TrainGateSettings,
  model: LoadedModel,
  experts: readonly GateExpert[],
  context: JobContext<TrainEvent>,
  availableBytes: number,
  further: readonly FurtherStack[] = [],
): Promise<TrainingOutcome & { readonly pictures: number; readonly warnings: readonly string[] }> {
  if (experts.length < 2) {
    throw new FailureError({
      kind: 'bad-request',
      message: `A gate decides between experts: give at least two, got ${experts.length}.`,
    });
  }
  const warnings: string[] = [];
  const warn = (message: string): void => {
    warnings.push(message);
    context.emit({ kind: 'warning', message });
  };
  const loss = settings.loss ?? (settings.images.length > 0 ? 'denoise' : 'distil');
  const clip = await clipOf(settings, loss, warn);
  const stack = experts.map(stackEntry);
  const stacks = [{ experts, images: settings.images }, ...further];
  const alone = stacks.map((one) => new Mixture(one.experts.map(stackEntry), { mode: 'sum' }));
  model.useMixture(noExperts);

  context.emit({ kind: 'stage', stage: 'encoding', message: 'Reading the pictures' });
  const images: TrainingImage[] = [];
  for (const [i, one] of stacks.entries()) {
    const own = { ...settings, images: [...one.images] };
    const found =
      loss !== 'distil'
        ? await readImages(own, loss, model, context, warn)
        : await drawOwnPictures(own, model, one.experts, alone[i]!, context, availableBytes, warn);
    images.push(...(i === 0 ? found : found.map((image) => ({ ...image, stack: i }))));
  }

  checkTrainingMemory(images, model, settings, availableBytes);
  const spec: GateSpec = {
    granularity: settings.granularity,
    form: settings.form,
    amplitude: settings.amplitude,
    timestep: settings.timestep,
  };
  const others = further.map((one) => one.experts);
  const { roles } = settings;
  if (roles.length > 0 && roles.length !== experts.length) {
    throw new FailureError({
      kind: 'bad-request',
      message: `A gate for roles needs one for each expert: ${experts.length} experts, but ${roles.length} roles (${roles.join(', ')}).`,
    });
  }
  /** The gate of `parameters`, for these experts or for any in their roles. */
  const gateOf = (parameters: Arrays): TrainedGate => {
    const gate = learner.gate(parameters);
    return roles.length === 0 ? gate : { ...gate, experts: roles.map((name) => ({ name, sha256: anyExpert })) };
  };
  if (!settings.listens && !spec.timestep && spec.amplitude === 'convex') {
    throw new FailureError({
      kind: 'bad-request',
      message:
        'Gates that neither listen to the experts nor know the timestep have nothing to learn from: choose --timestep, or leave --no-listening out.',
    });
  }
  const learner = new GateLearner(model, experts, spec, images, {
    ...settings,
    others,
  });
  const schedule = trainingSchedule(model.checkpoint.scheduler);
  const judge =
    clip === undefined ? undefined : await ClipJudge.prepare(model, clip, schedule, images, context.signal, settings);
  const drawn =
    settings.drawing === undefined
      ? undefined
      : new DrawnBatches(images, schedule, {
          ...settings.drawing,
          batch: settings.batch,
          from: clip === undefined ? 'references' : 'noise',
        });
  const session = new TrainingSession(model, learner.networks(), {
    balance: settings.balance,
    recompute: settings.recompute,
    judge: judge ?? (drawn === undefined ? undefined : new ReferenceJudge(schedule)),
  });
  const drawing =
    clip === undefined ? settings : { ...settings, captionDropout: 0, timesteps: judgedTimesteps(schedule) };
  const record = {
    ...settings,
    loss,
    resume: undefined,
    output: undefined,
    steps: undefined,
    images: images.map(({ path }) => path),
  };
  const seen = loss === 'distil' ? new Map(images.map((image) => [image, learner.ownerOf(image)])) : undefined;
  context.emit({
    kind: 'stage',
    stage: 'training',
    message: `Training ${learner.parameterCount} gate parameters on ${images.length} pictures`,
  });
  try {
    const outcome = await runTraining(
      {
        order: [record, stacks.flatMap((one) => one.experts.map(({ expert }) => expert.sha256))],
        output: settings.output,
        seed: settings.seed,
        resume: settings.resume,
        saveEvery: settings.saveEvery,
        options: trainingOptions(settings, settings.learningRate ?? learningRates[settings.form]),
        parameters: learner.start(),
        differentiate: async (parameters, random) => {
          context.signal.throwIfAborted();
          let batch =
            drawn === undefined
              ? drawBatch(images, schedule, random, drawing)
              : await drawn.next(random, (seen, captions) => {
                  context.signal.throwIfAborted();
                  return session.predict(seen, captions, learner.feeds(parameters, seen.images[0]?.stack ?? 0));
                });
          const place = batch.images[0]?.stack ?? 0;
          if (seen !== undefined) batch = await ownPrediction(batch, seen, model, alone[place]!);
          return learner.collect(await session.lossAndGradient(batch, learner.feeds(parameters, place)), place);
        },
        gates: () => session.gates,
        sample: sampler(settings, context, async (parameters, step) => {
          const mixture = new Mixture(stack, { mode: 'mole', gate: learner.gate(parameters) });
          return drawSample(settings, model, mixture, context, availableBytes, step);
        }),
        write: (parameters, curve) => {
          context.emit({ kind: 'stage', stage: 'saving', message: 'Writing the gate' });
          return writeGateFile(settings.output, gateOf(parameters), describe(settings, loss, curve, images.length));
        },
      },
      context,
    );
    return { ...outcome, pictures: images.length, warnings };
  } finally {
    await session.release();
    await judge?.release();
  }
}

/** The CLIP of the clip loss; undefined with another loss. Throws FailureError, CheckpointError. */
async function clipOf(
  { clip, drawing, minSnr, batch }: TrainGateSettings,
  loss: GateLoss,
  warn: (message: string) => void,
): Promise<OpenedClip | undefined> {
  const refuse = (message: string): never => {
    throw new FailureError({ kind: 'bad-request', message });
  };
  if (loss === 'distil' && drawing !== undefined) {
    refuse(
      'Learning on the way of drawing is for the clip and the denoise loss, and the loss is distil: leave --drawn out, or give pictures.',
    );
  }
  if (loss !== 'clip') {
    return clip === undefined
      ? undefined
      : refuse(`A CLIP model is for the clip loss, and the loss is ${loss}: leave --clip out, or choose --loss clip.`);
  }
  if (clip === undefined) {
    return refuse(
      'The clip loss looks at what is drawn with a CLIP model: give the folder of one with --clip (config.json and model.safetensors, say of openai/clip-vit-base-patch16).',
    );
  }
  if (minSnr !== undefined) {
    refuse('min-SNR weighs the denoise loss; the clip loss has no such weight. Leave --min-snr out.');
  }
  const opened = await openClip(clip);
  if (batch > 1) {
    warn(
      `The clip loss decodes all ${batch} pictures of a batch and keeps what their gradient needs: --batch 1 needs the least memory, and --accumulate makes up for it.`,
    );
  }
  return opened;
}

function readImages(
  settings: TrainGateSettings,
  loss: GateLoss,
  model: LoadedModel,
  context: JobContext<TrainEvent>,
  warn: (message: string) => void,
): Promise<readonly TrainingImage[]> {
  if (settings.images.length === 0) {
    throw new FailureError({
      kind: 'bad-request',
      message: `The ${loss} loss learns from pictures: give a folder of them, or choose the distil loss.`,
    });
  }
  const own = model.checkpoint.unet.config.sampleSize * model.pixelsPerLatent;
  return loadTrainingImages({ ...settings, resolution: settings.resolution ?? own }, model, {
    warn,
    signal: context.signal,
  });
}

/**
 * Distillation without images: what each expert alone draws of its own prompts is what the mixture should still draw of them
 * (the objective of ZipLoRA, arXiv:2311.13600, Eq. 4, without its images). Pictures go through the autoencoder and back.
 */
async function drawOwnPictures(
  settings: TrainGateSettings,
  model: LoadedModel,
  experts: readonly GateExpert[],
  alone: Mixture,
  context: JobContext<TrainEvent>,
  availableBytes: number,
  warn: (message: string) => void,
): Promise<readonly TrainingImage[]> {
  const folder = await mkdtemp(join(tmpdir(), 'atelier-distil-'));
  try {
    const images: TrainingImage[] = [];
    for (const [i, { expert, prompts }] of experts.entries()) {
      if (prompts.length === 0) {
        throw new FailureError({
          kind: 'bad-request',
          message: `${expert.name} names no trigger words, so there is no prompt to match it on. Give --prompt once for each expert, in their order, or pictures with --images.`,
        });
      }
      for (const prompt of prompts) {
        const request = generateRequestSchema.parse({
          model: settings.model,
          prompt,
          seed: settings.seed,
          batch: drawingsPerPrompt,
          output: { folder, metadata: false },
        });
        const job = { signal: context.signal, emit: () => undefined };
        const one = new Mixture(
          alone.entries.map((entry, j) => ({ ...entry, muted: j !== i })),
          { mode: 'sum' },
        );
        const { pictures } = await generateImage(request, model, one, job, availableBytes);
        model.useMixture(noExperts);
        const found = await loadTrainingImages(
          {
            images: pictures.map(({ path }) => path),
            caption: prompt,
            resolution: pictures[0]!.width,
            buckets: false,
            mirror: false,
          },
          model,
          { warn, signal: context.signal },
        );
        images.push(...found.map((image) => ({ ...image, path: `${i}:${prompt}` })));
      }
    }
    return images;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The batch with the prediction of each picture's own expert, alone on its own prompt, as the target. */
async function ownPrediction(
  batch: TrainingBatch,
  owners: ReadonlyMap<TrainingImage, number>,
  model: LoadedModel,
  alone: Mixture,
): Promise<TrainingBatch> {
  model.useMixture(alone);
  const size = batch.sample.data.length / batch.images.length;
  const shape = [1, ...batch.sample.shape.slice(1)];
  const target = new Float32Array(batch.target.data.length);
  for (const [i, image] of batch.images.entries()) {
    const expert = owners.get(image)!;
    const prompts = { prompt: batch.captions[i]!, negativePrompt: '', steps: 1, clipSkip: 1, alone: expert };
    const states = (await encodePrompts(model, prompts)).at(0).conditional;
    const sample = floatTensor(shape, batch.sample.data.slice(i * size, (i + 1) * size));
    const time = floatTensor([1], batch.timestep.data.slice(i, i + 1));
    const { prediction } = await model.predict(sample, time, states, { step: 0, steps: 1, alone: expert });
    target.set(prediction.data, i * size);
  }
  model.useMixture(noExperts);
  return { ...batch, target: floatTensor(batch.target.shape, target) };
}

/** What the gate file says of its training. */
function describe(
  settings: TrainGateSettings,
  loss: GateLoss,
  curve: readonly CurvePoint[],
  pictures: number,
): Readonly<Record<string, string>> {
  const { batch, accumulate, balance, seed, optimizer, minSnr, clip, drawing } = settings;
  return {
    training: JSON.stringify({
      loss,
      clip: clip === undefined ? undefined : basename(clip),
      drawing,
      batch,
      accumulate,
      balance,
      seed,
      optimizer,
      minSnr,
      pictures,
      steps: curve.length,
    }),
    curve: JSON.stringify(curve.map(({ step, loss: value }) => [step, Number(value.toPrecision(5))])),
  };
}
