// A CLIP model as a transformers folder (config.json and model.safetensors, say openai/clip-vit-base-patch16), opened as checkpoints
// are: its config is read and never guessed, its weights stay where they are.
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { clipNormalisation, type ClipNormalisation } from '../mole/clip-loss.ts';
import { CheckpointError } from '../networks/checkpoint-error.ts';
import { parseClipConfig } from '../networks/clip-configs.ts';
import type { ClipConfig } from '../networks/configs.ts';
import { clipTextParameters, clipVisionParameters } from '../networks/parameter-shapes.ts';
import { diffusersNaming, weightSource, type WeightSource } from '../networks/weight-names.ts';
import { clipTokenizer } from '../text/tokenizer.ts';
import { readJson, readWeights } from './checkpoint-folder.ts';
import { problemsOf } from './checkpoint-parts.ts';

export interface OpenedClip {
  readonly path: string;
  /** The folder's name. */
  readonly name: string;
  readonly config: ClipConfig;
  readonly weights: WeightSource;
  readonly normalisation: ClipNormalisation;
}

/**
 * Opens the CLIP in `folder`; nothing but headers and configs is read. Throws CheckpointError when it is another kind of model or
 * only half of CLIP, when tensors are missing (naming them), or when its vocabulary is not CLIP's.
 */
export async function openClip(folder: string): Promise<OpenedClip> {
  const path = resolve(folder);
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) {
    const what = found === undefined ? 'there is no such folder.' : 'this is a file.';
    throw new CheckpointError(path, `${what} ${expectation}`);
  }
  const file = join(path, 'config.json');
  if ((await stat(file).catch(() => undefined)) === undefined) {
    throw new CheckpointError(path, `it holds no config.json. ${expectation}`);
  }
  const config = parseClipConfig(await readJson(file), file);
  const read = await readWeights(path, 'model');
  const weights = weightSource('CLIP', read.file, read.tensors, diffusersNaming());
  const text = new Map([
    ...clipTextParameters(config.text),
    ['text_projection.weight', [config.projectionDim, config.text.hiddenSize]] as const,
  ]);
  const problems = [
    ...problemsOf('CLIP image encoder', weights, clipVisionParameters(config.vision, config.projectionDim)),
    ...problemsOf('CLIP text encoder', weights, text),
  ];
  if (problems.length > 0) {
    throw new CheckpointError(read.file, `it is incomplete or damaged. ${problems.join(' ')} Download it again.`);
  }
  const { vocabSize, maxPositionEmbeddings } = config.text;
  const known = clipTokenizer().vocabSize;
  if (vocabSize !== known || maxPositionEmbeddings !== textTokens) {
    throw new CheckpointError(
      file,
      `its text half reads ${maxPositionEmbeddings} of ${vocabSize} tokens; expected ${textTokens} of CLIP's own ${known}. It needs another tokenizer, which is not supported.`,
    );
  }
  return { path, name: basename(path), config, weights, normalisation: await readNormalisation(path) };
}

const expectation = 'Expected the folder of a CLIP model in transformers form: config.json and model.safetensors.';

/** Tokens that CLIP reads at once. */
const textTokens = 77;

/** Of preprocessor_config.json; CLIP's own where there is no such file, or it does not say. */
async function readNormalisation(folder: string): Promise<ClipNormalisation> {
  const file = join(folder, 'preprocessor_config.json');
  if ((await stat(file).catch(() => undefined)) === undefined) return clipNormalisation;
  const json = (await readJson(file)) as { readonly image_mean?: unknown; readonly image_std?: unknown } | null;
  const three = (name: 'image_mean' | 'image_std', otherwise: ClipNormalisation['mean']): ClipNormalisation['mean'] => {
    const value = json?.[name] ?? otherwise;
    const good =
      Array.isArray(value) && value.length === 3 && value.every((x) => typeof x === 'number' && x > 0 && x <= 1);
    if (good) return value as unknown as ClipNormalisation['mean'];
    throw new CheckpointError(file, `"${name}" is ${JSON.stringify(value).slice(0, 80)}, expected three numbers.`);
  };
  return { mean: three('image_mean', clipNormalisation.mean), std: three('image_std', clipNormalisation.std) };
}
