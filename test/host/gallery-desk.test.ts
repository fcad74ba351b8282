// The gallery behind the windows, with the real engine: pictures that are recorded, found after a crash, thrown away and brought
// back, and exported.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import type { GenerateRequest } from '../../src-main/contract/generation.ts';
import type { News } from '../../src-main/contract/window.ts';
import type { GalleryPicture } from '../../src-main/contract/window-gallery.ts';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import type { DesktopServices } from '../../src-main/host/desk.ts';
import { GalleryDesk } from '../../src-main/host/gallery-desk.ts';
import { PictureShelf } from '../../src-main/host/picture-shelf.ts';
import { paintPicture } from '../support/painted-picture.ts';

const engineEntry = resolve(import.meta.dirname, '../../out/main/engine.js');

let root: string;
let pictures: string;
let open: GalleryDesk[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'atelier-gallery-'));
  pictures = join(root, 'pictures');
  mkdirSync(pictures);
  open = [];
});
afterEach(async () => {
  for (const desk of open) await desk.close();
  rmSync(root, { recursive: true, force: true });
});

interface Gallery {
  readonly desk: GalleryDesk;
  readonly news: News[];
  readonly shelf: PictureShelf;
  /** Names of the files that a search finds. */
  readonly find: (text?: string, more?: { favourites?: boolean; expert?: string }) => Promise<readonly string[]>;
  readonly pictureOf: (name: string) => Promise<GalleryPicture>;
}

async function openGallery(desktop?: DesktopServices): Promise<Gallery> {
  const news: News[] = [];
  const shelf = new PictureShelf();
  const client = new EngineClient({ spawn: forkedEngine(engineEntry) });
  const options = {
    client,
    trainingClient: client,
    folder: pictures,
    stateFolder: join(root, 'state'),
    place: 'browser' as const,
    version: '0',
    model: undefined,
    bundled: [],
    ...(desktop === undefined ? {} : { desktop }),
  };
  const desk = await GalleryDesk.open({ options, shelf, tell: (said) => news.push(said) }, client);
  open.push(desk);
  await desk.idle();
  const search = async (text: string, more: object): Promise<readonly GalleryPicture[]> =>
    (await desk.handlers.searchPictures({ text, favourites: false, limit: 200, ...more })).pictures;
  return {
    desk,
    news,
    shelf,
    find: async (text = '', more = {}) => (await search(text, more)).map(({ name }) => name),
    pictureOf: async (name) => (await search('', {})).find((picture) => picture.name === name)!,
  };
}

async function closeGallery({ desk }: Gallery): Promise<void> {
  open = open.filter((other) => other !== desk);
  await desk.close();
}

const order = (prompt: string): GenerateRequest => ({
  model: '/models/atelier-mini',
  prompt,
  mix: { experts: [{ path: '/loras/ink.safetensors' }] },
  output: { folder: pictures },
});

describe('a finished picture', () => {
  it('is in the gallery at once, with its order, and with all that its file says a moment later', async () => {
    const gallery = await openGallery();
    const path = join(pictures, 'fox.png');
    await paintPicture(path, { prompt: 'a fox', seed: 7, experts: ['ink'] });
    gallery.desk.record({ path, seed: 7, width: 96, height: 96 }, order('a fox'));
    expect(await gallery.find('ink')).toEqual(['fox.png']);
    await gallery.desk.idle();
    const { id } = await gallery.pictureOf('fox.png');
    const details = await gallery.desk.handlers.pictureDetails({ id });
    expect(details).toMatchObject({
      from: 'mole',
      settings: { prompt: 'a fox', negativePrompt: 'blurry', steps: 4, sampler: 'euler' },
      mix: { mode: 'sum', experts: [{ name: 'ink', hash: '0'.repeat(64), settings: { weight: 0.8 } }] },
      order: { model: '/models/atelier-mini', prompt: 'a fox', seed: 7 },
    });
    expect(details.order).not.toHaveProperty('output');
    expect(gallery.news.filter(({ kind }) => kind === 'gallery-pictures')).toHaveLength(2);
  });

  it('without settings in its file keeps those of its order', async () => {
    const gallery = await openGallery();
    const path = join(pictures, 'plain.png');
    const golden = resolve(import.meta.dirname, '../golden/data/pictures/plain.png');
    writeFileSync(path, readFileSync(golden));
    gallery.desk.record({ path, seed: 3, width: 8, height: 8 }, order('a quiet lake'));
    await gallery.desk.idle();
    expect(await gallery.find('quiet', { expert: 'ink' })).toEqual(['plain.png']);
  });
});

describe('on opening', () => {
  it('pictures that the index lacks are found, in folders below too; unfinished and hidden ones are not', async () => {
    await paintPicture(join(pictures, 'by-command-line.png'), { prompt: 'a fox', seed: 1, date: 2e12 });
    await paintPicture(join(pictures, 'below/older.png'), { prompt: 'a dog', seed: 2, date: 1e12 });
    await paintPicture(join(pictures, '.atelier/hidden.png'), { prompt: 'a cat', seed: 3 });
    writeFileSync(join(pictures, 'torn.png'), readFileSync(join(pictures, 'by-command-line.png')).subarray(0, 20));
    const gallery = await openGallery();
    expect(await gallery.find()).toEqual(['by-command-line.png', 'older.png']);
    expect(await gallery.find('dog')).toEqual(['older.png']);
  });

  it('pictures that are gone leave the gallery and come back with their heart', async () => {
    await paintPicture(join(pictures, 'fox.png'), { prompt: 'a fox', seed: 1 });
    const first = await openGallery();
    const { id } = await first.pictureOf('fox.png');
    await first.desk.handlers.setFavourite({ ids: [id], favourite: true });
    await closeGallery(first);
    renameSync(join(pictures, 'fox.png'), join(root, 'fox.png'));
    const second = await openGallery();
    expect(await second.find()).toEqual([]);
    renameSync(join(root, 'fox.png'), join(pictures, 'fox.png'));
    await second.desk.scan();
    expect(await second.find('', { favourites: true })).toEqual(['fox.png']);
  });

  it('a damaged index is said, set aside and built anew from the pictures', async () => {
    await paintPicture(join(pictures, 'fox.png'), { prompt: 'a fox', seed: 1 });
    await closeGallery(await openGallery());
    writeFileSync(join(root, 'state/history.sqlite'), 'not any more '.repeat(1000));
    const gallery = await openGallery();
    expect(await gallery.find('fox')).toEqual(['fox.png']);
    expect(gallery.news).toContainEqual({
      kind: 'message',
      message: expect.stringContaining('none is lost') as string,
    });
    expect(readdirSync(join(root, 'state')).filter((name) => name.includes('damaged'))).toHaveLength(1);
  });
});

describe('a picture thrown away', () => {
  it('lies in the trash of the app, comes back with Undo, and is deleted only when the trash is emptied', async () => {
    await paintPicture(join(pictures, 'fox.png'), { prompt: 'a fox', seed: 1 });
    const gallery = await openGallery();
    const { handlers } = gallery.desk;
    const { id } = await gallery.pictureOf('fox.png');
    const before = readFileSync(join(pictures, 'fox.png'));
    await handlers.trashPictures({ ids: [id] });
    expect(existsSync(join(pictures, 'fox.png'))).toBe(false);
    expect(await gallery.find()).toEqual([]);
    await handlers.untrashPictures({ ids: [id] });
    expect(await gallery.find()).toEqual(['fox.png']);
    expect(readFileSync(join(pictures, 'fox.png'))).toEqual(before);
    await handlers.trashPictures({ ids: [id] });
    expect(await handlers.emptyTrash({})).toEqual({ deleted: 1 });
    await expect(handlers.untrashPictures({ ids: [id] })).rejects.toThrow('fox.png could not be moved');
    expect(await gallery.find()).toEqual([]);
  });

  it('never takes the place of a picture that has its name meanwhile', async () => {
    await paintPicture(join(pictures, 'fox.png'), { prompt: 'a fox', seed: 1 });
    const gallery = await openGallery();
    const { id } = await gallery.pictureOf('fox.png');
    await gallery.desk.handlers.trashPictures({ ids: [id] });
    writeFileSync(join(pictures, 'fox.png'), 'another');
    await expect(gallery.desk.handlers.untrashPictures({ ids: [id] })).rejects.toThrow('could not be moved');
    expect(readFileSync(join(pictures, 'fox.png'), 'utf8')).toBe('another');
  });

  it('on a desktop stays where it is until the system has it, at the latest when the app ends', async () => {
    const trashed: string[] = [];
    const desktop: DesktopServices = {
      trash: (path) => {
        trashed.push(path);
        rmSync(path);
        return Promise.resolve();
      },
      reveal: () => undefined,
      chooseFolder: () => Promise.resolve(undefined),
      drag: () => Promise.resolve(),
    };
    for (const name of ['fox', 'dog']) await paintPicture(join(pictures, `${name}.png`), { prompt: name, seed: 1 });
    const gallery = await openGallery(desktop);
    const { handlers } = gallery.desk;
    const [fox, dog] = [await gallery.pictureOf('fox.png'), await gallery.pictureOf('dog.png')];
    await handlers.trashPictures({ ids: [fox.id, dog.id] });
    expect([await gallery.find(), trashed]).toEqual([[], []]);
    await handlers.untrashPictures({ ids: [dog.id] });
    await closeGallery(gallery);
    expect(trashed).toEqual([join(pictures, 'fox.png')]);
    expect(await (await openGallery(desktop)).find()).toEqual(['dog.png']);
  });
});

describe('an export', () => {
  const how = { quality: 90, lossless: false, pattern: '[prompt_words]' } as const;

  it('writes each picture in the format asked for, with its settings or without any, and replaces nothing', async () => {
    await paintPicture(join(pictures, 'one.png'), { prompt: 'a fox', seed: 1 });
    await paintPicture(join(pictures, 'two.png'), { prompt: 'a fox', seed: 2 });
    const gallery = await openGallery();
    const ids = [(await gallery.pictureOf('one.png')).id, (await gallery.pictureOf('two.png')).id];
    const folder = join(root, 'new/exported');
    const { handlers } = gallery.desk;
    const first = await handlers.exportPictures({ ids, folder, format: 'webp', metadata: true, ...how });
    expect(first).toMatchObject({ failed: [], cancelled: false, folder });
    expect(readdirSync(folder).sort()).toEqual(['a-fox-2.webp', 'a-fox.webp']);
    expect(await readMetadata(join(folder, 'a-fox.webp'))).toMatchObject({
      kind: 'mole',
      mole: { settings: { prompt: 'a fox' } },
    });
    await handlers.exportPictures({ ids: ids.slice(0, 1), folder, format: 'jpeg', metadata: false, ...how });
    expect(await readMetadata(join(folder, 'a-fox.jpg'))).toEqual({ kind: 'none', warnings: [] });
    await handlers.exportPictures({ ids: ids.slice(0, 1), folder, format: 'webp', metadata: true, ...how });
    expect(readdirSync(folder).sort()).toEqual(['a-fox-2.webp', 'a-fox-3.webp', 'a-fox.jpg', 'a-fox.webp']);
    expect(gallery.news).toContainEqual({ kind: 'gallery-export', done: 2, total: 2 });
  });

  it('without a folder is for the window to fetch, by id', async () => {
    await paintPicture(join(pictures, 'one.png'), { prompt: 'a fox', seed: 1 });
    const gallery = await openGallery();
    const { id } = await gallery.pictureOf('one.png');
    const { exported, folder } = await gallery.desk.handlers.exportPictures({
      ids: [id],
      format: 'png',
      metadata: false,
      ...how,
    });
    expect(folder).toBeUndefined();
    expect(exported).toMatchObject([{ name: 'a-fox.png', seed: 1, width: 96, height: 96 }]);
    expect(await readMetadata(gallery.shelf.pathOf(exported[0]!.id)!)).toMatchObject({ kind: 'none' });
  });

  it('says in words where it cannot write, and what cannot be exported', async () => {
    await paintPicture(join(pictures, 'one.png'), { prompt: 'a fox', seed: 1 });
    await paintPicture(join(pictures, 'two.png'), { prompt: 'a dog', seed: 2 });
    const gallery = await openGallery();
    const ids = [(await gallery.pictureOf('one.png')).id, (await gallery.pictureOf('two.png')).id];
    const { handlers } = gallery.desk;
    writeFileSync(join(root, 'file'), '');
    const png = { ids, format: 'png', metadata: true, ...how } as const;
    await expect(handlers.exportPictures({ ...png, folder: '/proc/nowhere' })).rejects.toThrow(/proc/);
    rmSync(join(pictures, 'one.png'));
    const { exported, failed } = await handlers.exportPictures({ ...png, folder: join(root, 'out') });
    expect(exported.map(({ name }) => name)).toEqual(['a-dog.png']);
    expect(failed).toMatchObject([{ name: 'one.png', message: expect.stringContaining('one.png') as string }]);
  });
});
