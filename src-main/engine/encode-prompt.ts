// From a prompt in A1111's grammar to what the UNet attends to: one tensor of text states per stretch of steps.
import { floatTensor, intTensor, type FloatTensor } from '../tensor/tensor.ts';
import { applyEmphasis, padChunks, promptSchedule, tokenChunks, type TokenChunk } from '../text/prompt.ts';
import { clipTokenizer } from '../text/tokenizer.ts';
import type { LoadedModel } from './loaded-model.ts';

/** The text states to use at each step: [1, T, D], T the same for both branches and all steps. */
export interface EncodedPrompts {
  /** States of the prompt and of the negative prompt at `step`, from 0. */
  at(step: number): { readonly conditional: FloatTensor; readonly unconditional: FloatTensor };
  /** Gates of the text encoder [1, G, N] for each half, the mean over chunks; undefined without gates there. */
  readonly gates: { readonly conditional: FloatTensor; readonly unconditional: FloatTensor } | undefined;
  /** T: 77 times the number of chunks. */
  readonly textTokens: number;
}

interface Stretch {
  /** The last step this text holds for. A1111 counts the steps from 0 here, so that a text holds one step longer than it says. */
  readonly untilStep: number;
  readonly states: FloatTensor;
}

/**
 * Encodes both prompts for `steps` steps. `clipSkip` counts as A1111 does: 1 is every layer; Stable Diffusion 2 ignores it.
 * Equal chunks are encoded once.
 */
export async function encodePrompts(
  model: LoadedModel,
  prompts: {
    readonly prompt: string;
    readonly negativePrompt: string;
    readonly steps: number;
    readonly clipSkip: number;
    /** The only expert that speaks in the text encoder, by its place in the stack. */
    readonly alone?: number | undefined;
  },
): Promise<EncodedPrompts> {
  const { textEncoder } = model.checkpoint;
  // Stable Diffusion 2 was trained on the layer before the last, which its config counts as the last: nothing to skip.
  const skipLayers = model.checkpoint.family === 'sd2' ? 0 : prompts.clipSkip - 1;
  const tokenizer = clipTokenizer();
  const options = {
    padToken: textEncoder.padToken,
    ...(model.learned === undefined ? {} : { words: model.learned.words }),
  };
  const chunked = [prompts.prompt, prompts.negativePrompt].map((text) =>
    promptSchedule(text, prompts.steps).map(({ untilStep, text: current }) => ({
      untilStep,
      chunks: tokenChunks(current, tokenizer, options),
    })),
  );
  const most = Math.max(...chunked.flat().map(({ chunks }) => chunks.length));

  const encoded = new Map<string, { readonly states: FloatTensor; readonly gates: FloatTensor | undefined }>();
  const keyOf = ({ tokens }: TokenChunk): string => tokens.join(',');
  const encode = async (chunk: TokenChunk): Promise<FloatTensor> => {
    const key = keyOf(chunk);
    const known = encoded.get(key);
    const states =
      known?.states ??
      (await model.encodeText(intTensor([1, chunk.tokens.length], chunk.tokens), skipLayers, {
        step: 0,
        steps: prompts.steps,
        alone: prompts.alone,
      }));
    if (known === undefined) encoded.set(key, { states, gates: model.textGates });
    const [, tokens, width] = states.shape as [number, number, number];
    return floatTensor(states.shape, applyEmphasis(states.data, chunk.weights, tokens, width));
  };

  const [conditional, unconditional] = await inOrder(chunked, (stretches) =>
    inOrder(stretches, async ({ untilStep, chunks }): Promise<Stretch> => {
      const padded = padChunks(chunks, most, tokenizer, options);
      return { untilStep, states: joinTokens(await inOrder(padded, encode)) };
    }),
  );
  const find = (stretches: readonly Stretch[], step: number): FloatTensor =>
    (stretches.find(({ untilStep }) => step <= untilStep) ?? stretches.at(-1)!).states;
  const [gates, otherGates] = chunked.map((stretches) =>
    stretches.flatMap(({ chunks }) => chunks.flatMap((chunk) => encoded.get(keyOf(chunk))?.gates ?? [])),
  );
  return {
    gates:
      gates!.length === 0 || otherGates!.length === 0
        ? undefined
        : { conditional: meanTensor(gates!), unconditional: meanTensor(otherGates!) },
    at: (step) => ({ conditional: find(conditional!, step), unconditional: find(unconditional!, step) }),
    textTokens: conditional![0]!.states.shape[1]!,
  };
}

/** Elementwise mean of at least one tensor, all of one shape. */
function meanTensor(tensors: readonly FloatTensor[]): FloatTensor {
  const { shape, data } = tensors[0]!;
  return floatTensor(
    shape,
    data.map((_, i) => tensors.reduce((sum, tensor) => sum + tensor.data[i]!, 0) / tensors.length),
  );
}

/** Joins [1, 77, D] chunks along the tokens: -> [1, 77 * chunks, D]. */
function joinTokens(chunks: readonly FloatTensor[]): FloatTensor {
  const width = chunks[0]!.shape[2]!;
  const data = new Float32Array(chunks.reduce((length, chunk) => length + chunk.data.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    data.set(chunk.data, at);
    at += chunk.data.length;
  }
  return floatTensor([1, data.length / width, width], data);
}

/** Maps one after the other: the networks run one at a time anyway. */
async function inOrder<T, R>(items: readonly T[], map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await map(item));
  return results;
}
