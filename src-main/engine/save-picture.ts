// Writes a finished picture with the settings that made it: A1111's text for every tool that reads it, ours for all of it.
import { join } from 'node:path';
import type { GenerateSettings } from '../contract/generation.ts';
import { schedules } from '../diffusion/noise-schedule.ts';
import { samplers } from '../diffusion/samplers.ts';
import { formatFileName } from '../formats/file-name.ts';
import { formatInfotext } from '../formats/infotext.ts';
import { encodePicture } from '../formats/png.ts';
import { makeFolder, writeNew } from '../formats/write-new.ts';
import type { Checkpoint } from './checkpoint.ts';
import { modelHash } from './file-hashes.ts';
import type { Mixture } from './mixture.ts';
import type { Pixels } from './pixels.ts';

const extensions = { png: 'png', jpeg: 'jpg', webp: 'webp' } as const;

export interface PictureOrigin {
  readonly settings: GenerateSettings;
  readonly checkpoint: Checkpoint;
  readonly mixture: Mixture;
  /** Of this picture, not of the batch. */
  readonly seed: number;
  /** From 0. */
  readonly index: number;
}

/** Encodes and writes a picture under a new name; returns its path. Throws PictureError, WriteError, FileNamePatternError. */
export async function savePicture(pixels: Pixels, origin: PictureOrigin): Promise<string> {
  const { settings, checkpoint, seed, index } = origin;
  const { output } = settings;
  const name = formatFileName(output.pattern, {
    seed,
    steps: settings.steps,
    cfg: settings.cfgScale,
    sampler: samplers[settings.sampler].label,
    model: checkpoint.name,
    width: pixels.width,
    height: pixels.height,
    prompt: settings.prompt,
    date: new Date(),
    batch: 1,
    index: index + 1,
  });
  const metadata = output.metadata ? await metadataOf(pixels, origin) : undefined;
  const bytes = await encodePicture(pixels, output, metadata);
  await makeFolder(output.folder);
  return writeNew(join(output.folder, `${name}.${extensions[output.format]}`), bytes);
}

async function metadataOf(
  pixels: Pixels,
  { settings, checkpoint, mixture, seed }: PictureOrigin,
): Promise<{ infotext: string; mole: unknown }> {
  const hash = await modelHash(checkpoint.path);
  const { template } = settings;
  const sampler = samplers[settings.sampler];
  const schedule = settings.schedule === 'automatic' ? sampler.schedule : settings.schedule;
  const infotext = formatInfotext({
    prompt: settings.prompt,
    negativePrompt: settings.negativePrompt,
    steps: settings.steps,
    sampler: sampler.label,
    scheduleType: schedules[schedule].label,
    cfgScale: settings.cfgScale,
    seed,
    size: { width: pixels.width, height: pixels.height },
    ...(hash === undefined ? {} : { modelHash: hash }),
    model: checkpoint.name,
    ...(settings.variation === undefined
      ? {}
      : { variationSeed: settings.variation.seed, variationSeedStrength: settings.variation.strength }),
    ...(settings.init === undefined ? {} : { denoisingStrength: settings.init.strength }),
    clipSkip: settings.clipSkip,
    rng: 'CPU',
    ...(mixture.entries.length === 0 ? {} : { loraHashes: loraHashes(mixture) }),
    extra: {
      ...(mixture.entries.length === 0 ? {} : { 'Expert mode': mixture.mode }),
      // As the Dynamic Prompts extension calls them.
      ...(template === undefined ? {} : { Template: template.prompt }),
      ...(template === undefined || template.negativePrompt === ''
        ? {}
        : { 'Negative Template': template.negativePrompt }),
    },
    version: 'MoLE Atelier',
  });
  // Paths and folders stay out: a shared picture must not tell where its maker keeps files.
  const { prompt, negativePrompt, variation, steps, cfgScale, cfgRescale, clipSkip, prediction, init } = settings;
  const mole = {
    kind: 'generation',
    version: 1,
    settings: {
      prompt,
      negativePrompt,
      ...(template === undefined ? {} : { template }),
      seed,
      ...(variation === undefined ? {} : { variation }),
      steps,
      sampler: settings.sampler,
      schedule,
      cfgScale,
      cfgRescale,
      clipSkip,
      ...(prediction === undefined ? {} : { prediction }),
      width: pixels.width,
      height: pixels.height,
      ...(init === undefined ? {} : { init: { strength: init.strength } }),
    },
    ...(mixture.record === undefined ? {} : { mix: mixture.record }),
    model: { name: checkpoint.name, ...(hash === undefined ? {} : { hash }), separateVae: settings.vae !== undefined },
  };
  return { infotext, mole };
}

/** A1111's names and hashes of the experts that it could find again. */
function loraHashes({ entries }: Mixture): readonly { readonly name: string; readonly hash: string }[] {
  return entries.flatMap(({ expert: { name, shortHash } }) =>
    // A comma or a colon in a name would end the field for its readers.
    shortHash === undefined ? [] : [{ name: name.replace(/[,:"]/g, ' '), hash: shortHash }],
  );
}
