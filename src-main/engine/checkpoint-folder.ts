// A Stable Diffusion checkpoint as a diffusers folder (https://huggingface.co/docs/diffusers/using-diffusers/other-formats):
// model_index.json and one folder per network, each with its config.json, whose values are read and never guessed.
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';
import { SafetensorsError } from '../formats/safetensors-header.ts';
import { readSafetensorsHeader } from '../formats/safetensors.ts';
import type { TensorRef } from '../graph/ir.ts';
import { CheckpointError } from '../networks/checkpoint-error.ts';
import {
  parseAutoencoderConfig,
  parseClipTextConfig,
  parseSchedulerConfig,
  parseUNetConfig,
} from '../networks/sd-configs.ts';
import { transformersClipNaming, diffusersNaming, diffusersVaeNaming, weightSource } from '../networks/weight-names.ts';
import {
  type OpenedVae,
  checkNetworks,
  familyOf,
  precisionOf,
  type Checkpoint,
  type CheckpointOptions,
} from './checkpoint-parts.ts';
import { taesdVae } from './vae-parts.ts';

/** The tensors of one network's folder, from one file or its shards. */
export interface FolderWeights {
  /** For messages: the file, or the shards' index. */
  readonly file: string;
  readonly files: readonly string[];
  readonly tensors: ReadonlyMap<string, TensorRef>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
}

const sentenceOfSupport = 'Stable Diffusion 1.x and 2.x are supported.';

/** Opens a diffusers folder; `vae` replaces its own. Throws CheckpointError, SafetensorsError. */
export async function openFolder(
  folder: string,
  options: CheckpointOptions,
  vae: OpenedVae | undefined,
): Promise<Checkpoint> {
  const path = resolve(folder);
  const entries = await list(path);
  if (entries.includes('model_index.json')) refuseOtherPipelines(path, await readJson(join(path, 'model_index.json')));
  const needed = ['text_encoder', 'unet', ...(vae === undefined ? ['vae'] : []), 'scheduler'];
  const absent = needed.filter((part) => !entries.includes(part));
  if (absent.length > 0) throw new CheckpointError(path, incomplete(absent, entries));

  const textFolder = join(path, 'text_encoder');
  const textFile = join(textFolder, 'config.json');
  const textConfig = parseClipTextConfig(await readJson(textFile), textFile);
  const textWeights = await readWeights(textFolder, 'model');
  const unetFile = join(path, 'unet', 'config.json');
  const unetConfig = parseUNetConfig(await readJson(unetFile), unetFile);
  const unetWeights = await readWeights(join(path, 'unet'), 'diffusion_pytorch_model');
  const schedulerFile = join(path, 'scheduler', 'scheduler_config.json');
  const scheduler = parseSchedulerConfig(await readJson(schedulerFile), schedulerFile);
  const own = vae ?? (await openVaeFolder(join(path, 'vae')));

  const networks = {
    textEncoder: {
      config: textConfig,
      weights: weightSource('text encoder', textWeights.file, textWeights.tensors, transformersClipNaming()),
      padToken: await padToken(path, entries, textConfig.vocabSize),
      skipLayers: 0,
    },
    unet: {
      config: unetConfig,
      weights: weightSource('UNet', unetWeights.file, unetWeights.tensors, diffusersNaming()),
    },
    vae: own,
  };
  const weightBytes = checkNetworks(path, networks);
  const parts = [textWeights, unetWeights];
  return {
    path,
    name: basename(path),
    family: familyOf(unetConfig),
    ...networks,
    scheduler: {
      ...scheduler,
      ...(options.prediction === undefined ? {} : { predictionType: options.prediction }),
      ...(options.zeroTerminalSnr === undefined ? {} : { rescaleBetasZeroSnr: options.zeroTerminalSnr }),
    },
    precision: precisionOf(parts.flatMap(({ tensors }) => [...tensors.values()])),
    metadata: Object.fromEntries(parts.flatMap(({ metadata }) => Object.entries(metadata))),
    warnings: [...parts.flatMap(({ warnings }) => warnings), ...own.warnings],
    files: [...new Set([...parts.flatMap(({ files }) => files), ...own.files])],
    weightBytes,
  };
}

/** Opens a diffusers `vae` folder: AutoencoderKL, or AutoencoderTiny. */
export async function openVaeFolder(folder: string): Promise<OpenedVae> {
  const file = join(folder, 'config.json');
  const json = await readJson(file);
  const weights = await readWeights(folder, 'diffusion_pytorch_model');
  const { files, warnings } = weights;
  if ((json as { _class_name?: unknown } | null)?._class_name === 'AutoencoderTiny') {
    return { ...taesdVae(weights.tensors, weights.file), files, warnings };
  }
  const config = parseAutoencoderConfig(json, file);
  return {
    kind: 'kl',
    file: weights.file,
    config,
    weights: weightSource('VAE', weights.file, weights.tensors, diffusersVaeNaming()),
    hasEncoder: weights.tensors.has('encoder.conv_in.weight'),
    files,
    warnings,
  };
}

function refuseOtherPipelines(path: string, index: unknown): void {
  const name = (index as { _class_name?: unknown } | null)?._class_name;
  if (typeof name !== 'string') return;
  const others: readonly (readonly [RegExp, string])[] = [
    [/XL/, 'Stable Diffusion XL'],
    [/^StableDiffusion3/, 'Stable Diffusion 3'],
    [/^Flux/, 'Flux'],
    [/Inpaint/, 'an inpainting model'],
    [/InstructPix2Pix/, 'InstructPix2Pix'],
    [/Upscale/, 'an upscaling model'],
    [/Depth2Img/, 'a depth-guided model'],
    [/^(StableCascade|Kandinsky|PixArt|Wuerstchen|Sana|HunyuanDiT|StableVideo|Qwen|Wan|LTX)/, name],
  ];
  const other = others.find(([pattern]) => pattern.test(name));
  if (other !== undefined) throw new CheckpointError(path, `this is ${other[1]} (${name}). ${sentenceOfSupport}`);
}

function incomplete(absent: readonly string[], entries: readonly string[]): string {
  const parts = absent.map((part) => `${part}/`).join(', ');
  if (absent.length === 4 || (absent.length === 3 && !entries.includes('unet'))) {
    const single = entries.find((entry) => entry.endsWith('.safetensors'));
    return single === undefined
      ? 'this folder is no model: expected a diffusers folder (unet/, text_encoder/, vae/, scheduler/) or a .safetensors file.'
      : `this folder is no diffusers model. To use the checkpoint in it, open ${single} itself.`;
  }
  const hint = absent.includes('vae') ? ' A separate VAE file can be chosen instead of vae/.' : '';
  return `this diffusers folder lacks ${parts}. Download the whole model again.${hint}`;
}

/**
 * The tensors of one network folder. Looks for `base`.safetensors, then its .fp16 variant, then their sharded forms.
 * Throws CheckpointError when there are only pickled weights, or none.
 */
export async function readWeights(folder: string, base: string): Promise<FolderWeights> {
  const entries = await list(folder);
  const single = [`${base}.safetensors`, `${base}.fp16.safetensors`].find((name) => entries.includes(name));
  if (single !== undefined) {
    const { file, tensors, metadata, warnings } = await readSafetensorsHeader(join(folder, single));
    return { file, files: [file], tensors, metadata, warnings };
  }
  const index = [
    `${base}.safetensors.index.json`,
    `${base}.safetensors.index.fp16.json`,
    `${base}.fp16.safetensors.index.json`,
  ].find((name) => entries.includes(name));
  if (index !== undefined) return readShards(folder, index, entries);
  const others = entries.filter((name) => name.endsWith('.safetensors'));
  if (others.length === 1) {
    const { file, tensors, metadata, warnings } = await readSafetensorsHeader(join(folder, others[0]!));
    return { file, files: [file], tensors, metadata, warnings };
  }
  if (entries.some((name) => /\.(bin|pt|pth|ckpt)$/.test(name))) {
    throw new CheckpointError(
      folder,
      `it holds pickled weights alone (.bin), which can run code when they are read; they are not opened. Download the .safetensors version of the model, or convert it once with a tool that you trust.`,
    );
  }
  throw new CheckpointError(
    folder,
    `it holds no weights: expected ${base}.safetensors. Download the whole model again.`,
  );
}

async function readShards(folder: string, index: string, entries: readonly string[]): Promise<FolderWeights> {
  const file = join(folder, index);
  const map: unknown = ((await readJson(file)) as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null)
    throw new CheckpointError(file, 'it has no weight_map. Download the file again.');
  const shards = [...new Set<unknown>(Object.values(map))];
  const tensors = new Map<string, TensorRef>();
  const warnings: string[] = [];
  const files: string[] = [];
  let metadata: Readonly<Record<string, string>> = {};
  if (shards.length > 1000) throw new CheckpointError(file, `it names ${shards.length} files; that is no model.`);
  for (const shard of shards) {
    // A name out of a stranger's file: a plain one, of this folder.
    if (typeof shard !== 'string' || basename(shard) !== shard || !shard.endsWith('.safetensors')) {
      throw new CheckpointError(
        file,
        `it names ${JSON.stringify(shard).slice(0, 100)}; expected names of .safetensors files beside it.`,
      );
    }
    if (!entries.includes(shard)) {
      throw new CheckpointError(file, `its part ${shard} is not in the folder. Download the whole model again.`);
    }
    const header = await readSafetensorsHeader(join(folder, shard));
    for (const [name, ref] of header.tensors) tensors.set(name, ref);
    files.push(header.file);
    warnings.push(...header.warnings);
    metadata = { ...metadata, ...header.metadata };
  }
  return { file, files, tensors, metadata, warnings };
}

/** Id of the token that the folder's tokenizer pads with. SD 1 says "<|endoftext|>", SD 2 "!" (id 0). */
async function padToken(path: string, entries: readonly string[], vocabSize: number): Promise<number> {
  const end = vocabSize - 1;
  if (!entries.includes('tokenizer')) return end;
  for (const name of ['special_tokens_map.json', 'tokenizer_config.json']) {
    const json = await readJson(join(path, 'tokenizer', name)).catch(() => undefined);
    const pad = (json as { pad_token?: unknown } | null | undefined)?.pad_token;
    const text = typeof pad === 'object' && pad !== null ? (pad as { content?: unknown }).content : pad;
    if (text === '!') return 0;
    if (text === '<|endoftext|>') return end;
    if (typeof text !== 'string') continue;
    const vocabulary = await readJson(join(path, 'tokenizer', 'vocab.json')).catch(() => undefined);
    const id = new Map<string, unknown>(Object.entries(vocabulary ?? {})).get(text);
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabSize) return id;
  }
  return end;
}

/** Names in a folder. */
async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    throw unreadable(folder, error);
  }
}

const mostJsonBytes = 20_000_000;

/** A JSON file of a model's folder. Throws CheckpointError. */
export async function readJson(file: string): Promise<unknown> {
  try {
    if ((await stat(file)).size > mostJsonBytes) throw new CheckpointError(file, 'it is too large for a config file.');
    return parseBoundedJson(await readFile(file, 'utf8'), { mostLength: mostJsonBytes, mostDepth: 32 });
  } catch (error) {
    if (error instanceof JsonError)
      throw new CheckpointError(file, `it cannot be used: ${error.message} Download it again.`, error);
    throw error instanceof CheckpointError || error instanceof SafetensorsError ? error : unreadable(file, error);
  }
}

function unreadable(path: string, error: unknown): CheckpointError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return new CheckpointError(path, 'it is missing. Download the whole model again.', error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new CheckpointError(path, 'this account may not read it. Change its permissions.', error);
  }
  return new CheckpointError(
    path,
    `it could not be read (${error instanceof Error ? error.message : String(error)}).`,
    error,
  );
}
