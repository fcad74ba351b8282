// Where deleted pictures go, so that a slip of the hand costs nothing: a folder of the app, or the system's trash after a while in
// which they can still be brought back.
import { createHash } from 'node:crypto';
import { link, mkdir, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';

export interface PictureTrash {
  /** Throws the system's error; the picture then is where it was. */
  readonly put: (path: string) => Promise<void>;
  /** Brings a picture back to its place. Throws when it is not there any more, or its name is taken. */
  readonly takeBack: (path: string) => Promise<void>;
  /** Deletes for good; returns how many. */
  readonly empty: () => Promise<number>;
  /** How many `empty` would delete. */
  readonly count: () => Promise<number>;
  /** Does at once what was to be done later. */
  readonly settle: () => Promise<void>;
}

/** A folder on the same disk as the pictures, made when it is needed. */
export function folderTrash(folder: string): PictureTrash {
  // The name says where it came from, without a list that could be lost.
  const placeOf = (path: string): string =>
    join(folder, `${createHash('sha256').update(path).digest('hex').slice(0, 16)}-${basename(path)}`);
  const names = (): Promise<readonly string[]> => readdir(folder).catch(() => []);
  return {
    put: async (path) => {
      await mkdir(folder, { recursive: true });
      await rename(path, placeOf(path));
    },
    takeBack: async (path) => {
      await moveToFreeName(placeOf(path), path);
    },
    empty: async () => {
      const all = await names();
      for (const name of all) await rm(join(folder, name), { force: true });
      return all.length;
    },
    count: async () => (await names()).length,
    settle: () => Promise.resolve(),
  };
}

/**
 * The system's trash through `trashItem`: pictures stay in their place for `waitMs`, and can be brought back until then. `trashed`
 * is told of each that went, or could not.
 */
export function systemTrash(
  trashItem: (path: string) => Promise<void>,
  trashed: (path: string, error: unknown) => void,
  waitMs = 20_000,
): PictureTrash {
  const waiting = new Map<string, NodeJS.Timeout>();
  const go = async (path: string): Promise<void> => {
    clearTimeout(waiting.get(path));
    waiting.delete(path);
    await trashItem(path).then(
      () => {
        trashed(path, undefined);
      },
      (error: unknown) => {
        trashed(path, error);
      },
    );
  };
  return {
    put: async (path) => {
      await stat(path);
      waiting.set(
        path,
        setTimeout(() => void go(path), waitMs),
      );
    },
    takeBack: (path) => {
      const timer = waiting.get(path);
      if (timer === undefined) {
        const message = `${basename(path)} is in the system's trash: bring it back from there.`;
        return Promise.reject(new Error(message));
      }
      clearTimeout(timer);
      waiting.delete(path);
      return Promise.resolve();
    },
    empty: () => Promise.resolve(0),
    count: () => Promise.resolve(0),
    settle: async () => {
      for (const path of [...waiting.keys()]) await go(path);
    },
  };
}

/** Renames without ever replacing a file. */
async function moveToFreeName(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
    await unlink(from);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' || code === 'ENOENT') throw error;
    // No hard links on this disk.
    const taken = await stat(to).then(
      () => true,
      () => false,
    );
    if (taken) throw error;
    await rename(from, to);
  }
}
