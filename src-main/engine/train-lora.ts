// LoRA training, the story from sample pictures to a file that every tool loads: the base model stays as it is, the targeted layers
// get a low-rank branch, and only that learns. DreamBooth's prior preservation (Ruiz et al. 2022, arXiv:2208.12242, Eq. 2) keeps
// what the base knew of the pictures' kind.
import { basename } from 'node:path';
import type { TrainEvent, TrainLoraSettings } from '../contract/training.ts';
import { trainingSchedule } from '../diffusion/noise-schedule.ts';
import { kohyaBoolean, writeLora } from '../formats/lora-write.ts';
import type { LossAndGradient } from '../training/trainer.ts';
import type { JobContext } from './engine.ts';
import type { LoadedModel } from './loaded-model.ts';
import { LoraLearner } from './lora-learner.ts';
import { Mixture, noExperts, plainEntry } from './mixture.ts';
import { drawBatch } from './training-batch.ts';
import { checkTrainingMemory, loadTrainingImages, type TrainingImage } from './training-images.ts';
import { runTraining, trainingOptions, type TrainingOutcome } from './training-run.ts';
import { drawSample, sampler } from './training-samples.ts';
import { TrainingSession } from './training-session.ts';

/** Trains a LoRA on `settings.images` and writes it in kohya's naming. Throws FailureError. */
export async function trainLora(
  settings: TrainLoraSettings,
  model: LoadedModel,
  context: JobContext<TrainEvent>,
  availableBytes: number,
): Promise<TrainingOutcome & { readonly pictures: number; readonly warnings: readonly string[] }> {
  const warnings: string[] = [];
  const warn = (message: string): void => {
    warnings.push(message);
    context.emit({ kind: 'warning', message });
  };
  model.useMixture(noExperts);
  context.emit({ kind: 'stage', stage: 'encoding', message: 'Reading the pictures' });
  const own = model.checkpoint.unet.config.sampleSize * model.pixelsPerLatent;
  const read = (images: readonly string[], trigger: string | undefined): Promise<readonly TrainingImage[]> =>
    loadTrainingImages({ ...settings, images, trigger, resolution: settings.resolution ?? own }, model, {
      warn,
      signal: context.signal,
    });
  const images = await read(settings.images, settings.trigger);
  const prior = settings.priorImages.length === 0 ? undefined : await read(settings.priorImages, undefined);

  checkTrainingMemory(prior === undefined ? images : [...images, ...prior], model, settings, availableBytes);
  const { rank, targets, textEncoder, seed } = settings;
  const alpha = settings.alpha ?? rank;
  const learner = new LoraLearner(model, { rank, alpha, targets, textEncoder, seed });
  const session = new TrainingSession(model, learner.networks(), { balance: 0, recompute: settings.recompute });
  const schedule = trainingSchedule(model.checkpoint.scheduler);
  const learningRate = settings.learningRate ?? defaultRate(model);
  const record = {
    ...settings,
    resume: undefined,
    output: undefined,
    steps: undefined,
    images: images.map(({ path }) => path),
  };
  context.emit({
    kind: 'stage',
    stage: 'training',
    message: `Training ${learner.parameterCount} parameters of rank ${rank} on ${images.length} pictures`,
  });
  try {
    const outcome = await runTraining(
      {
        order: record,
        output: settings.output,
        seed,
        resume: settings.resume,
        saveEvery: settings.saveEvery,
        options: trainingOptions(settings, learningRate),
        parameters: learner.start(),
        differentiate: async (parameters, random) => {
          context.signal.throwIfAborted();
          const feeds = learner.feeds(parameters);
          const result = await session.lossAndGradient(drawBatch(images, schedule, random, settings), feeds);
          if (prior === undefined) return result;
          const kept = await session.lossAndGradient(drawBatch(prior, schedule, random, settings), feeds);
          return plusPrior(result, kept, settings.priorWeight);
        },
        sample: sampler(settings, context, (parameters, step) => {
          const mixture = new Mixture([plainEntry(learner.expert(parameters), alpha / rank)], { mode: 'sum' });
          return drawSample(settings, model, mixture, context, availableBytes, step);
        }),
        write: (parameters, curve) => {
          context.emit({ kind: 'stage', stage: 'saving', message: 'Writing the LoRA' });
          return writeLora(settings.output, learner.layers(parameters), {
            ...metadata(settings, model, images),
            ss_learning_rate: String(learningRate),
            ss_steps: String(curve.length),
          });
        },
      },
      context,
    );
    return { ...outcome, pictures: images.length, warnings };
  } finally {
    await session.release();
  }
}

/** What trainers use on Stable Diffusion; small networks take larger steps. */
const defaultRate = ({ checkpoint }: LoadedModel): number => (checkpoint.family === 'custom' ? 1e-3 : 1e-4);

function plusPrior(own: LossAndGradient, prior: LossAndGradient, weight: number): LossAndGradient {
  const gradients = Object.fromEntries(
    Object.entries(own.gradients).map(([name, g]) => [
      name,
      g.map((value, i) => value + weight * prior.gradients[name]![i]!),
    ]),
  );
  const parts = { ...own.parts, prior: prior.loss };
  return { loss: own.loss + weight * prior.loss, parts, gradients };
}

/** The usual keys of kohya's trainer and of modelspec, as far as they are true here. */
function metadata(
  settings: TrainLoraSettings,
  model: LoadedModel,
  images: readonly TrainingImage[],
): Readonly<Record<string, string>> {
  const name = basename(settings.output).replace(/\.safetensors$/i, '');
  const { family, scheduler } = model.checkpoint;
  const v = scheduler.predictionType === 'v_prediction';
  // As kohya's get_model_version_str_for_sd1_sd2 and sai_model_spec.py name them.
  const versions = { sd1: 'sd_v1', sd2: v ? 'sd_v2_v' : 'sd_v2', custom: undefined };
  const architectures = {
    sd1: 'stable-diffusion-v1/lora',
    sd2: v ? 'stable-diffusion-v2-768-v/lora' : 'stable-diffusion-v2-512/lora',
    custom: undefined,
  };
  const tags: Record<string, number> = Object.create(null) as Record<string, number>;
  for (const { caption } of images) {
    for (const tag of caption.split(',').map((part) => part.trim())) if (tag !== '') tags[tag] = (tags[tag] ?? 0) + 1;
  }
  const { trigger, batch, accumulate, seed, optimizer, minSnr, rank } = settings;
  const known = {
    ss_output_name: name,
    ss_sd_model_name: model.checkpoint.name,
    ss_base_model_version: versions[family],
    ss_v2: kohyaBoolean(family === 'sd2'),
    ss_num_train_images: String(images.length),
    ss_batch_size_per_device: String(batch),
    ss_gradient_accumulation_steps: String(accumulate),
    ss_seed: String(seed),
    ss_optimizer: optimizer,
    ss_min_snr_gamma: minSnr === undefined ? undefined : String(minSnr),
    ss_tag_frequency: JSON.stringify({ [`1_${trigger ?? name}`]: tags }),
    ss_training_comment: `MoLE Atelier, rank ${rank}`,
    'modelspec.architecture': architectures[family],
    'modelspec.title': name,
    'modelspec.trigger_phrase': trigger,
  };
  return Object.fromEntries(
    Object.entries(known).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}
