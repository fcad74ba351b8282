// From a prompt to what the text encoder reads: chunks of 75 tokens between a start and an end mark, with a weight per
// token, as AUTOMATIC1111 cuts them; and emphasis on what the encoder answers. Clip skip is the encoder's matter.
// Facts: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#infinite-prompt-length
import { parseAttention } from './attention.ts';
import { wordFinder, type LearnedWords, type TokenGroup } from './learned-words.ts';
import { extractTags } from './prompt-tags.ts';
import { parseSchedule, type ScheduleNode } from './schedule-grammar.ts';
import { clipTokenizer, type ClipTokenizer } from './tokenizer.ts';

/** A prompt and the last step it holds for, counted from 1. */
export interface ScheduledText {
  readonly untilStep: number;
  readonly text: string;
}

/** 77 tokens that the text encoder reads at once. */
export interface TokenChunk {
  /** Start mark, 75 tokens or fill, end mark. */
  readonly tokens: readonly number[];
  /** A weight per token; marks and fill have 1. */
  readonly weights: readonly number[];
}

export interface ChunkOptions {
  /** Id after the end mark: by default the end mark again (Stable Diffusion 1); 0 for Stable Diffusion 2. */
  readonly padToken?: number;
  /** Words of textual-inversion files: each takes as many tokens as it has vectors, at most 75. */
  readonly words?: LearnedWords;
}

/** Tokens of a prompt between the two marks. */
export const chunkLength = 75;

/** A chunk may end this many tokens early, so that it ends at a comma. A1111's default. */
const commaReach = 20;

/**
 * The texts of a prompt over `steps` sampling steps, in order; the last one ends at `steps`. A text holds from the step
 * after its predecessor's last one. Neighbours may be equal.
 *
 * `when` without a point is a step: the old text holds up to and including it. With a point it is a fraction of `steps`,
 * rounded down. Never throws on any prompt; throws RangeError when `steps` is not a whole number from 1.
 */
export function promptSchedule(prompt: string, steps: number): ScheduledText[] {
  if (!Number.isInteger(steps) || steps < 1) {
    throw new RangeError(`A prompt is scheduled over a whole number of steps from 1, not ${steps}.`);
  }
  const nodes = parseSchedule(prompt);
  const ends = new Set([steps]);
  collectEnds(nodes, steps, ends);
  return [...ends].sort((a, b) => a - b).map((untilStep) => ({ untilStep, text: textAt(nodes, untilStep, steps) }));
}

function collectEnds(nodes: readonly ScheduleNode[], steps: number, ends: Set<number>): void {
  for (const node of nodes) {
    if (node.kind === 'switch') {
      const step = switchStep(node.when, steps);
      if (step >= 1) ends.add(step);
      collectEnds(node.before, steps, ends);
      collectEnds(node.after, steps, ends);
    } else if (node.kind === 'alternate') {
      for (let step = 1; step <= steps; step++) ends.add(step);
    }
  }
}

/** The last step before the switch; 0 or less when the new text holds from the start. */
function switchStep(when: string, steps: number): number {
  const value = Number(when);
  return Math.min(steps, Math.trunc(when.includes('.') ? value * steps : value));
}

function textAt(nodes: readonly ScheduleNode[], step: number, steps: number): string {
  return nodes
    .map((node) => {
      switch (node.kind) {
        case 'text':
          return node.text;
        case 'switch':
          return textAt(step <= switchStep(node.when, steps) ? node.before : node.after, step, steps);
        case 'alternate':
          return textAt(node.options[(step - 1) % node.options.length]!, step, steps);
      }
    })
    .join('');
}

/**
 * Cuts a prompt of one moment into chunks of 77 tokens, at least one. Weights come from its brackets (attention.ts). A
 * chunk ends at BREAK, at the last comma if the next word does not fit and that comma is among its last 20 tokens, or when
 * it is full. A learned word is never cut in two. Throws RangeError for one that no chunk can hold.
 */
export function tokenChunks(text: string, tokenizer: ClipTokenizer, options: ChunkOptions = {}): TokenChunk[] {
  return cut(text, tokenizer, options.words).chunks.map((chunk) => closeChunk(chunk, tokenizer, options));
}

/** Adds empty chunks until there are `count`, so that both branches of the guidance attend to as many tokens. */
export function padChunks(
  chunks: readonly TokenChunk[],
  count: number,
  tokenizer: ClipTokenizer,
  options: ChunkOptions = {},
): TokenChunk[] {
  const empty = closeChunk({ tokens: [], weights: [] }, tokenizer, options);
  return [...chunks, ...Array.from({ length: Math.max(0, count - chunks.length) }, () => empty)];
}

/**
 * How many tokens a prompt takes, and how many it may take before it needs one more chunk: 75, 150, … Tags are left out;
 * of a prompt that changes over `steps` steps, the longest text counts.
 */
export function tokenCount(
  prompt: string,
  tokenizer: ClipTokenizer = clipTokenizer(),
  steps = 20,
  words?: LearnedWords,
): { readonly tokens: number; readonly limit: number } {
  const texts = new Set(promptSchedule(extractTags(prompt).prompt, steps).map(({ text }) => text));
  const tokens = Math.max(...[...texts].map((text) => cut(text, tokenizer, words).tokenCount));
  return { tokens, limit: Math.ceil(Math.max(tokens, 1) / chunkLength) * chunkLength };
}

/** What a prompt asks for and does not get. */
export interface PromptWarning {
  readonly kind: 'and-unsupported';
  readonly message: string;
}

/** Warnings to show beside a prompt: so far, that AND is an ordinary word here and not A1111's composition. */
export function promptWarnings(prompt: string): PromptWarning[] {
  if (!/(?<![\p{L}\p{N}_])AND(?![\p{L}\p{N}_])/u.test(prompt)) return [];
  const message =
    'AND is read as a word: composing several prompts with AND is not supported. Use commas or BREAK instead.';
  return [{ kind: 'and-unsupported', message }];
}

/**
 * Emphasis as A1111's "Original": every token's state times its weight, then all states scaled so that their mean is what
 * it was. states [T, D], weights [T]. Returns `states` itself when all weights are 1; never changes it.
 */
export function applyEmphasis(
  states: Float32Array,
  weights: readonly number[],
  tokens: number,
  width: number,
): Float32Array {
  if (states.length !== tokens * width || weights.length !== tokens) {
    throw new RangeError(
      `Emphasis needs states [${tokens}, ${width}] and ${tokens} weights, not ${states.length} numbers and ${weights.length} weights.`,
    );
  }
  if (weights.every((weight) => weight === 1)) return states;
  const scaled = states.map((value, index) => value * weights[Math.floor(index / width)]!);
  const ratio = sum(states) / sum(scaled);
  // Weights may cancel out to a mean of zero: then there is nothing to scale by.
  return Number.isFinite(ratio) ? scaled.map((value) => value * ratio) : scaled;
}

function sum(values: Float32Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

interface OpenChunk {
  readonly tokens: number[];
  readonly weights: number[];
}

/** Chunks without marks and fill, and the tokens they take: 75 for each that is followed by another or by BREAK. */
function cut(
  text: string,
  tokenizer: ClipTokenizer,
  words: LearnedWords = new Map(),
): { readonly chunks: readonly OpenChunk[]; readonly tokenCount: number } {
  const chunks: OpenChunk[] = [];
  let chunk: OpenChunk = { tokens: [], weights: [] };
  let lastComma: number | undefined;
  const nextChunk = (): void => {
    chunks.push(chunk);
    chunk = { tokens: [], weights: [] };
    lastComma = undefined;
  };
  const findWords = wordFinder(words, tokenizer);
  const add = (group: TokenGroup, weight: number): void => {
    const [token] = group;
    const isFull = chunk.tokens.length === chunkLength;
    if (isFull && token !== tokenizer.comma && lastComma !== undefined && chunkLength - lastComma <= commaReach) {
      const tokens = chunk.tokens.splice(lastComma + 1);
      const weights = chunk.weights.splice(lastComma + 1);
      nextChunk();
      chunk = { tokens, weights };
    } else if (isFull) nextChunk();
    else if (token === tokenizer.comma) lastComma = chunk.tokens.length;
    if (group.length > chunkLength) {
      throw new RangeError(`A learned word has ${group.length} vectors; ${chunkLength} tokens are read at once.`);
    }
    if (chunk.tokens.length + group.length > chunkLength) nextChunk();
    chunk.tokens.push(...group);
    chunk.weights.push(...group.map(() => weight));
  };
  for (const part of parseAttention(text)) {
    if (part.kind === 'break') nextChunk();
    else for (const group of findWords(tokenizer.encode(part.text))) add(group, part.weight);
  }
  const count = chunks.length * chunkLength + chunk.tokens.length;
  if (chunk.tokens.length > 0 || chunks.length === 0) nextChunk();
  return { chunks, tokenCount: count };
}

function closeChunk({ tokens, weights }: OpenChunk, tokenizer: ClipTokenizer, options: ChunkOptions): TokenChunk {
  const fill = chunkLength - tokens.length;
  const pad = options.padToken ?? tokenizer.pad;
  return {
    tokens: [tokenizer.bos, ...tokens, tokenizer.eos, ...Array.from({ length: fill }, () => pad)],
    weights: [1, ...weights, ...Array.from({ length: fill + 1 }, () => 1)],
  };
}
