// The words that wake a LoRA, by the community's rules: what the author says, what the user noted, what Civitai lists, and
// else the most frequent tags of its training pictures, as A1111's LoRA editor shows them. All of it is strangers' text.
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';
import type { Sidecars } from './sidecars.ts';

export interface TriggerWords {
  readonly words: readonly string[];
  /** For a sentence; undefined when there are no words. */
  readonly source?: string;
  readonly warnings: readonly string[];
}

const mostWords = 24;
const longestWord = 200;
/** A tag table of 4 MB describes some 200,000 tags. */
const json = { mostLength: 4_000_000, mostDepth: 8 };

/** Trigger words of the adapter with this `metadata` and these sidecars, at most 24. Never throws. */
export function triggerWords(metadata: Readonly<Record<string, string>>, sidecars: Sidecars): TriggerWords {
  const stated: readonly (readonly [string, readonly (string | undefined)[]])[] = [
    ["its author's trigger phrase", [field(metadata, 'modelspec.trigger_phrase')]],
    ['the activation text in its notes', [sidecars.notes?.activationText]],
    ["Civitai's trained words", sidecars.civitai?.trainedWords ?? []],
  ];
  for (const [source, texts] of stated) {
    const words = tidy(texts.flatMap((text) => text?.slice(0, 10_000).split(/[,\n]/) ?? []));
    if (words.length > 0) return { words, source, warnings: [] };
  }
  try {
    const tags = countTags(tableOf(metadata, 'ss_tag_frequency'));
    const concepts = conceptsOf([...tags.folders, ...Object.keys(tableOf(metadata, 'ss_dataset_dirs'))]);
    if (tags.counts.length > 0) {
      const words = tidy([...concepts, ...tags.counts.map(([word]) => word)]);
      return { words, source: `its most frequent training ${tags.captions ? 'words' : 'tags'}`, warnings: [] };
    }
    const words = tidy(concepts);
    return words.length === 0 ? { words, warnings: [] } : { words, source: 'its training folders', warnings: [] };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return { words: [], warnings: [`The tags in its metadata were not read: ${error.message}`] };
  }
}

/** Trimmed, without repetitions and empty ones, the first 24. */
function tidy(words: readonly string[]): readonly string[] {
  const found = new Set<string>();
  for (const word of words) {
    const trimmed = word.trim();
    if (trimmed !== '' && trimmed.length <= longestWord) found.add(trimmed);
    if (found.size === mostWords) break;
  }
  return [...found];
}

interface TagCounts {
  readonly folders: readonly string[];
  /** Most frequent first. */
  readonly counts: readonly (readonly [string, number])[];
  /** Whether the tags were sentences and have been taken apart. */
  readonly captions: boolean;
}

/** kohya's `{folder: {tag: count}}`, summed over the folders; A1111's rules for captions. */
function countTags(table: Readonly<Record<string, unknown>>): TagCounts {
  const tags = new Map<string, number>();
  for (const folder of Object.values(table)) {
    if (!isTable(folder)) continue;
    for (const [tag, count] of Object.entries(folder)) {
      if (typeof count === 'number' && Number.isFinite(count)) add(tags, tag.trim(), count);
    }
  }
  tags.delete('');
  let letters = 0;
  for (const tag of tags.keys()) letters += tag.length;
  const captions = tags.size > 0 && letters / tags.size >= 16;
  const counts = captions ? new Map<string, number>() : tags;
  if (captions) {
    for (const [caption, count] of tags) {
      for (const [word] of caption.matchAll(/[-_'\p{L}\p{N}]+/gu)) if (word.length >= 3) add(counts, word, count);
    }
  }
  return { folders: Object.keys(table), counts: [...counts].sort(([, a], [, b]) => b - a), captions };
}

function add(counts: Map<string, number>, word: string, count: number): void {
  counts.set(word, (counts.get(word) ?? 0) + count);
}

/** kohya's training folders are called `<repeats>_<concept>`. */
function conceptsOf(folders: readonly string[]): readonly string[] {
  const plain = /^(img|imgs|image|images|pic|pics|data|dataset|train|training|lora|concept|reg|class|style)$/i;
  return folders.flatMap((folder) => {
    const concept = /^\d+_(.+)$/s.exec(folder)?.[1];
    return concept === undefined || plain.test(concept.trim()) ? [] : [concept];
  });
}

function tableOf(metadata: Readonly<Record<string, string>>, key: string): Readonly<Record<string, unknown>> {
  const text = field(metadata, key);
  if (text === undefined) return {};
  const table = parseBoundedJson(text, json);
  return isTable(table) ? table : {};
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A metadata field with something in it: kohya writes "None" where nothing was set. */
export function field(metadata: Readonly<Record<string, string>>, key: string): string | undefined {
  const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined;
  return value === undefined || value.trim() === '' || value === 'None' || value === 'null' ? undefined : value;
}
