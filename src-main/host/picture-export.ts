// Copies of pictures in another format, one after the other by the engine: into a folder of the artist's, or into one of the app's
// from which a window fetches them by id. Files are never replaced; one that fails does not stop the others.
import { randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { EngineClient } from '../client/engine-client.ts';
import { FailureError, type Failure } from '../contract/failure.ts';
import type { PictureFormat } from '../contract/generation.ts';
import type { ExportResult } from '../contract/window-gallery.ts';
import type { WindowPicture } from '../contract/window-drawing.ts';
import type { DeskSurroundings } from './desk.ts';

export interface ExportOrder {
  readonly format: PictureFormat;
  readonly quality: number;
  readonly lossless: boolean;
  readonly metadata: boolean;
  readonly pattern: string;
  readonly folder?: string | undefined;
}

/** Milliseconds that files stay for a window to fetch. */
const keptMs = 24 * 3_600_000;

export class PictureExport {
  readonly #engine: EngineClient;
  readonly #surroundings: DeskSurroundings;
  readonly #ownFolder: string;
  #running: AbortController | undefined;

  /** Files for windows go below `ownFolder`. */
  constructor(engine: EngineClient, surroundings: DeskSurroundings, ownFolder: string) {
    this.#engine = engine;
    this.#surroundings = surroundings;
    this.#ownFolder = ownFolder;
  }

  /** Exports the pictures at `paths`. Rejects with a FailureError while another export runs, and when the disk is full. */
  async run(paths: readonly string[], { folder, ...how }: ExportOrder): Promise<ExportResult> {
    if (this.#running !== undefined) {
      const message = 'Pictures are being exported already: wait until that is done, or cancel it.';
      throw new FailureError({ kind: 'bad-request', message });
    }
    const controller = new AbortController();
    this.#running = controller;
    const exported: WindowPicture[] = [];
    const failed: { readonly name: string; readonly message: string }[] = [];
    try {
      await this.#forget();
      const target = folder ?? join(this.#ownFolder, randomUUID());
      for (const [i, path] of paths.entries()) {
        if (controller.signal.aborted) break;
        try {
          const written = await this.#engine.request('exportPicture', { ...how, path, folder: target, index: i + 1 });
          exported.push(this.#surroundings.shelf.put(written));
        } catch (error) {
          // What is wrong with one picture may not be with the next; a disk or folder that refuses will refuse again.
          if (error instanceof FailureError && concernsTarget(error.failure, target)) throw error;
          failed.push({ name: basename(path), message: error instanceof Error ? error.message : String(error) });
        }
        this.#surroundings.tell({ kind: 'gallery-export', done: i + 1, total: paths.length });
      }
      const cancelled = controller.signal.aborted;
      return { exported, failed, cancelled, ...(folder === undefined ? {} : { folder }) };
    } finally {
      this.#running = undefined;
    }
  }

  /** Stops after the picture in work. */
  cancel(): void {
    this.#running?.abort();
  }

  /** Removes what was exported for windows a day ago. */
  async #forget(): Promise<void> {
    for (const name of await readdir(this.#ownFolder).catch(() => [])) {
      const path = join(this.#ownFolder, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && Date.now() - found.mtimeMs > keptMs) await rm(path, { recursive: true, force: true });
    }
  }
}

const concernsTarget = ({ kind, file }: Failure, target: string): boolean =>
  kind === 'disk' || kind === 'crashed' || (file !== undefined && file !== '' && target.startsWith(file));
