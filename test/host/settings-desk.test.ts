// Settings survive a restart and whatever was written into their file; models are found in the artist's folders.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import type { News } from '../../src-main/contract/window.ts';
import { bundledModelPath } from '../../src-main/host/bundled-files.ts';
import type { DeskSurroundings } from '../../src-main/host/desk.ts';
import { PictureShelf } from '../../src-main/host/picture-shelf.ts';
import { SettingsDesk } from '../../src-main/host/settings-desk.ts';
import { SettingsFile } from '../../src-main/host/settings-file.ts';

const model = bundledModelPath()!;
const entry = resolve(import.meta.dirname, '../../out/main/engine.js');
const client = new EngineClient({ spawn: forkedEngine(entry) });
afterAll(() => client.close());

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'atelier-settings-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

async function openDesk(news: News[] = []): Promise<SettingsDesk> {
  const surroundings: DeskSurroundings = {
    options: {
      client,
      trainingClient: client,
      folder: root,
      stateFolder: root,
      place: 'browser',
      version: '0',
      model,
      bundled: [],
    },
    shelf: new PictureShelf(),
    tell: (one) => news.push(one),
  };
  return new SettingsDesk(surroundings, await SettingsFile.open(root));
}

describe('settings', () => {
  it('are there again after a restart, with the fields of a newer version', async () => {
    mkdirSync(join(root, 'models'));
    writeFileSync(join(root, 'settings.json'), '{"version":1,"future":{"a":1},"modelFolders":"damaged"}');
    const news: News[] = [];
    const desk = await openDesk(news);
    await desk.handlers.addModelFolder({ path: `${join(root, 'models')}/` });
    await desk.close();
    expect(news.map(({ kind }) => kind)).toEqual(['settings']);
    expect(JSON.parse(readFileSync(join(root, 'settings.json'), 'utf8'))).toMatchObject({
      version: 1,
      future: { a: 1 },
      modelFolders: [join(root, 'models')],
    });
    const again = await openDesk();
    expect(await again.handlers.settings({})).toMatchObject({ modelFolders: [join(root, 'models')] });
  });

  it('keep every one of several changes made at the same moment', async () => {
    for (const name of ['a', 'b']) mkdirSync(join(root, name));
    const desk = await openDesk();
    await Promise.all([
      desk.handlers.changeSettings({ output: { format: 'webp' } }),
      desk.handlers.changeSettings({ output: { pattern: 'mine' } }),
      desk.handlers.addModelFolder({ path: join(root, 'a') }),
      desk.handlers.addModelFolder({ path: join(root, 'b') }),
    ]);
    const { output, modelFolders } = await desk.handlers.settings({});
    expect(output).toEqual({ format: 'webp', pattern: 'mine', quality: 92, metadata: true });
    // Which of two folders is looked at first is the disk's affair.
    expect([...modelFolders].sort()).toEqual([join(root, 'a'), join(root, 'b')]);
  });

  it('that cannot be read are put aside and not lost', async () => {
    writeFileSync(join(root, 'settings.json'), 'not { json');
    const desk = await openDesk();
    expect(await desk.handlers.settings({})).toMatchObject({ version: 1, modelFolders: [] });
    expect(readFileSync(join(root, 'settings.json.damaged'), 'utf8')).toBe('not { json');
  });

  it('refuse a folder that is not there, and a file', async () => {
    const desk = await openDesk();
    const add = async (path: string): Promise<unknown> => desk.handlers.addModelFolder({ path });
    await expect(add(join(root, 'nowhere'))).rejects.toThrow('is not there');
    await expect(add('models')).rejects.toThrow('give the whole path');
    writeFileSync(join(root, 'file'), '');
    await expect(add(join(root, 'file'))).rejects.toThrow('is a file');
  });
});

describe('models', () => {
  it('are the bundled one and those in the folders, without the LoRAs that lie among them', async () => {
    const folder = join(root, 'models');
    cpSync(model, join(folder, 'deep', 'copy'), { recursive: true });
    cpSync(resolve(import.meta.dirname, '../../assets/experts/ink.safetensors'), join(folder, 'ink.safetensors'));
    writeFileSync(join(folder, 'broken.safetensors'), 'nothing');
    const desk = await openDesk();
    await desk.handlers.addModelFolder({ path: folder });
    const { models, folders } = await desk.handlers.models({});
    expect(models.map(({ name, bundled, side }) => [name, bundled, side])).toEqual([
      ['atelier-mini', true, 128],
      ['copy', false, 128],
    ]);
    expect(folders).toEqual([{ path: folder }]);
    rmSync(folder, { recursive: true });
    expect((await desk.handlers.models({})).folders).toEqual([
      { path: folder, problem: 'This folder is not there now.' },
    ]);
  });
});
