// The flags of every training, and the fields of the request that they set.
import { mkdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, resolve } from 'node:path';
import { deviceChoices, type DeviceChoice } from '../contract/generation.ts';
import type { TrainLoraRequest } from '../contract/training.ts';
import { UsageError, withoutUndefined, type Flags, type ParsedArguments } from './arguments.ts';
import { bundledModel } from './bundled-model.ts';

/** Updates between sample pictures when only their prompt is given. */
const sampleEvery = 100;

/** First in the help: what most runs need. */
export const pictureFlags: Flags = {
  images: {
    type: 'string',
    value: 'DIR',
    repeats: true,
    help: 'a folder of pictures, or one picture; may be repeated. A caption lies beside its picture as NAME.txt',
  },
  caption: {
    type: 'string',
    help: 'caption of the pictures that have none of their own; [name] stands for the file name',
  },
};

/** Last in the help. */
export const trainingFlags: Flags = {
  model: {
    type: 'string',
    value: 'PATH',
    help: 'a .safetensors checkpoint or a diffusers folder (default: the bundled model)',
  },
  vae: { type: 'string', value: 'PATH', help: "a .safetensors autoencoder to use instead of the model's own" },
  batch: { type: 'string', value: 'N', help: 'pictures that are looked at together (default 2)' },
  accumulate: { type: 'string', value: 'N', help: 'batches per update (default 1)' },
  warmup: { type: 'string', value: 'N', help: 'updates over which the learning rate rises (default 10)' },
  decay: { type: 'boolean', help: 'the learning rate then falls to 0: steadier results from few updates' },
  optimizer: { type: 'string', value: 'NAME', help: 'adamw or adam (default adamw)' },
  'weight-decay': { type: 'string', value: 'X', help: 'of adamw (default 0.01)' },
  'min-snr': { type: 'string', value: 'GAMMA', help: 'min-SNR weighting, often 5 (default: all timesteps alike)' },
  'caption-dropout': { type: 'string', value: 'X', help: 'share of captions left empty, 0 to 1 (default 0.1)' },
  resolution: {
    type: 'string',
    value: 'PIXELS',
    help: "side that pictures are scaled and cropped to (default: the model's own)",
  },
  buckets: { type: 'boolean', help: 'keep the shape of each picture instead of cropping to a square' },
  mirror: { type: 'boolean', help: 'mirrored copies of the pictures too' },
  seed: { type: 'string', value: 'N', help: 'of the start, the noise and the order (default 0)' },
  'sample-prompt': { type: 'string', help: 'draw this on the way, to see what is learnt' },
  'sample-every': { type: 'string', value: 'N', help: `updates between sample pictures (default ${sampleEvery})` },
  'save-every': {
    type: 'string',
    value: 'N',
    help: 'updates between saves of all that --resume needs (default 25)',
  },
  resume: { type: 'boolean', help: 'go on with the saved run beside --out; the other flags as before' },
  recompute: { type: 'boolean', help: 'less memory for more time, where the pictures are large' },
  'early-stop': { type: 'boolean', help: 'stop when the loss no longer falls' },
  device: { type: 'string', value: 'NAME', help: `${deviceChoices.join(', ')} (default auto)` },
  threads: { type: 'string', value: 'N', help: 'of the processor (default: one per physical core)' },
};

/** What the fields are called on the command line, where it is not their own name with dashes. */
const flagOfField: Readonly<Record<string, string>> = {
  learningRate: '--lr',
  output: '--out',
  priorImages: '--prior',
  prompts: '--prompt',
  mix: '--expert',
};

/** `captionDropout` is `--caption-dropout`, `images.3` is `--images`. */
export function trainingFlagName(field: string): string {
  const [first] = field.split('.');
  return flagOfField[first!] ?? `--${first!.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The fields that all trainings share; `output` is the file to write when --out is not given. Throws UsageError. */
export function trainingFieldsOf(
  args: ParsedArguments,
  output: string,
): Omit<TrainLoraRequest, 'rank' | 'alpha' | 'targets' | 'textEncoder' | 'trigger' | 'priorImages' | 'priorWeight'> {
  if (args.positionals.length > 0) {
    throw new UsageError(
      `"${args.positionals.join(' ')}" stands alone. Give the folder of the pictures with --images, or --images once for each.`,
    );
  }
  const path = (name: string): string | undefined => {
    const value = args.text(name);
    return value === undefined ? undefined : resolve(value);
  };
  const samplePrompt = args.text('sample-prompt');
  const every = args.number('sample-every');
  if (every !== undefined && every > 0 && samplePrompt === undefined) {
    throw new UsageError('--sample-every draws pictures on the way: say of what with --sample-prompt.');
  }
  return withoutUndefined({
    model: path('model') ?? bundledModel(),
    vae: path('vae'),
    images: args.texts('images').map((image) => resolve(image)),
    caption: args.text('caption'),
    resolution: args.number('resolution'),
    buckets: args.isOn('buckets'),
    mirror: args.isOn('mirror'),
    batch: args.number('batch'),
    accumulate: args.number('accumulate'),
    learningRate: args.number('lr'),
    warmup: args.number('warmup'),
    decay: args.isOn('decay'),
    optimizer: args.text('optimizer')?.toLowerCase() as TrainLoraRequest['optimizer'],
    weightDecay: args.number('weight-decay'),
    minSnr: args.number('min-snr'),
    captionDropout: args.number('caption-dropout'),
    seed: args.number('seed'),
    sampleEvery: every ?? (samplePrompt === undefined ? undefined : sampleEvery),
    samplePrompt,
    saveEvery: args.number('save-every'),
    resume: args.isOn('resume'),
    recompute: args.isOn('recompute'),
    earlyStop: args.isOn('early-stop'),
    device: args.text('device')?.toLowerCase() as DeviceChoice | undefined,
    threads: args.number('threads'),
    steps: args.number('steps'),
    output: outputOf(args, output),
  });
}

/** The file of --out, else `name` in the current folder. Throws UsageError for a name that no tool would load. */
export function outputOf(args: ParsedArguments, name: string): string {
  const out = args.text('out') ?? name;
  if (extname(out).toLowerCase() !== '.safetensors') {
    throw new UsageError(`--out must be a file name ending in .safetensors, not "${out}".`);
  }
  return resolve(out);
}

/**
 * Makes the folder of `output` when it is missing, but none above it. Throws UsageError: said before hours of work, a wrong folder
 * costs nothing.
 */
export async function prepareFolder(output: string): Promise<void> {
  const folder = dirname(output);
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  try {
    await mkdir(folder);
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new UsageError(`The folder ${folder} of --out cannot be made (${why}). Make it, or choose another.`);
  }
}

const longestName = 100;

/** Files and folders as a name for what is made of them: `ink.safetensors` and `cat.safetensors` are `ink-cat`. */
export function nameOf(paths: readonly string[]): string {
  return paths.map(shortName).join('-').slice(0, longestName);
}

/** `/loras/ink.safetensors` is `ink`. */
export const shortName = (path: string): string =>
  basename(resolve(path)).replace(/(\.mole)?\.(safetensors|json|png|jpe?g|webp)$/i, '');
