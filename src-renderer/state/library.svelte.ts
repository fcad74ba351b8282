// The library as the host tells it, and what of it is looked for.
import type { ExpertPlace, LibraryCard, LibraryFolder, MissingExpert } from '../../src-main/contract/window-library.ts';
import { thumbnailAddress } from '../bridge.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { studio } from './studio.svelte.ts';

export type LibrarySort = keyof typeof strings.library.sorts;

export interface LibrarySearch {
  readonly text: string;
  readonly kind: LibraryCard['kind'] | undefined;
  readonly place: ExpertPlace | undefined;
  readonly tags: readonly string[];
  readonly onlyFitting: boolean;
  readonly onlyFavourites: boolean;
  readonly sort: LibrarySort;
}

const noSearch: LibrarySearch = {
  text: '',
  kind: undefined,
  place: undefined,
  tags: [],
  onlyFitting: false,
  onlyFavourites: false,
  sort: 'name',
};

class Library {
  #cards = $state.raw<readonly LibraryCard[]>([]);
  #folders = $state.raw<readonly LibraryFolder[]>([]);
  #missing = $state.raw<readonly MissingExpert[]>([]);
  #reading = $state(0);
  #search = $state.raw(noSearch);
  #opened = $state(false);
  /** Addresses of the pictures of rows, by path; null where there is none. */
  #pictures = $state.raw<Readonly<Record<string, string | null>>>({});

  constructor() {
    connection.onWelcome(() => {
      if (this.#opened) void this.open();
    });
    connection.onNews((news) => {
      if (news.kind === 'job' && news.job.failure?.file !== undefined) void this.#lookFor(news.job.failure.file);
      if (news.kind !== 'library') return;
      for (const path of news.gone) studio.experts.markMissing(path, true);
      for (const { path } of news.changed) studio.experts.markMissing(path, false);
      if (!this.#opened) return;
      const gone = new Set(news.gone);
      const changed = new Map(news.changed.map((card) => [card.path, card]));
      const kept = this.#cards.filter(({ path }) => !gone.has(path)).map((card) => changed.get(card.path) ?? card);
      const known = new Set(kept.map(({ path }) => path));
      this.#cards = [...kept, ...news.changed.filter(({ path }) => !known.has(path))];
      this.#folders = news.folders;
      this.#missing = news.missing;
      this.#reading = news.reading;
    });
  }

  /** A file that a drawing could not use: whether it is there at all. */
  async #lookFor(path: string): Promise<void> {
    if (!studio.experts.rows.some((row) => row.path === path)) return;
    const there = await connection.request('inspect', { path }).catch(() => undefined);
    studio.experts.markMissing(path, there === undefined);
  }

  get folders(): readonly LibraryFolder[] {
    return this.#folders;
  }

  /** Marked files that are in no folder; empty while files are still being read. */
  get missing(): readonly MissingExpert[] {
    return this.#reading === 0 ? this.#missing : [];
  }

  /** Files that are still to be read. */
  get reading(): number {
    return this.#reading;
  }

  /** Whether the library has been asked for once. */
  get opened(): boolean {
    return this.#opened;
  }

  get search(): LibrarySearch {
    return this.#search;
  }

  /** Of all that could be used; what cannot shows under its own kind. */
  readonly usable: number = $derived(this.#cards.filter(isExpert).length);

  readonly isSearching: boolean = $derived(
    JSON.stringify({ ...this.#search, sort: '' }) !== JSON.stringify({ ...noSearch, sort: '' }),
  );

  /** Tags of all cards, most frequent first; those of the artist before others. */
  readonly tags: readonly string[] = $derived.by(() => {
    const counts: Record<string, number> = Object.create(null) as Record<string, number>;
    for (const card of this.#cards) {
      for (const tag of card.tags) counts[tag] = (counts[tag] ?? 0) + 1000;
      for (const tag of card.ownTags) counts[tag] = (counts[tag] ?? 0) + 1;
    }
    return Object.entries(counts)
      .sort(([a, x], [b, y]) => y - x || compare(a, b))
      .map(([tag]) => tag);
  });

  readonly kinds: readonly LibraryCard['kind'][] = $derived(
    (Object.keys(strings.library.kinds) as LibraryCard['kind'][]).filter((kind) =>
      this.#cards.some((card) => card.kind === kind),
    ),
  );

  readonly found: readonly LibraryCard[] = $derived.by(() => {
    const { text, kind, place, tags, onlyFitting, onlyFavourites, sort } = this.#search;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return this.#cards
      .filter(
        (card) =>
          (kind === undefined ? isExpert(card) : card.kind === kind) &&
          (place === undefined || card.place === place) &&
          (!onlyFitting || card.fits) &&
          (!onlyFavourites || card.favourite) &&
          tags.every((tag) => card.tags.includes(tag) || card.ownTags.includes(tag)) &&
          words.every((word) => textOf(card).includes(word)),
      )
      .sort(orders[sort]);
  });

  /** Asks for everything, compared with the model that is drawn with. */
  async open(model = studio.order.comparedWith()): Promise<void> {
    this.#opened = true;
    const contents = await connection.attempt(() => connection.request('library', model));
    if (contents === undefined) return;
    this.#cards = contents.cards;
    this.#folders = contents.folders;
    this.#missing = contents.missing;
    this.#reading = contents.reading;
  }

  look(change: Partial<LibrarySearch>): void {
    this.#search = { ...this.#search, ...change };
  }

  clear(): void {
    this.#search = { ...noSearch, sort: this.#search.sort };
  }

  toggleTag(tag: string): void {
    const { tags } = this.#search;
    this.look({ tags: tags.includes(tag) ? tags.filter((other) => other !== tag) : [...tags, tag] });
  }

  /** Whether the folder was added. */
  async addFolder(path: string): Promise<boolean> {
    return (await connection.attempt(() => connection.request('addLibraryFolder', { path }))) !== undefined;
  }

  /** Lets the artist choose a folder, where the system has a dialog for it. */
  async chooseFolder(): Promise<void> {
    const path = await connection.attempt(() => connection.request('chooseFolder', {}));
    if (path !== undefined && path !== null) await this.addFolder(path);
  }

  async removeFolder(path: string): Promise<void> {
    await connection.attempt(() => connection.request('removeLibraryFolder', { path }));
  }

  async refresh(): Promise<void> {
    await connection.attempt(() => connection.request('refreshLibrary', {}));
  }

  async mark(
    { path }: LibraryCard,
    change: { readonly favourite?: boolean; readonly tags?: string[]; readonly notes?: string },
  ): Promise<void> {
    const marked = await connection.attempt(() => connection.request('markExpert', { path, ...change }));
    if (marked === undefined) return;
    this.#cards = this.#cards.map((card) => (card.path === path ? marked : card));
  }

  async forget({ hash }: MissingExpert): Promise<void> {
    await connection.attempt(() => connection.request('forgetExpert', { hash }));
  }

  thumbnailAddress(id: string): string {
    return thumbnailAddress(id);
  }

  /** Address of the picture of the LoRA at `path`, once it is known; asks for it the first time. */
  pictureOf(path: string): string | undefined {
    return this.#pictures[path] ?? undefined;
  }

  /** Asks for the pictures of these LoRAs that are not known yet. */
  async askPictures(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      if (path in this.#pictures) continue;
      this.#pictures = { ...this.#pictures, [path]: null };
      // Without a picture there is a tile.
      const found = await connection.request('expertPicture', { path }).catch(() => undefined);
      if (found?.id !== undefined) this.#pictures = { ...this.#pictures, [path]: thumbnailAddress(found.id) };
    }
  }
}

const isExpert = ({ kind }: LibraryCard): boolean => kind !== 'other' && kind !== 'refused';

/** What a search looks in. */
const texts = new WeakMap<LibraryCard, string>();
function textOf(card: LibraryCard): string {
  const known = texts.get(card);
  if (known !== undefined) return known;
  const { name, below, title, author, description, triggerWords, tags, ownTags, notes, base } = card;
  const all = [name, below, title, author, description, notes, base, ...triggerWords, ...tags, ...ownTags];
  const text = all.join('\n').toLowerCase();
  texts.set(card, text);
  return text;
}

/** Made once: a comparison of its own for every pair would take half a second for a thousand files. */
const { compare } = new Intl.Collator(undefined, { numeric: true });

const byName = (a: LibraryCard, b: LibraryCard): number => compare(a.name, b.name) || compare(a.path, b.path);

const orders: Readonly<Record<LibrarySort, (a: LibraryCard, b: LibraryCard) => number>> = {
  name: byName,
  newest: (a, b) => b.modifiedMs - a.modifiedMs || byName(a, b),
  largest: (a, b) => b.bytes - a.bytes || byName(a, b),
  folder: (a, b) => compare(a.place, b.place) || compare(a.below, b.below) || byName(a, b),
};

export const library = new Library();
