// The desk of what is dropped on a window: reads pictures for their settings and puts them on the shelf, so that they can be shown
// and started from by id, and looks into folders for what can be used.
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FailureError } from '../contract/failure.ts';
import type { DroppingMethods, FolderListing, ReadPicture } from '../contract/window-dropping.ts';
import type { Desk, DeskSurroundings, Handlers } from './desk.ts';

/** More than that is a mistaken folder, such as the whole disk. */
const mostEntries = 20_000;
const mostListed = 500;
const deepest = 8;
const usable = /\.(safetensors|png|jpe?g|webp|json|txt|civitai\.info)$/i;

export class DroppingDesk implements Desk<keyof DroppingMethods> {
  readonly handlers: Handlers<keyof DroppingMethods>;
  readonly #surroundings: DeskSurroundings;

  constructor(surroundings: DeskSurroundings) {
    this.#surroundings = surroundings;
    this.handlers = {
      readPicture: (source) => this.#read('id' in source ? this.#pathOf(source.id) : source.path),
      listFolder: ({ path }) => listFolder(path),
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #pathOf(id: string): string {
    const path = this.#surroundings.shelf.pathOf(id);
    if (path !== undefined) return path;
    throw new FailureError({ kind: 'bad-request', message: 'This picture is not known here any more: drop its file.' });
  }

  async #read(path: string): Promise<ReadPicture> {
    const { options, shelf } = this.#surroundings;
    if (!/\.(png|jpe?g|webp)$/i.test(path)) {
      const message = `${basename(path)} is not a PNG, JPEG or WebP picture, which are the ones that are read here.`;
      throw new FailureError({ kind: 'bad-request', message });
    }
    const report = await options.client.request('readPicture', { path });
    return { ...report, id: shelf.putFile(path), name: basename(path) };
  }
}

/** Files below `path`, hidden ones left out, linked folders once. Throws FailureError where it cannot be read. */
async function listFolder(path: string): Promise<FolderListing> {
  const visited = new Set<string>();
  const paths: string[] = [];
  let [entries, others, cut] = [0, 0, false];
  const walk = async (folder: string, depth: number): Promise<void> => {
    const real = await realpath(folder).catch(() => undefined);
    if (real === undefined || visited.has(real)) return;
    visited.add(real);
    const names = await readdir(folder).catch((): string[] => []);
    for (const name of names.sort()) {
      entries += 1;
      if (entries > mostEntries || paths.length >= mostListed) {
        cut = true;
        return;
      }
      if (name.startsWith('.')) continue;
      const file = join(folder, name);
      const found = await stat(file).catch(() => undefined);
      if (found?.isDirectory() === true && depth < deepest) await walk(file, depth + 1);
      if (found?.isFile() !== true) continue;
      if (usable.test(name)) paths.push(file);
      else others += 1;
    }
  };
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) {
    throw new FailureError({ kind: 'bad-request', message: `${path} is not a folder that can be read.` });
  }
  await walk(path, 0);
  return { paths, others, cut };
}
