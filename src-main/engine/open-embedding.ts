// Textual-inversion files: a few vectors of the text encoder's width that stand for a word of the prompt (Gal et al. 2022,
// https://arxiv.org/abs/2208.01618). A1111 stores them as `emb_params`, diffusers under the word itself, ComfyUI as `clip_l`.
import { basename } from 'node:path';
import { SafetensorsError } from '../formats/safetensors-header.ts';
import { readSafetensorsHeader, readTensor } from '../formats/safetensors.ts';
import { showShape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { chunkLength } from '../text/prompt.ts';
import type { LearnedWords } from '../text/learned-words.ts';

export interface Embedding {
  /** What it is called in a prompt: the file's name without its ending, as in A1111, and the word stored in it, if there is one. */
  readonly names: readonly string[];
  /** [n, D], n from 1 to 75. */
  readonly vectors: FloatTensor;
}

/** Names of tensors that are no word. */
const fieldNames = /^(emb_params|clip_l|clip_g|string_to_param(\..*)?|embeddings?|weight|\*)$/;

/** Whose text encoder is that wide; for an error. */
const baseOfWidth: Readonly<Record<number, string>> = { 768: 'SD 1.x', 1024: 'SD 2.x', 1280: 'SDXL', 2048: 'SDXL' };

/**
 * Reads the embedding at `path` for a text encoder of `width`. Throws SafetensorsError for pickled files (.pt, .bin), other
 * kinds of files, and embeddings for another base model.
 */
export async function openEmbedding(path: string, width: number): Promise<Embedding> {
  const { file, tensors } = await readSafetensorsHeader(path);
  if (tensors.has('clip_g')) {
    throw new SafetensorsError(
      file,
      `this embedding is for SDXL; this model needs one of width ${width}${ofBase(width)}.`,
    );
  }
  const key = ['emb_params', 'clip_l'].find((name) => tensors.has(name)) ?? [...tensors.keys()][0];
  const ref = key === undefined ? undefined : tensors.get(key);
  const isOne = tensors.size === 1 || key === 'emb_params' || key === 'clip_l';
  if (key === undefined || ref === undefined || !isOne || ref.shape.length < 1 || ref.shape.length > 2) {
    throw new SafetensorsError(
      file,
      `this is no textual-inversion embedding: it holds ${tensors.size} tensors, expected one of shape [vectors, ${width}].`,
    );
  }
  const [count, found] = ref.shape.length === 1 ? [1, ref.shape[0]!] : (ref.shape as readonly [number, number]);
  if (found !== width) {
    throw new SafetensorsError(
      file,
      `its vectors have ${found} numbers${ofBase(found)}; this model's text encoder needs ${width}${ofBase(width)}. Choose an embedding made for this base model.`,
      { tensor: key },
    );
  }
  if (count < 1 || count > chunkLength) {
    throw new SafetensorsError(file, `it has ${count} vectors; from 1 to ${chunkLength} fit in a prompt.`, {
      tensor: key,
    });
  }
  const tensor = await readTensor(ref);
  if (tensor.dtype !== 'float32' || !tensor.data.every(Number.isFinite)) {
    throw new SafetensorsError(
      file,
      `${key} ${showShape(ref.shape)} does not hold finite numbers. The file is damaged.`,
    );
  }
  const stem = basename(file).replace(/\.safetensors$/i, '');
  const names = fieldNames.test(key) || key === stem ? [stem] : [stem, key];
  return { names, vectors: floatTensor([count, width], tensor.data) };
}

const ofBase = (width: number): string => (baseOfWidth[width] === undefined ? '' : ` (${baseOfWidth[width]})`);

/**
 * The words of a prompt and the rows that stand for them: ids count from `vocabSize`, the text encoder's `extra_embeddings` is
 * `table` [E, D]. Without embeddings the table has one row of zeros, which no id means. Of two equal names the first counts.
 */
export function learnedWords(
  embeddings: readonly Embedding[],
  vocabSize: number,
  width: number,
): { readonly words: LearnedWords; readonly table: FloatTensor } {
  const total = embeddings.reduce((sum, { vectors }) => sum + vectors.shape[0]!, 0);
  const table = floatTensor([Math.max(1, total), width]);
  const words = new Map<string, readonly number[]>();
  let row = 0;
  for (const { names, vectors } of embeddings) {
    const count = vectors.shape[0]!;
    table.data.set(vectors.data, row * width);
    const ids = Array.from({ length: count }, (_, i) => vocabSize + row + i);
    for (const name of names) if (!words.has(name)) words.set(name, ids);
    row += count;
  }
  return { words, table };
}
