// Pictures to learn from: copies in a folder of their own, so that originals are never touched, each with its caption beside it as
// `<name>.txt`, as every trainer reads it. What is in the folder is what there is; windows name pictures by id.
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { writeAtomically } from '../client/write-atomically.ts';
import { FailureError } from '../contract/failure.ts';
import type { TrainingPicture } from '../contract/window-training.ts';
import type { PictureShelf } from './picture-shelf.ts';

/** Kinds that a window can show. */
const endings: readonly string[] = ['.png', '.jpg', '.jpeg', '.webp'];
const longestCaption = 2000;
/** Bytes. */
const largest = 256 * 1024 ** 2;

const isPicture = (name: string): boolean => !name.startsWith('.') && endings.includes(extname(name).toLowerCase());
const byStem = (a: string, b: string): number =>
  new Intl.Collator('en', { numeric: true }).compare(basename(a, extname(a)), basename(b, extname(b)));
const captionFile = (path: string): string => `${path.slice(0, path.length - extname(path).length)}.txt`;

export class TrainingPictures {
  /** Absolute. */
  readonly folder: string;
  readonly #shelf: PictureShelf;

  constructor(folder: string, shelf: PictureShelf) {
    this.folder = folder;
    this.#shelf = shelf;
  }

  /** In the order of their names. */
  async list(): Promise<readonly TrainingPicture[]> {
    const names = (await readdir(this.folder).catch(() => [])).filter(isPicture).sort(byStem);
    return Promise.all(
      names.map(async (name) => {
        const path = join(this.folder, name);
        const caption = await captionOf(path);
        // Windows learn its size when they show it.
        const { id } = this.#shelf.put({ path, seed: 0, width: 0, height: 0 });
        return { id, name: basename(name, extname(name)), caption: caption ?? '' };
      }),
    );
  }

  /**
   * Copies the picture at `path`; its caption is `caption`, else what stands in the file `<name>.txt` beside it. Throws a
   * FailureError that says what is wrong with it.
   */
  async add(path: string, caption?: string): Promise<void> {
    const name = basename(path);
    if (!isPicture(name) || !(await beginsAsPicture(path))) {
      const message = `${name} was not added: it is no PNG, JPEG or WebP picture that can be read.`;
      throw new FailureError({ kind: 'bad-request', file: path, message });
    }
    const text = caption ?? (await captionOf(path)) ?? '';
    await onDisk(async () => {
      await mkdir(this.folder, { recursive: true });
      const copy = await this.#freeName(name);
      await copyFile(path, copy, constants.COPYFILE_EXCL);
      if (text !== '') await writeAtomically(captionFile(copy), text);
    });
  }

  /** Throws a FailureError for an id that is none of these pictures. */
  async caption(id: string, caption: string): Promise<void> {
    const path = captionFile(this.#pathOf(id));
    await onDisk(() => writeAtomically(path, caption));
  }

  /** Deletes the copies and their captions. */
  async remove(ids: readonly string[]): Promise<void> {
    for (const path of ids.map((id) => this.#pathOf(id))) {
      await unlink(path).catch(() => undefined);
      await unlink(captionFile(path)).catch(() => undefined);
    }
  }

  /** Copies everything to the new folder `to`, so that a training keeps what it began with. Returns the number of pictures. */
  async copyTo(to: string): Promise<number> {
    return onDisk(async () => {
      await mkdir(to, { recursive: true });
      const names = (await readdir(this.folder).catch(() => [])).filter((name) => isPicture(name));
      for (const name of names) {
        const path = join(this.folder, name);
        await copyFile(path, join(to, name));
        const caption = await captionOf(path);
        if (caption !== undefined) await writeAtomically(captionFile(join(to, name)), caption);
      }
      return names.length;
    });
  }

  #pathOf(id: string): string {
    const path = this.#shelf.pathOf(id);
    if (path === undefined || dirname(path) !== this.folder) {
      throw new FailureError({
        kind: 'bad-request',
        message: 'This picture is not there any more. Reload the window.',
      });
    }
    return path;
  }

  /** A name whose caption file is free too: `cat.png` and `cat.jpg` would share one. */
  async #freeName(name: string): Promise<string> {
    const plain = name.replace(/[\p{Cc}<>:"/\\|?*]/gu, '_');
    const [stem, ending] = [basename(plain, extname(plain)).slice(0, 120), extname(plain)];
    const taken = new Set((await readdir(this.folder)).map((other) => basename(other, extname(other))));
    for (let i = 1; i < 10_000; i++) {
      const own = i === 1 ? stem : `${stem}-${i}`;
      if (!taken.has(own)) return join(this.folder, `${own}${ending}`);
    }
    return join(this.folder, `${randomUUID()}${ending}`);
  }
}

async function captionOf(path: string): Promise<string | undefined> {
  const text = await readFile(captionFile(path), 'utf8').catch(() => undefined);
  return text?.trim().slice(0, longestCaption);
}

/** Whether the first bytes are those of a PNG, JPEG or WebP file. */
async function beginsAsPicture(path: string): Promise<boolean> {
  try {
    const { size } = await stat(path);
    if (size > largest) return false;
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(12), 0, 12, 0);
      const start = buffer.subarray(0, bytesRead).toString('latin1');
      return start.startsWith('\x89PNG') || start.startsWith('\xff\xd8\xff') || /^RIFF[\s\S]{4}WEBP/.test(start);
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

const diskWords: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: make room, then try again.',
  EDQUOT: 'The disk is full: make room, then try again.',
  EACCES: 'The folder may not be written to: check its rights.',
  EROFS: 'The folder may not be written to: check its rights.',
};

/** Does what writes; a disk that refuses becomes a FailureError 'disk'. */
export async function onDisk<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    if (code === undefined) throw error;
    const message = diskWords[code] ?? `A file could not be written (${code}). Check the disk, then try again.`;
    throw new FailureError({ kind: 'disk', message }, error);
  }
}
