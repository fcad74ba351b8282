// Opens what a user calls a LoRA: a .safetensors file of any family, or a folder as PEFT and diffusers write it. Only the header
// is read; a file for another base model is refused with what it is for and what the model needs.
import { readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';
import { readSafetensorsHeader, readTensor } from '../formats/safetensors.ts';
import type { TensorRef } from '../graph/ir.ts';
import type { Expert, LowRank } from '../mole/expert.ts';
import { factorsOf, type FactorOptions } from '../mole/factors.ts';
import type { AdapterContents } from '../networks/adapter.ts';
import type { ClipTextConfig, UNetConfig } from '../networks/configs.ts';
import { ExpertError } from '../networks/expert-error.ts';
import { adapterBase, baseOfWidth, type AdapterBase } from '../networks/lora-base.ts';
import { readAdapter } from '../networks/lora-names.ts';
import { textEncoderModules, unetModules, type ExpertNetwork } from '../networks/modules.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { fileSha256 } from './file-hashes.ts';
import { recognise } from './model-family.ts';

/** The model that an expert is for; a Checkpoint is one. */
export interface ExpertBase {
  readonly name: string;
  readonly unet: { readonly config: UNetConfig };
  readonly textEncoder: { readonly config: ClipTextConfig };
}

/** An adapter that fits its base, its weights still in the file. */
export interface OpenedExpert {
  /** Absolute path of the weights. */
  readonly path: string;
  /** File or folder name without its ending. */
  readonly name: string;
  readonly contents: AdapterContents;
  readonly base: AdapterBase;
  /** The file's own texts: hostile until shown as text. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What was left out or is odd, one sentence each. */
  readonly warnings: readonly string[];
  /** Hex SHA-256 of the weights' file, read when first asked for. */
  sha256(signal?: AbortSignal): Promise<string>;
  /** Reads the weights and makes low-rank factors of them. Throws ExpertError, SafetensorsError, or an AbortError. */
  load(options?: FactorOptions & { readonly signal?: AbortSignal }): Promise<Expert>;
}

/**
 * Opens the adapter at `path` for `base`. Throws SafetensorsError for another kind of file, ExpertError for an adapter of
 * another base model and for one of which nothing can be used.
 */
export async function openExpert(path: string, base: ExpertBase): Promise<OpenedExpert> {
  const { file, name, config } = await locate(resolve(path));
  const header = await readSafetensorsHeader(file);
  const { tensors, metadata } = header;
  const family = recognise(tensors);
  if (family.kind === 'checkpoint' || family.kind === 'vae' || family.kind === 'taesd' || family.kind === 'embedding') {
    throw new ExpertError(file, `this is ${family.what}, expected a LoRA.`);
  }
  const told = adapterBase(tensors, metadata);
  const { unet, textEncoder } = base;
  const needed = unet.config.crossAttentionDim;
  // Metadata alone does not refuse: then the shapes decide.
  const foreign = told.model === 'other' && told.evidence !== 'its metadata';
  if (foreign || (told.textWidth !== undefined && told.textWidth !== needed)) {
    throw new ExpertError(file, wrongBase(told, base));
  }
  const target = { unet: unetModules(unet.config), textEncoder: textEncoderModules(textEncoder.config) };
  const contents = readAdapter(tensors, metadata, { ...target, unetConfig: unet.config }, config);
  if (contents.modules.length <= contents.misshapen.length) throw new ExpertError(file, unusable(contents, told, base));
  const load: OpenedExpert['load'] = async ({ signal, ...options } = {}) => {
    const layers: Record<ExpertNetwork, Map<string, LowRank>> = { unet: new Map(), text_encoder: new Map() };
    for (const entry of contents.modules) {
      signal?.throwIfAborted();
      layers[entry.module.network].set(entry.module.name, await factorsOf(entry, readFloats, options));
    }
    return { name, sha256: await fileSha256(file, signal), layers };
  };
  return {
    path: file,
    name,
    contents,
    base: told,
    metadata,
    warnings: [...header.warnings, ...told.warnings, ...contents.warnings, ...leftOut(contents)],
    sha256: (signal) => fileSha256(file, signal),
    load,
  };
}

/** The names that PEFT and diffusers give the weights of a folder. */
const weightFiles = ['adapter_model.safetensors', 'pytorch_lora_weights.safetensors'];
const configFile = 'adapter_config.json';
const longestConfig = 2_000_000;

/** Where an adapter lies. */
export interface Located {
  readonly file: string;
  readonly name: string;
  readonly config?: unknown;
}

/** The weights that `path` means: itself, or those of a folder that PEFT or diffusers wrote. Throws ExpertError. */
export async function locate(path: string): Promise<Located> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) return { file: path, name: basename(path).replace(/\.\w+$/, '') };
  for (const weights of weightFiles) {
    const file = join(path, weights);
    if (await exists(file)) return { file, name: basename(path), ...(await readConfig(join(path, configFile))) };
  }
  const pickled = await exists(join(path, 'adapter_model.bin'));
  throw new ExpertError(
    path,
    pickled
      ? 'its weights are a pickled PyTorch file (adapter_model.bin), which can run code when it is read; it is not opened. Save it again with safe_serialization=True.'
      : `there is no ${weightFiles.join(' or ')} in this folder. Choose a LoRA file, or a folder that PEFT or diffusers wrote.`,
  );
}

async function readConfig(file: string): Promise<{ readonly config?: unknown }> {
  if (!(await exists(file))) return {};
  const { size } = await stat(file);
  if (size > longestConfig) throw new ExpertError(file, `it has ${size} bytes, too many for a PEFT config.`);
  try {
    return { config: parseBoundedJson(await readFile(file, 'utf8'), { mostLength: longestConfig, mostDepth: 20 }) };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new ExpertError(file, `its PEFT config cannot be read: ${error.message} Copy the folder again.`, error);
  }
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    (found) => found.isFile(),
    () => false,
  );

/** Alphas are whole numbers in some files. */
async function readFloats(ref: TensorRef): Promise<FloatTensor> {
  const tensor = await readTensor(ref);
  return tensor.dtype === 'float32' ? tensor : floatTensor(tensor.shape, Float32Array.from(tensor.data, Number));
}

function wrongBase(told: AdapterBase, base: ExpertBase): string {
  const { crossAttentionDim } = base.unet.config;
  const name = baseOfWidth(crossAttentionDim);
  const needs = name === undefined ? `one trained for it (text ${crossAttentionDim} wide)` : `a LoRA for ${name}`;
  return `it is for ${told.name ?? 'another model'}: ${told.evidence}. The model ${JSON.stringify(base.name)} reads text ${crossAttentionDim} wide and needs ${needs}. Choose another LoRA or another model.`;
}

function unusable(contents: AdapterContents, told: AdapterBase, base: ExpertBase): string {
  const { modules, refused, misshapen, unmatched } = contents;
  const reasons = [
    ...refused.map(({ message }) => message),
    ...(misshapen.length === 0
      ? []
      : [
          `${misshapen.length} of its modules do not fit ${JSON.stringify(base.name)}: ${misshapen.slice(0, 3).join(' ')}`,
        ]),
    ...(unmatched.length === 0 || modules.length > 0
      ? []
      : [`${unmatched.length} of its tensors have names that are not known: ${some(unmatched)}.`]),
  ];
  const made = told.name === undefined ? '' : ` It seems to be for ${told.name}.`;
  const what = reasons.length === 0 ? 'it holds no tensors of a LoRA.' : reasons.join(' ');
  return `no expert can be made of it. ${what}${made} Choose another LoRA.`;
}

function leftOut({ refused, misshapen, unmatched }: AdapterContents): readonly string[] {
  return [
    ...refused.map(({ message }) => message),
    ...(misshapen.length === 0
      ? []
      : [`Left out: ${misshapen.length} modules that do not fit. ${misshapen.slice(0, 3).join(' ')}`]),
    ...(unmatched.length === 0
      ? []
      : [`Left out: ${unmatched.length} tensors that no layer of the model answers to: ${some(unmatched)}.`]),
  ];
}

const some = (keys: readonly string[]): string =>
  keys
    .slice(0, 3)
    .map((key) => JSON.stringify(key.length > 120 ? `${key.slice(0, 117)}...` : key))
    .join(', ') + (keys.length > 3 ? `, and ${keys.length - 3} more` : '');
