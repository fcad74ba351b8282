// An export of pictures: how they are written, remembered for the next time, how far it is, and what came of it.
import type { PictureFormat } from '../../src-main/contract/generation.ts';
import type { ExportResult, GalleryPicture } from '../../src-main/contract/window-gallery.ts';
import { pictureAddress } from '../bridge.ts';
import { connection } from './connection.svelte.ts';

export interface ExportChoices {
  readonly format: PictureFormat;
  readonly quality: number;
  readonly lossless: boolean;
  readonly metadata: boolean;
  readonly pattern: string;
  /** In a browser: fetched by it, or written on the machine of the host. */
  readonly place: 'download' | 'folder';
  readonly folder: string;
}

const key = 'mole-atelier-export-v1';
const defaults: ExportChoices = {
  format: 'jpeg',
  quality: 90,
  lossless: false,
  metadata: false,
  pattern: '[name]',
  place: 'download',
  folder: '',
};

/** Milliseconds between two downloads: a browser drops those that come at once. */
const betweenDownloadsMs = 150;

class Exporting {
  #choices = $state.raw<ExportChoices>(stored());
  #progress = $state.raw<{ readonly done: number; readonly total: number }>();
  #result = $state.raw<ExportResult>();

  constructor() {
    connection.onNews((news) => {
      if (news.kind === 'gallery-export' && this.#progress !== undefined) {
        this.#progress = { done: news.done, total: news.total };
      }
    });
  }

  get choices(): ExportChoices {
    return this.#choices;
  }

  /** Undefined while nothing is exported. */
  get progress(): { readonly done: number; readonly total: number } | undefined {
    return this.#progress;
  }

  /** Of the last export. */
  get result(): ExportResult | undefined {
    return this.#result;
  }

  set(change: Partial<ExportChoices>): void {
    this.#choices = { ...this.#choices, ...change };
    localStorage.setItem(key, JSON.stringify(this.#choices));
  }

  /** Forgets what came of the last one. */
  begin(): void {
    this.#result = undefined;
  }

  async chooseFolder(): Promise<void> {
    const folder = await connection.attempt(() => connection.request('chooseFolder', {}));
    if (folder !== undefined && folder !== null) this.set({ folder });
  }

  async run(pictures: readonly GalleryPicture[]): Promise<void> {
    const { format, quality, lossless, metadata, pattern, place, folder } = this.#choices;
    const toFolder = place === 'folder' || connection.welcome?.place === 'desktop';
    this.#progress = { done: 0, total: pictures.length };
    this.#result = await connection.attempt(() =>
      connection.request('exportPictures', {
        ids: pictures.map(({ id }) => id),
        format,
        quality,
        lossless,
        metadata,
        pattern: pattern.trim() === '' ? defaults.pattern : pattern,
        ...(toFolder ? { folder } : {}),
      }),
    );
    this.#progress = undefined;
    if (toFolder) return;
    for (const { id, name } of this.#result?.exported ?? []) {
      download(pictureAddress(id), name);
      await new Promise((resolve) => setTimeout(resolve, betweenDownloadsMs));
    }
  }

  async cancel(): Promise<void> {
    await connection.attempt(() => connection.request('cancelExport', {}));
  }
}

function download(address: string, name: string): void {
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
}

function stored(): ExportChoices {
  try {
    const value = JSON.parse(localStorage.getItem(key) ?? '{}') as Partial<ExportChoices>;
    const kept = Object.entries(value).filter(
      ([name, field]) => Object.hasOwn(defaults, name) && typeof field === typeof defaults[name as keyof ExportChoices],
    );
    return { ...defaults, ...Object.fromEntries(kept) };
  } catch {
    return defaults;
  }
}

export const exporting = new Exporting();
