// What the library keeps of a file's report: what a card shows and what a search finds, and no more, so that the index of a thousand
// files stays small. Texts are a stranger's: shortened here, shown as text everywhere.
import type { FileReport } from '../contract/files.ts';
import type { LibraryCard } from '../contract/window-library.ts';

/** The part of a card that the file itself says. */
type ShownFacts = Pick<
  LibraryCard,
  'kind' | 'summary' | 'base' | 'algorithms' | 'ranks' | 'title' | 'author' | 'description' | 'triggerWords' | 'ownTags'
>;

export interface CardFacts {
  readonly shown: ShownFacts;
  /** Whether it has a picture. */
  readonly picture: boolean;
  /** AutoV3 as the file itself says; it may be wrong. */
  readonly claimedHash?: string;
}

const longestDescription = 400;
const mostTags = 24;
const longestTag = 60;

/** What a card says of a pickled file, which is never opened. */
export const refusedFacts: CardFacts = {
  shown: { kind: 'refused', summary: 'A pickled PyTorch file.', algorithms: [], triggerWords: [], ownTags: [] },
  picture: false,
};

export const refusedReason =
  'Files of this kind can run code when they are read, so they are not opened. Look for the .safetensors version, or convert it ' +
  'in a program that you trust.';

/** What a card says of a file that could not be read; `problem` says why. */
export const unreadableFacts: CardFacts = {
  shown: { ...refusedFacts.shown, kind: 'other', summary: 'A file that cannot be used.' },
  picture: false,
};

export function factsOf({ kind, summary, base, adapter, metadata }: FileReport): CardFacts {
  const description = adapter?.description?.slice(0, longestDescription);
  const hash = metadata['sshs_model_hash']?.toLowerCase();
  const shown: ShownFacts = {
    kind: kind === 'lora' || kind === 'gate' || kind === 'embedding' ? kind : 'other',
    summary: summary.slice(0, longestDescription),
    ...(base === undefined ? {} : { base }),
    algorithms: adapter?.algorithms ?? [],
    ...(adapter?.ranks === undefined ? {} : { ranks: adapter.ranks }),
    ...(adapter?.title === undefined ? {} : { title: adapter.title }),
    ...(adapter?.author === undefined ? {} : { author: adapter.author }),
    ...(description === undefined ? {} : { description }),
    triggerWords: (adapter?.triggerWords ?? []).slice(0, mostTags).map((word) => word.slice(0, longestTag)),
    ownTags: tagsOf(metadata),
  };
  return {
    shown,
    picture: adapter?.thumbnail !== undefined,
    ...(hash !== undefined && /^[0-9a-f]{64}$/.test(hash) ? { claimedHash: hash } : {}),
  };
}

/** Why the file cannot be used with the model that it was compared with; undefined when it can. */
export function reasonOf({ kind, adapter, problems, summary }: FileReport): string | undefined {
  if (kind === 'gate' || kind === 'embedding') return problems[0];
  if (kind === 'lora' && adapter !== undefined && adapter.modulesMatched > 0) return undefined;
  return problems[0] ?? `It is no LoRA: ${summary}`;
}

/** Tags between commas in the fields that tools write them to. */
function tagsOf(metadata: FileReport['metadata']): readonly string[] {
  const texts = ['modelspec.tags', 'ssmd_tags', 'ssmd_keywords'].map((key) => metadata[key]?.slice(0, 4000) ?? '');
  const tags = texts.flatMap((text) => text.split(',').map((tag) => tag.trim().slice(0, longestTag)));
  return [...new Set(tags.filter((tag) => tag !== '' && tag !== 'None'))].slice(0, mostTags);
}
