// What a LoRA's metadata and sidecars say about it, for its report card: names, licence, how it was trained. The fields
// are kohya's (`ss_*`), its metadata editor's (`ssmd_*`) and Stability's model spec (`modelspec.*`,
// https://github.com/Stability-AI/ModelSpec). Strangers' text: shortened here, shown as text everywhere.
import type { AdapterReport } from '../contract/files.ts';
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';
import type { Sidecars } from './sidecars.ts';
import { field, triggerWords } from './trigger-words.ts';

type Metadata = Readonly<Record<string, string>>;

export type AdapterFacts = Pick<
  AdapterReport,
  | 'triggerWords'
  | 'triggerSource'
  | 'title'
  | 'author'
  | 'licence'
  | 'description'
  | 'preferredWeight'
  | 'training'
  | 'warnings'
>;

const longestLine = 200;
const longestText = 4000;

/** Facts of the adapter with this `metadata` and these sidecars. Never throws; what cannot be read is left out. */
export function adapterFacts(metadata: Metadata, sidecars: Sidecars): AdapterFacts {
  const { notes, civitai } = sidecars;
  const words = triggerWords(metadata, sidecars);
  const said = (...keys: readonly string[]): string | undefined =>
    keys.map((key) => field(metadata, key)).find((value) => value !== undefined);
  const title = said('modelspec.title', 'ssmd_display_name') ?? civitai?.title ?? said('ss_output_name');
  const author = said('modelspec.author', 'ssmd_author') ?? civitai?.author;
  const licence = said('modelspec.license', 'license');
  const description =
    notes?.description ??
    sidecars.description ??
    said('modelspec.description', 'ssmd_description') ??
    civitai?.description;
  const missing = [
    ...(words.words.length === 0 ? ['trigger words'] : []),
    ...(author === undefined ? ['author'] : []),
    ...(licence === undefined ? ['licence'] : []),
  ];
  return {
    triggerWords: words.words,
    ...(words.source === undefined ? {} : { triggerSource: words.source }),
    ...(title === undefined ? {} : { title: shorten(title, longestLine) }),
    ...(author === undefined ? {} : { author: shorten(author, longestLine) }),
    ...(licence === undefined ? {} : { licence: shorten(licence, longestLine) }),
    ...(description === undefined ? {} : { description: shorten(description, longestText) }),
    ...(notes?.preferredWeight === undefined ? {} : { preferredWeight: notes.preferredWeight }),
    training: trainingFacts(metadata),
    warnings: [
      ...words.warnings,
      ...(missing.length === 0 ? [] : [`It does not say its ${listed(missing)}.`]),
      ...sidecars.warnings,
    ],
  };
}

/** Label and value of what tells how an adapter was trained; fields that are absent or senseless are left out. */
function trainingFacts(metadata: Metadata): readonly (readonly [string, string])[] {
  const facts: [string, string][] = [];
  const add = (label: string, value: string | undefined): void => {
    if (value !== undefined) facts.push([label, shorten(value, longestLine)]);
  };
  const count = (key: string): string | undefined => {
    const value = field(metadata, key);
    return value !== undefined && /^\d{1,12}$/.test(value.trim()) ? Number(value).toLocaleString('en') : undefined;
  };
  add('trained on', field(metadata, 'ss_sd_model_name'));
  add('network', networkOf(metadata));
  add('resolution', field(metadata, 'ss_resolution') ?? field(metadata, 'modelspec.resolution'));
  add('pictures', count('ss_num_train_images'));
  add('epochs', count('ss_epoch'));
  add('steps', count('ss_steps'));
  add('learning rate', field(metadata, 'ss_learning_rate'));
  // "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)"
  add('optimizer', field(metadata, 'ss_optimizer')?.replace(/^[\w.]*\./, ''));
  add('CLIP skip', count('ss_clip_skip'));
  add('date', dateOf(metadata));
  add('usage', field(metadata, 'modelspec.usage_hint'));
  add('tags', field(metadata, 'modelspec.tags') ?? field(metadata, 'ssmd_tags') ?? field(metadata, 'ssmd_keywords'));
  add('comment', field(metadata, 'ss_training_comment'));
  return facts;
}

/** "networks.lora, dimension 16, alpha 8, algo lokr", from the trainer's arguments. */
function networkOf(metadata: Metadata): string | undefined {
  const module = field(metadata, 'ss_network_module');
  const [dim, alpha] = [field(metadata, 'ss_network_dim'), field(metadata, 'ss_network_alpha')];
  const parts = [
    ...(module === undefined ? [] : [module]),
    ...(dim === undefined ? [] : [`dimension ${dim}`]),
    ...(alpha === undefined ? [] : [`alpha ${alpha}`]),
    ...networkArguments(metadata),
  ];
  return parts.length === 0 ? undefined : parts.join(', ');
}

function networkArguments(metadata: Metadata): readonly string[] {
  const text = field(metadata, 'ss_network_args');
  if (text === undefined) return [];
  try {
    const table = parseBoundedJson(text, { mostLength: 20_000, mostDepth: 4 });
    if (typeof table !== 'object' || table === null) return [];
    return Object.entries(table)
      .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
      .slice(0, 8)
      .map(([name, value]) => `${name} ${String(value)}`);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return [];
  }
}

/** "2024-03-01": the model spec's date, or kohya's start of training in seconds since 1970. */
function dateOf(metadata: Metadata): string | undefined {
  const given = /^\d{4}-\d{2}-\d{2}/.exec(field(metadata, 'modelspec.date') ?? '')?.[0];
  if (given !== undefined) return given;
  const seconds = Number(field(metadata, 'ss_training_started_at') ?? Number.NaN);
  // Between 2020, before LoRAs for pictures, and 2100.
  return seconds > 1.577e9 && seconds < 4.103e9 ? new Date(seconds * 1000).toISOString().slice(0, 10) : undefined;
}

const shorten = (text: string, most: number): string => {
  const trimmed = text.trim();
  return trimmed.length <= most ? trimmed : `${trimmed.slice(0, most - 3)}...`;
};

const listed = (words: readonly string[]): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)!}`;
