// Small pictures by id, of LoRAs and of finished pictures: drawn by the engine when a window first asks, and kept in the state
// folder under the hash of path, size and time, so that a changed file gets a new one. An id is 122 random bits.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';

/** Draws what lies at `path` into the file `output`; false when there is no picture. */
export type DrawThumbnail = (path: string, output: string) => Promise<boolean>;

/** Some 10 KB each. */
const mostKept = 5000;
const cachedName = /^[0-9a-f]{64}\.webp$/;

export class ThumbnailShelf {
  readonly #folder: string;
  readonly #draw: DrawThumbnail;
  readonly #pathOfId = new Map<string, string>();
  readonly #idOfKey = new Map<string, string>();
  readonly #drawing = new Map<string, Promise<string | undefined>>();
  /** Those without a picture, until the program ends. */
  readonly #none = new Set<string>();
  #last: Promise<unknown> = Promise.resolve();

  /** Keeps its files in `folder`, which is made when it is first needed. */
  constructor(folder: string, draw: DrawThumbnail) {
    this.#folder = folder;
    this.#draw = draw;
  }

  /** The id of the thumbnail of the file at `path`; another `stamp`, such as the time of the file, gets another id. */
  put(path: string, stamp = ''): string {
    const key = `${stamp}\0${path}`;
    const id = this.#idOfKey.get(key) ?? randomUUID();
    this.#idOfKey.set(key, id);
    this.#pathOfId.set(id, path);
    return id;
  }

  /** Where the thumbnail lies, drawn first when it has to be; undefined for an unknown id, and when there is no picture. */
  async pathOf(id: string): Promise<string | undefined> {
    const path = this.#pathOfId.get(id);
    const found = path === undefined ? undefined : await stat(path).catch(() => undefined);
    if (path === undefined || found === undefined) return undefined;
    const key = createHash('sha256').update(`${path}\0${found.size}\0${found.mtimeMs}`).digest('hex');
    if (this.#none.has(key)) return undefined;
    const drawing = this.#drawing.get(key) ?? this.#find(key, path).finally(() => this.#drawing.delete(key));
    this.#drawing.set(key, drawing);
    return drawing;
  }

  async #find(key: string, path: string): Promise<string | undefined> {
    const output = join(this.#folder, `${key}.webp`);
    const now = new Date();
    // The time says when it was last wanted.
    const known = await utimes(output, now, now).then(
      () => true,
      () => false,
    );
    if (known) return output;
    // One at a time: a gallery asks for hundreds at once.
    const drawn = this.#last.then(async () => {
      await mkdir(this.#folder, { recursive: true });
      return this.#draw(path, output);
    });
    this.#last = drawn.catch(() => undefined);
    if (await drawn.catch(() => false)) return output;
    this.#none.add(key);
    return undefined;
  }

  /** Deletes those that were not wanted for longest, beyond 5000. */
  async trim(): Promise<void> {
    const names = (await readdir(this.#folder).catch(() => [])).filter((name) => cachedName.test(name));
    if (names.length <= mostKept) return;
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#folder, name);
        return { path, time: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0 };
      }),
    );
    files.sort((a, b) => b.time - a.time);
    for (const { path } of files.slice(mostKept)) await unlink(path).catch(() => undefined);
  }
}
