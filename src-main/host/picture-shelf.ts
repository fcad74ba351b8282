// Finished pictures by id: a window asks for an id, and only what the queue has drawn has one. An id is 122 random bits, so
// it cannot be guessed, and it names nothing but its picture.
import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import type { FinishedPicture } from '../contract/generation.ts';
import type { WindowPicture } from '../contract/window-drawing.ts';
import type { ThumbnailShelf } from './thumbnail-shelf.ts';

export class PictureShelf {
  /** Small pictures, of these and of LoRAs; undefined where nobody draws them. */
  readonly thumbnails: ThumbnailShelf | undefined;
  readonly #pathOfId = new Map<string, string>();
  readonly #idOfPath = new Map<string, string>();

  constructor(thumbnails?: ThumbnailShelf) {
    this.thumbnails = thumbnails;
  }

  /** The picture as a window knows it; the same picture keeps its id. */
  put({ path, ...rest }: FinishedPicture): WindowPicture {
    return { id: this.putFile(path), name: basename(path), ...rest };
  }

  /** The id of a picture file of which no more is known, such as a dropped one. */
  putFile(path: string): string {
    const id = this.#idOfPath.get(path) ?? randomUUID();
    this.#idOfPath.set(path, id);
    this.#pathOfId.set(id, path);
    return id;
  }

  /** Where the picture lies; undefined for an id that was never given. */
  pathOf(id: string): string | undefined {
    return this.#pathOfId.get(id);
  }
}
