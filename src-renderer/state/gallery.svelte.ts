// The gallery: pictures that fit the search, page by page, which are chosen, and what is done with them.
import type { GalleryDetails, GalleryPicture } from '../../src-main/contract/window-gallery.ts';
import type { News } from '../../src-main/contract/window.ts';
import { pictureAddress, thumbnailAddress } from '../bridge.ts';
import { connection } from './connection.svelte.ts';
import { dropping } from './dropping.svelte.ts';
import { navigation } from './navigation.svelte.ts';
import { restoring } from './restoring.svelte.ts';
import { studio } from './studio.svelte.ts';

/** Milliseconds without a key before the search begins. */
const searchAfterMs = 180;
const pageSize = 200;
/** Milliseconds after which a desktop's own trash has a picture (less than the host waits). */
const undoMs = 18_000;
const sizeKey = 'mole-atelier-gallery-size';

export interface GalleryFilter {
  readonly text: string;
  readonly favourites: boolean;
  /** Undefined takes any. */
  readonly expert: string | undefined;
}

/** What a press on a picture does: choose it alone, in or out, or all from the last one to it. */
export type Choosing = 'only' | 'toggle' | 'range';

const everything: GalleryFilter = { text: '', favourites: false, expert: undefined };

class Gallery {
  #filter = $state.raw<GalleryFilter>(everything);
  #pictures = $state.raw<readonly GalleryPicture[]>([]);
  #total = $state<number>();
  #trashed = $state(0);
  #experts = $state.raw<readonly string[]>([]);
  #chosen = $state.raw<ReadonlySet<string>>(new Set());
  #current = $state(0);
  #details = $state.raw<GalleryDetails>();
  #deleted = $state.raw<readonly string[]>([]);
  #size = $state(storedSize());
  #next: number | undefined;
  #loading: Promise<void> | undefined;
  /** Answers of an older search are not wanted any more. */
  #search = 0;
  #anchor = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #undoTimer: ReturnType<typeof setTimeout> | undefined;
  #opened = false;

  constructor() {
    connection.onNews((news) => {
      if (this.#opened) this.#hear(news);
    });
    connection.onWelcome(() => {
      // Ids of another run of the app mean nothing now.
      if (this.#opened) void this.search();
    });
  }

  get filter(): GalleryFilter {
    return this.#filter;
  }

  /** Those loaded so far, newest first. */
  get pictures(): readonly GalleryPicture[] {
    return this.#pictures;
  }

  /** Of all that fit; undefined before the first answer. */
  get total(): number | undefined {
    return this.#total;
  }

  /** In the app's own trash. */
  get trashed(): number {
    return this.#trashed;
  }

  /** Names of experts to filter by, the most used first. */
  get experts(): readonly string[] {
    return this.#experts;
  }

  get chosen(): ReadonlySet<string> {
    return this.#chosen;
  }

  /** Chosen pictures in their order. */
  readonly chosenPictures: readonly GalleryPicture[] = $derived(
    this.#pictures.filter(({ id }) => this.#chosen.has(id)),
  );

  /** Place of the picture that the keyboard is at. */
  get current(): number {
    return this.#current;
  }

  /** Of the picture that is chosen alone. */
  get details(): GalleryDetails | undefined {
    const [only] = this.chosenPictures;
    return this.#chosen.size === 1 && this.#details?.picture.id === only?.id ? this.#details : undefined;
  }

  /** Pictures whose deletion can be undone. */
  get deleted(): readonly string[] {
    return this.#deleted;
  }

  /** Pixels of a picture's frame. */
  get size(): number {
    return this.#size;
  }

  setSize(size: number): void {
    this.#size = size;
    localStorage.setItem(sizeKey, String(size));
  }

  readonly thumbnailAddress = thumbnailAddress;
  readonly pictureAddress = pictureAddress;

  /** Shows what there is, when the view is first seen. */
  open(): void {
    if (this.#opened) return;
    this.#opened = true;
    void this.search();
  }

  /** Narrows or widens what is shown; typed words are waited for. */
  setFilter(change: Partial<GalleryFilter>): void {
    this.#filter = { ...this.#filter, ...change };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.search(), change.text === undefined ? 0 : searchAfterMs);
  }

  showAll(): void {
    this.setFilter(everything);
  }

  /** Looks anew; what is chosen stays chosen where it still fits. */
  async search(): Promise<void> {
    const search = ++this.#search;
    await connection.attempt(async () => {
      const page = await connection.request('searchPictures', { ...this.#params(), limit: pageSize });
      if (search !== this.#search) return;
      this.#pictures = page.pictures;
      this.#next = page.next;
      this.#total = page.total ?? page.pictures.length;
      this.#trashed = page.trashed ?? 0;
      this.#loading = undefined;
      const kept = new Set(page.pictures.map(({ id }) => id).filter((id) => this.#chosen.has(id)));
      this.#chosen = kept;
      this.#current = Math.max(0, Math.min(this.#current, page.pictures.length - 1));
      this.#experts = await connection.request('pictureExperts', {});
    });
  }

  /** Loads pages until the picture at `place` is there, or there are no more. */
  async need(place: number): Promise<void> {
    while (place >= this.#pictures.length && this.#next !== undefined) {
      this.#loading ??= this.#loadPage();
      await this.#loading;
    }
  }

  async #loadPage(): Promise<void> {
    const search = this.#search;
    await connection.attempt(async () => {
      const page = await connection.request('searchPictures', {
        ...this.#params(),
        limit: 500,
        ...(this.#next === undefined ? {} : { before: this.#next }),
      });
      if (search !== this.#search) return;
      this.#pictures = [...this.#pictures, ...page.pictures];
      this.#next = page.next;
    });
    this.#loading = undefined;
  }

  /** Chooses the picture at `place`, or the one nearest to it, once it is loaded. */
  async reach(place: number, how: Choosing): Promise<void> {
    const wanted = Math.max(0, Math.min(place, (this.#total ?? 1) - 1));
    if (wanted >= this.#pictures.length) await this.need(wanted);
    this.choose(Math.min(wanted, this.#pictures.length - 1), how);
  }

  choose(place: number, how: Choosing): void {
    const picture = this.#pictures[place];
    if (picture === undefined) return;
    this.#current = place;
    if (how === 'range') {
      const [from, to] = [Math.min(this.#anchor, place), Math.max(this.#anchor, place)];
      this.#chosen = new Set(this.#pictures.slice(from, to + 1).map(({ id }) => id));
    } else {
      this.#anchor = place;
      const others = how === 'toggle' ? [...this.#chosen].filter((id) => id !== picture.id) : [];
      const out = how === 'toggle' && this.#chosen.has(picture.id);
      this.#chosen = new Set(out ? others : [...others, picture.id]);
    }
    void this.#describe();
  }

  async chooseAll(): Promise<void> {
    await this.need((this.#total ?? 1) - 1);
    this.#chosen = new Set(this.#pictures.map(({ id }) => id));
  }

  chooseNone(): void {
    this.#chosen = new Set();
  }

  /** Details of a picture; undefined when they cannot be had, which is said. */
  detailsOf(id: string): Promise<GalleryDetails | undefined> {
    return connection.attempt(() => connection.request('pictureDetails', { id }));
  }

  /** Makes favourites of the chosen pictures; when all of them are, takes that back. */
  async toggleFavourite(): Promise<void> {
    const pictures = this.chosenPictures;
    if (pictures.length === 0) return;
    const favourite = !pictures.every((picture) => picture.favourite);
    const ids = pictures.map(({ id }) => id);
    await connection.attempt(() => connection.request('setFavourite', { ids, favourite }));
  }

  /** Moves the chosen pictures to the trash; `undo` brings them back. */
  async delete(): Promise<void> {
    const ids = this.chosenPictures.map(({ id }) => id);
    if (ids.length === 0) return;
    const deleted = await connection.attempt(() => connection.request('trashPictures', { ids }));
    if (deleted === undefined) return;
    this.#deleted = ids;
    if (connection.welcome?.place !== 'desktop') {
      this.#trashed += ids.length;
      return;
    }
    clearTimeout(this.#undoTimer);
    this.#undoTimer = setTimeout(() => {
      this.forgetUndo();
    }, undoMs);
  }

  async undo(): Promise<void> {
    const ids = this.#deleted;
    this.#deleted = [];
    await connection.attempt(() => connection.request('untrashPictures', { ids: [...ids] }));
  }

  forgetUndo(): void {
    this.#deleted = [];
  }

  async emptyTrash(): Promise<void> {
    this.#deleted = [];
    await connection.attempt(() => connection.request('emptyTrash', {}));
  }

  /** Puts the settings of a picture into the form, and shows it. */
  async restore({ picture, order, from }: GalleryDetails): Promise<void> {
    if (from === 'none' && order !== undefined) {
      const job = { id: '', order: { ...order, seed: picture.seed }, state: 'done', pictures: [] } as const;
      await restoring.restoreJob(job, picture.seed, picture.name);
    } else {
      await restoring.restorePicture({ id: picture.id }, (found) => {
        dropping.ask(found);
      });
    }
    navigation.show('draw');
  }

  startFrom({ id, name }: GalleryPicture): void {
    studio.extras.startFrom({ id, name });
    navigation.show('draw');
  }

  async reveal({ id }: GalleryPicture): Promise<void> {
    await connection.attempt(() => connection.request('revealPicture', { id }));
  }

  /** Goes on with a drag that began in the window: the system takes it over. */
  async dragOut(ids: readonly string[]): Promise<void> {
    await connection.attempt(() => connection.request('dragPictures', { ids: [...ids] }));
  }

  #params(): { text: string; favourites: boolean; expert?: string } {
    const { text, favourites, expert } = this.#filter;
    return { text, favourites, ...(expert === undefined ? {} : { expert }) };
  }

  async #describe(): Promise<void> {
    const [only, ...others] = this.chosenPictures;
    if (only === undefined || others.length > 0) return;
    const details = await this.detailsOf(only.id);
    if (details !== undefined && this.#chosen.has(details.picture.id)) this.#details = details;
  }

  #hear(news: News): void {
    switch (news.kind) {
      case 'gallery-pictures':
        this.#hearPictures(news.pictures);
        return;
      case 'gallery-favourite': {
        const ids = new Set(news.ids);
        const { favourite } = news;
        this.#pictures = this.#pictures.map((picture) => (ids.has(picture.id) ? { ...picture, favourite } : picture));
        if (this.#details !== undefined && ids.has(this.#details.picture.id)) {
          this.#details = { ...this.#details, picture: { ...this.#details.picture, favourite } };
        }
        return;
      }
      case 'gallery-gone': {
        const ids = new Set(news.ids);
        const before = this.#pictures.length;
        this.#pictures = this.#pictures.filter(({ id }) => !ids.has(id));
        this.#total = (this.#total ?? before) - (before - this.#pictures.length);
        this.#chosen = new Set([...this.#chosen].filter((id) => !ids.has(id)));
        this.#current = Math.max(0, Math.min(this.#current, this.#pictures.length - 1));
        return;
      }
      case 'gallery-changed':
        void this.search();
    }
  }

  #hearPictures(news: readonly GalleryPicture[]): void {
    const known = new Map(news.map((picture) => [picture.id, picture]));
    const unseen = news.filter(({ id }) => !this.#pictures.some((picture) => picture.id === id));
    const { text, favourites, expert } = this.#filter;
    this.#pictures = this.#pictures.map((picture) => known.get(picture.id) ?? picture);
    if (unseen.length === 0) return;
    const [newest] = this.#pictures;
    const plain = text === '' && !favourites && expert === undefined;
    if (plain && unseen.every(({ date }) => newest === undefined || date >= newest.date)) {
      this.#pictures = [...unseen.toSorted((a, b) => b.date - a.date), ...this.#pictures];
      this.#total = (this.#total ?? 0) + unseen.length;
      // The keyboard stays at its picture.
      if (this.#chosen.size > 0) this.#current += unseen.length;
    } else {
      void this.search();
    }
  }
}

function storedSize(): number {
  const size = Number(localStorage.getItem(sizeKey));
  return size >= 96 && size <= 320 ? size : 176;
}

export const gallery = new Gallery();
