// From the stack of a request to the mixture that a model draws with: files opened and their factors kept, gates matched with the
// experts they were trained for, closed forms computed once. Where order means nothing, experts stand by their hash, so that a
// reordered stack gives the same picture to the last bit.
import { basename } from 'node:path';
import type { ExpertSettings } from '../contract/experts.ts';
import { FailureError } from '../contract/failure.ts';
import { trainingSchedule } from '../diffusion/noise-schedule.ts';
import { readTensor } from '../formats/safetensors.ts';
import type { TensorRef } from '../graph/ir.ts';
import type { Expert } from '../mole/expert.ts';
import type { ExpertIdentity, TrainedGate } from '../mole/trained-gate.ts';
import { TorchGenerator } from '../tensor/random.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { blockWeightAt, parseBlockWeights } from '../text/block-weights.ts';
import {
  parseWeightSchedule,
  weightAt,
  weightAtStart,
  constantWeight,
  type WeightSchedule,
} from '../text/weight-schedule.ts';
import type { Checkpoint } from './checkpoint.ts';
import { npExperts, ssrExperts } from './closed-form.ts';
import type { CompleteMix } from './complete-mix.ts';
import { encodePrompts } from './encode-prompt.ts';
import { fileHashes, fileSha256, fileStamp } from './file-hashes.ts';
import { matchExperts, readGateFile } from './gate-file.ts';
import type { LoadedModel } from './loaded-model.ts';
import { Mixture, type Learned, type MixtureMode, type MixtureOptions, type StackEntry } from './mixture.ts';
import { learnedWords, openEmbedding, type Embedding } from './open-embedding.ts';
import { openExpert } from './open-expert.ts';
import { findSidecars } from './sidecars.ts';
import { triggerWords } from './trigger-words.ts';

/** An expert with its weights read, and what its file says of itself. */
export interface LoadedExpert {
  readonly expert: Expert;
  readonly warnings: readonly string[];
  /** Words that the file brings along. */
  readonly embeddings: readonly Embedding[];
  /** The prompt that is the expert's own, by its trigger words; undefined where it names none. */
  readonly ownPrompt: string | undefined;
}

/** What a mixture is built of. */
export type Mix = CompleteMix['mix'];

/** Modes in which the order of the stack has a meaning: whose turn is first, whose directions are kept. */
const ordered: ReadonlySet<MixtureMode> = new Set(['switch', 'np']);

/** Experts kept in memory: more than anyone stacks, and some 40 MB each at rank 16. */
const mostKept = 64;

/** Trigger words that make a prompt: more say what was in the pictures, not what the expert is. */
const mostTriggers = 3;

/** Keeps what was read: experts by file and base model, gates by file, the last closed form. */
export class ExpertStore {
  readonly #experts = new Map<string, LoadedExpert>();
  readonly #gates = new Map<string, TrainedGate>();
  #closedForm: { readonly key: string; readonly experts: readonly Expert[] } | undefined;

  /** The expert at `path` for `checkpoint`; a changed file is read again. Throws ExpertError and SafetensorsError. */
  async load(path: string, checkpoint: Checkpoint, signal?: AbortSignal): Promise<LoadedExpert> {
    const key = `${checkpoint.path} ${path} ${await fileStamp(path)}`;
    const known = this.#experts.get(key);
    if (known !== undefined) return known;
    const opened = await openExpert(path, checkpoint);
    // One reading of the file serves the short hash and the expert's own.
    const { short } = await fileHashes(opened.path, signal);
    const expert = await opened.load(signal === undefined ? {} : { signal });
    const { words } = triggerWords(opened.metadata, await findSidecars(opened.path));
    const loaded = {
      expert: { ...expert, shortHash: short },
      warnings: opened.warnings.map((warning) => `${opened.name}: ${warning}`),
      embeddings: await wordsOf(opened.contents.embeddings),
      ownPrompt: words.length === 0 ? undefined : words.slice(0, mostTriggers).join(', '),
    };
    this.#experts.set(key, loaded);
    const [oldest] = this.#experts.keys();
    if (this.#experts.size > mostKept) this.#experts.delete(oldest!);
    return loaded;
  }

  async gate(path: string): Promise<TrainedGate> {
    const key = `${path} ${await fileStamp(path)}`;
    const known = this.#gates.get(key) ?? (await readGateFile(path)).gate;
    this.#gates.set(key, known);
    return known;
  }

  /** Experts of a closed form, kept until another one is asked for. */
  async closedForm(key: string, compute: () => Promise<readonly Expert[]>): Promise<readonly Expert[]> {
    if (this.#closedForm?.key !== key) this.#closedForm = { key, experts: await compute() };
    return this.#closedForm.experts;
  }
}

export interface MixtureContext {
  readonly signal: AbortSignal;
  readonly warn: (message: string) => void;
  /** Stands for the own prompt of experts that name no trigger words (SSR-Merge). */
  readonly prompt: string;
}

/**
 * The mixture that `mix` describes on `model`. Throws FailureError 'bad-request' for weights that cannot be read and for mode
 * `mole` without a gate, GateError when gate and experts do not belong together, and what opening experts throws.
 */
export async function buildMixture(
  mix: Mix,
  model: LoadedModel,
  store: ExpertStore,
  { signal, warn, prompt }: MixtureContext,
): Promise<Mixture> {
  const rows: StackRow[] = [];
  for (const [place, settings] of mix.experts.entries()) {
    const loaded = await store.load(settings.path, model.checkpoint, signal);
    loaded.warnings.forEach(warn);
    rows.push({ ...loaded, place, settings, entry: entryOf(loaded.expert, settings) });
  }
  const learned = await learnedOf(mix, rows, model);
  if (mix.mode === 'mole') return gated(mix, rows, store, learned);
  const stack = ordered.has(mix.mode) ? rows : byHash(rows);
  const options = {
    mode: mix.mode,
    ...inOrderOf(stack, mix),
    learned,
    record: recordOf(mix, rows, learned),
    ...(mix.switchEvery === undefined ? {} : { switchEvery: mix.switchEvery }),
  };
  const plain = new Mixture(entriesOf(stack), options);
  if (mix.mode !== 'np' && mix.mode !== 'ssr') return plain;
  const hashes = stack.map(({ expert }) => expert.sha256);
  const experts = await (mix.mode === 'np'
    ? store.closedForm(JSON.stringify(['np', mix.np?.mu ?? '', hashes]), () =>
        Promise.resolve(npExperts(expertsOf(stack), mix.np?.mu)),
      )
    : store.closedForm(JSON.stringify(['ssr', prompt, model.checkpoint.path, hashes]), () =>
        routed(stack, model, prompt),
      ));
  return new Mixture(
    entriesOf(stack).map((entry, i) => ({ ...entry, expert: experts[i]! })),
    options,
  );
}

/** Words stored in a LoRA file, [D] or [n, D] each. */
async function wordsOf(refs: ReadonlyMap<string, TensorRef>): Promise<readonly Embedding[]> {
  const found: Embedding[] = [];
  for (const [name, ref] of refs) {
    const tensor = await readTensor(ref);
    if (tensor.dtype !== 'float32') continue;
    const width = tensor.shape.at(-1)!;
    found.push({ names: [name], vectors: floatTensor([tensor.data.length / width, width], tensor.data) });
  }
  return found;
}

/** The words of the request's embedding files and of its experts; undefined without any. Words of another width are left out. */
async function learnedOf(mix: Mix, rows: readonly StackRow[], model: LoadedModel): Promise<Learned | undefined> {
  const { vocabSize, hiddenSize } = model.checkpoint.textEncoder.config;
  const embeddings = rows.flatMap((row) => row.embeddings).filter(({ vectors }) => vectors.shape[1] === hiddenSize);
  for (const path of mix.embeddings) embeddings.push(await openEmbedding(path, hiddenSize));
  return embeddings.length === 0 ? undefined : learnedWords(embeddings, vocabSize, hiddenSize);
}

interface StackRow extends LoadedExpert {
  /** Place in the request's stack, which masks refer to. */
  readonly place: number;
  readonly settings: ExpertSettings;
  readonly entry: StackEntry;
}

const entriesOf = (rows: readonly StackRow[]): readonly StackEntry[] => rows.map(({ entry }) => entry);
const expertsOf = (rows: readonly StackRow[]): readonly Expert[] => rows.map(({ expert }) => expert);

const byHash = (rows: readonly StackRow[]): readonly StackRow[] =>
  [...rows].sort((a, b) =>
    a.expert.sha256 < b.expert.sha256 ? -1 : a.expert.sha256 > b.expert.sha256 ? 1 : a.place - b.place,
  );

function entryOf(expert: Expert, { weight, textWeight, blocks, unguided, muted, solo }: ExpertSettings): StackEntry {
  const schedule: WeightSchedule = readable(expert, () =>
    typeof weight === 'number' ? constantWeight(weight) : parseWeightSchedule(weight),
  );
  const rows = blocks === undefined ? undefined : readable(expert, () => parseBlockWeights(blocks));
  return {
    expert,
    weight: (step, steps) => weightAt(schedule, step, steps),
    textWeight: textWeight ?? weightAtStart(schedule),
    block: (row) => (rows === undefined ? 1 : blockWeightAt(rows, row)),
    muted,
    solo,
    ...(unguided === undefined ? {} : { unguided }),
  };
}

function readable<T>({ name }: Expert, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new FailureError({ kind: 'bad-request', message: `${name}: ${error.message}` }, error);
  }
}

/** The mix for a picture's metadata; undefined where nobody speaks and no word is learned. */
function recordOf(
  { mode, masks, overrides, switchEvery, np }: Mix,
  rows: readonly StackRow[],
  learned: Learned | undefined,
  gate?: ExpertIdentity,
): Readonly<Record<string, unknown>> | undefined {
  if (rows.length === 0 && learned === undefined) return undefined;
  const experts = rows.map(({ expert: { name, sha256 }, settings }) => {
    const { weight, textWeight, blocks, unguided, muted, solo } = settings;
    return { name, sha256, ...present({ weight, textWeight, blocks, unguided, muted, solo }) };
  });
  const learnedWords = learned === undefined ? undefined : [...learned.words.keys()];
  return { mode, experts, ...present({ gate, masks, overrides, switchEvery, np, learnedWords }) };
}

/** Without fields that say nothing: undefined and false. */
const present = (fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== false));

/** What is said per row and expert, in the order of `stack` instead of that of the request. */
function inOrderOf(stack: readonly StackRow[], { masks, overrides }: Mix): Pick<MixtureOptions, 'masks' | 'overrides'> {
  const permuted = <T>(rows: Readonly<Record<string, readonly T[]>>, missing: T): Record<string, readonly T[]> =>
    Object.fromEntries(
      Object.entries(rows).map(([row, list]) => [row, stack.map(({ place }) => list[place] ?? missing)]),
    );
  return {
    ...(masks === undefined ? {} : { masks: permuted(masks, true) }),
    ...(overrides === undefined ? {} : { overrides: permuted<number | null>(overrides, null) }),
  };
}

async function gated(
  mix: Mix,
  rows: readonly StackRow[],
  store: ExpertStore,
  learned: Learned | undefined,
): Promise<Mixture> {
  if (mix.gate === undefined) {
    throw new FailureError({
      kind: 'bad-request',
      message:
        'Mode mole needs a trained gate: give one with its file, train one with train-gate, or choose mode normalised.',
    });
  }
  const twice = rows.find(({ expert }, i) => rows.findIndex((other) => other.expert.sha256 === expert.sha256) !== i);
  if (twice !== undefined) {
    throw new FailureError({
      kind: 'bad-request',
      message: `${twice.expert.name} is in the stack twice; a gate knows each expert once. Take one out.`,
    });
  }
  const gate = await store.gate(mix.gate);
  const matched = matchExperts(
    gate,
    rows.map((row) => ({ name: row.expert.name, sha256: row.expert.sha256, row })),
    mix.gate,
  ).map(({ row }) => row);
  return new Mixture(entriesOf(matched), {
    mode: 'mole',
    gate,
    ...inOrderOf(matched, mix),
    learned,
    record: recordOf(mix, rows, learned, { name: basename(mix.gate), sha256: await fileSha256(mix.gate) }),
  });
}

/** SSR-Merge: listens to each expert alone on its own prompt, in one pass at the noisiest timestep. */
async function routed(stack: readonly StackRow[], model: LoadedModel, prompt: string): Promise<readonly Expert[]> {
  const { unet, scheduler } = model.checkpoint;
  const full = entriesOf(stack).map((entry) => ({
    ...entry,
    weight: () => 1,
    textWeight: 1,
    muted: false,
    solo: false,
  }));
  model.useMixture(new Mixture(full, { mode: 'sum' }));
  const texts: FloatTensor[] = [];
  for (const [alone, { ownPrompt }] of stack.entries()) {
    const prompts = { prompt: ownPrompt ?? prompt, negativePrompt: '', steps: 1, clipSkip: 1, alone };
    const states = (await encodePrompts(model, prompts)).at(0).conditional;
    const [, tokens, width] = states.shape as [number, number, number];
    // One chunk each, so that all prompts share a graph.
    const one = Math.min(tokens, model.checkpoint.textEncoder.config.maxPositionEmbeddings);
    texts.push({ ...states, shape: [1, one, width], data: states.data.slice(0, one * width) });
  }
  const { inChannels, sampleSize } = unet.config;
  const noise = new TorchGenerator(0).randn([1, inChannels, sampleSize, sampleSize]);
  const last = trainingSchedule(scheduler).alphaBar.length - 1;
  return ssrExperts(expertsOf(stack), await model.measureMoments(noise, last, texts));
}
