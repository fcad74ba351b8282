// The settings that made a picture, checked field by field: ours with the whole mix, A1111's text, ComfyUI's graph. What is not
// understood is left out and said; whatever a stranger wrote into the file, reading it never fails.
import { basename } from 'node:path';
import { z } from 'zod';
import { expertSchema, recipeSchema, type Recipe } from '../contract/experts.ts';
import { generateRequestSchema, type SamplerName, type ScheduleName } from '../contract/generation.ts';
import type { NamedExpert, PictureMix, PictureReport, PictureSettings } from '../contract/pictures.ts';
import { schedules } from '../diffusion/noise-schedule.ts';
import { samplers } from '../diffusion/samplers.ts';
import type { ComfyuiLora } from '../formats/comfyui.ts';
import type { GenerationParameters } from '../formats/infotext.ts';
import { PictureError, readPictureBytes } from '../formats/picture-file.ts';
import { readMetadata, type FoundMetadata } from '../formats/picture-metadata.ts';
import { decodePicture, pictureSize } from '../formats/png.ts';
import { showBlockWeights } from '../text/block-weights.ts';
import { loraTags } from '../text/lora-tags.ts';
import { showWeightSchedule } from '../text/weight-schedule.ts';

const { shape } = generateRequestSchema;
/** The fields of an order that a picture may name, by their schema. */
const fields = {
  prompt: shape.prompt,
  negativePrompt: shape.negativePrompt.unwrap(),
  seed: shape.seed.unwrap(),
  variation: shape.variation.unwrap(),
  steps: shape.steps.unwrap(),
  sampler: shape.sampler.unwrap(),
  schedule: shape.schedule.unwrap(),
  cfgScale: shape.cfgScale.unwrap(),
  cfgRescale: shape.cfgRescale.unwrap(),
  clipSkip: shape.clipSkip.unwrap(),
  prediction: shape.prediction.unwrap(),
  width: shape.width.unwrap(),
  height: shape.height.unwrap(),
} as const;

/** A row of the stack without its file, taken out of anything that holds one. */
const rowSchema = z.object(expertSchema.omit({ path: true }).shape);

const mostNotes = 20;
const longestNote = 500;

/** Reads the picture at `path` (absolute). Throws PictureError for a file that is no picture at all. */
export async function readPicture(path: string): Promise<PictureReport> {
  const bytes = await readPictureBytes(path);
  const found = await readMetadata(bytes);
  const pixels = await pixelsOf(path, bytes);
  if (pixels.size === undefined && found.kind === 'none') {
    throw new PictureError('not-a-picture', pixels.problem ?? `${basename(path)} is not a picture that can be read.`);
  }
  const { notes, ...said } = understand(found);
  const all = [...found.warnings, ...notes].slice(0, mostNotes).map((note) => note.slice(0, longestNote));
  return { ...pixels, ...said, notes: all };
}

/** Its size, and what is wrong with its pixels: the whole of it is decoded once. */
async function pixelsOf(path: string, bytes: Uint8Array): Promise<Pick<PictureReport, 'size' | 'problem'>> {
  try {
    const { width, height } = await decodePicture(bytes);
    return { size: { width, height } };
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    const size = await pictureSize(bytes);
    const problem = error.message.replace(/^the picture\b/i, basename(path));
    return { ...(size === undefined ? {} : { size }), problem };
  }
}

type Said = Omit<PictureReport, 'size' | 'problem'>;

function understand(found: FoundMetadata): Said {
  if (found.kind === 'none') return { from: 'none', settings: {}, notes: [] };
  if (found.kind === 'mole') return ours(found.mole, found.parameters);
  return {
    from: found.kind,
    ...theirs(found.parameters, found.kind === 'comfyui' ? found.loras : undefined, found.kind),
  };
}

/** Our own JSON; where it is damaged, the A1111 text beside it. */
function ours(json: unknown, parameters: GenerationParameters | undefined): Said {
  const state = objectOf(json);
  const settings = objectOf(state?.['settings']);
  if (state === undefined || settings === undefined) {
    const note = 'The part that this program wrote is damaged; the text for other programs was read instead.';
    if (parameters === undefined) return { from: 'none', settings: {}, notes: [note] };
    const read = theirs(parameters, undefined, 'mole');
    return { from: 'a1111', ...read, notes: [note, ...read.notes] };
  }
  const { kept, notes } = checked(settings);
  const init = objectOf(settings['init'])?.['strength'];
  const mix = mixOf(objectOf(state['mix']), notes);
  const model = objectOf(state['model']);
  const [name, hash] = [model?.['name'], model?.['hash']];
  // The experts of tags stand in the mix already.
  const prompt = kept.prompt === undefined ? {} : { prompt: loraTags(kept.prompt).prompt.trim() };
  return {
    from: 'mole',
    settings: { ...kept, ...prompt },
    ...(mix === undefined ? {} : { mix }),
    ...(typeof name === 'string'
      ? { model: { name: name.slice(0, 300), ...(typeof hash === 'string' ? { hash: hash.slice(0, 64) } : {}) } }
      : {}),
    ...(typeof init === 'number' ? { startedFrom: init } : {}),
    notes,
  };
}

/** The fields of `given` that their schema takes; the others in `notes`. */
function checked(given: Readonly<Record<string, unknown>>): {
  readonly kept: PictureSettings;
  readonly notes: string[];
} {
  const kept: Record<string, unknown> = {};
  const notes: string[] = [];
  for (const [name, schema] of Object.entries(fields)) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    const read = schema.safeParse(value);
    if (read.success) kept[name] = read.data;
    else notes.push(`${name} is left out: ${read.error.issues[0]?.message ?? 'it is not understood'}.`);
  }
  return { kept, notes };
}

function mixOf(json: Readonly<Record<string, unknown>> | undefined, notes: string[]): PictureMix | undefined {
  if (json === undefined) return undefined;
  const { learnedWords, ...recipe } = json;
  const read = recipeSchema.safeParse({ version: 1, ...recipe });
  if (Array.isArray(learnedWords) && learnedWords.length > 0) {
    notes.push('It used words from embedding files, which are not restored.');
  }
  if (!read.success) {
    const [issue] = read.error.issues;
    notes.push(`Its experts could not be read (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}).`);
    return undefined;
  }
  const { experts, gate } = read.data;
  const mixing: Partial<Recipe> = { ...read.data };
  delete mixing.version;
  delete mixing.experts;
  delete mixing.gate;
  return {
    ...mixing,
    ...(gate === undefined ? {} : { gate: { name: gate.name, sha256: gate.sha256 } }),
    experts: experts.map((expert) => ({ name: expert.name, hash: expert.sha256, settings: rowSchema.parse(expert) })),
  };
}

/** What A1111's fields say, those of ComfyUI included, in the order's words. */
function theirs(
  p: GenerationParameters,
  loras: readonly ComfyuiLora[] | undefined,
  kind: 'a1111' | 'comfyui' | 'mole',
): Omit<Said, 'from'> {
  const tags = loraTags(p.prompt);
  const method = methodOf(p);
  const { kept, notes } = checked({
    prompt: tags.prompt.trim(),
    negativePrompt: p.negativePrompt,
    seed: p.seed,
    ...(p.variationSeed === undefined
      ? {}
      : { variation: { seed: p.variationSeed, strength: p.variationSeedStrength ?? 0 } }),
    steps: p.steps,
    cfgScale: p.cfgScale,
    clipSkip: p.clipSkip,
    width: p.size?.width,
    height: p.size?.height,
    ...method.kept,
  });
  const experts = [...tagged(p, notes), ...(loras ?? []).map(ofComfyui)];
  const mode = p.extra?.['Expert mode'];
  const known = recipeSchema.shape.mode.safeParse(mode);
  const rest = known.success && known.data !== undefined ? { mode: known.data } : {};
  return {
    settings: kept,
    ...(experts.length === 0 ? {} : { mix: { ...rest, experts } }),
    ...(p.model === undefined ? {} : { model: { name: p.model, ...(p.modelHash ? { hash: p.modelHash } : {}) } }),
    ...(p.denoisingStrength === undefined || (kind === 'comfyui' && p.denoisingStrength === 1)
      ? {}
      : { startedFrom: p.denoisingStrength }),
    notes: [...notes, ...method.notes, ...differences(p, kind)],
  };
}

/** Sampler and schedule; before A1111 1.9 the schedule stood in the sampler's name: "DPM++ 2M Karras". */
function methodOf({ sampler, scheduleType }: GenerationParameters): {
  readonly kept: Pick<PictureSettings, 'sampler' | 'schedule'>;
  readonly notes: readonly string[];
} {
  const notes: string[] = [];
  const [, base, old] = /^(.*?)(?:\s+(Karras|Exponential))?$/i.exec(sampler ?? '') ?? [];
  const name = byLabel(samplers, sampler) ?? byLabel(samplers, base);
  if (sampler !== undefined && name === undefined) {
    notes.push(`The sampler ${sampler.slice(0, 80)} is not known here; the one of the form stays.`);
  }
  const wanted = scheduleType ?? old;
  const schedule = wanted === undefined ? undefined : byLabel(schedules, wanted);
  const automatic = wanted === undefined || /^automatic$/i.test(wanted);
  if (!automatic && schedule === undefined) {
    notes.push(`The schedule ${wanted.slice(0, 80)} is not known here; the sampler's own is taken.`);
  }
  return {
    kept: {
      ...(name === undefined ? {} : { sampler: name as SamplerName }),
      ...(sampler === undefined ? {} : { schedule: (schedule as ScheduleName | undefined) ?? 'automatic' }),
    },
    notes,
  };
}

function byLabel(
  table: Readonly<Record<string, { readonly label: string }>>,
  label: string | undefined,
): string | undefined {
  const wanted = label?.toLowerCase();
  return Object.entries(table).find(([, entry]) => entry.label.toLowerCase() === wanted)?.[0];
}

/** The LoRAs of the prompt's tags with their hashes, then those of which only the hash is known. */
function tagged(p: GenerationParameters, notes: string[]): readonly NamedExpert[] {
  const { loras, unreadable } = loraTags(p.prompt);
  for (const { source, message } of unreadable) notes.push(`${source} is left out: ${message}`);
  const hashes = p.loraHashes ?? [];
  const stem = (name: string): string => (name.replaceAll('\\', '/').split('/').at(-1) ?? name).toLowerCase();
  const experts = loras.map(({ name, unetWeight, textWeight, blocks }) => {
    const hash = hashes.find((entry) => stem(entry.name) === stem(name))?.hash;
    const shown = showWeightSchedule(unetWeight);
    const number = Number(shown);
    return named(name, hash, {
      weight: Number.isFinite(number) ? number : shown,
      textWeight,
      ...(blocks === undefined ? {} : { blocks: showBlockWeights(blocks) }),
    });
  });
  const rest = hashes.filter((entry) => !loras.some(({ name }) => stem(name) === stem(entry.name)));
  if (rest.length > 0) notes.push('The weights of its LoRAs are not in the picture; they are set to 1.');
  return [...experts, ...rest.map(({ name, hash }) => named(name, hash, {}))].slice(0, 64);
}

const ofComfyui = ({ name, strengthModel, strengthClip }: ComfyuiLora): NamedExpert =>
  named(name.replaceAll('\\', '/').replace(/\.safetensors$/i, ''), undefined, {
    weight: strengthModel,
    ...(strengthClip === strengthModel ? {} : { textWeight: strengthClip }),
  });

function named(name: string, hash: string | undefined, settings: object): NamedExpert {
  return {
    name: name.slice(0, 300),
    ...(hash === undefined ? {} : { hash: hash.toLowerCase() }),
    settings: rowSchema.parse(settings),
  };
}

/** What makes the same settings give another picture here. */
function differences(p: GenerationParameters, kind: 'a1111' | 'comfyui' | 'mole'): readonly string[] {
  const notes: string[] = [];
  if (kind === 'a1111' && p.rng !== 'CPU') {
    notes.push('Its noise was drawn on a graphics card, ours on the processor: the picture will be another one.');
  }
  if (p.extra !== undefined && Object.keys(p.extra).some((label) => label.startsWith('Hires'))) {
    notes.push('It was enlarged by a second pass, which is not known here: its size is that of the first.');
  }
  return notes;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
