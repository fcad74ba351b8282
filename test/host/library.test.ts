// The library behind the windows, on real folders and with the real engine: what is read, what is kept, what is noticed, and
// whose words follow which file.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EngineClient } from '../../src-main/client/engine-client.ts';
import type { LibraryCard } from '../../src-main/contract/window-library.ts';
import {
  bundledFolder,
  bundledModel,
  copyLora,
  LibraryCase,
  testEngine,
  withMetadata,
} from '../support/library-case.ts';
import { sleep } from '../support/wait.ts';

let client: EngineClient;
let library: LibraryCase;
beforeAll(() => {
  client = testEngine();
});
beforeEach(async () => {
  library = new LibraryCase(client);
  await library.open();
});
afterEach(async () => {
  await library.end();
});
afterAll(async () => {
  await client.close();
});

const addFolder = (path = library.loras): Promise<null> =>
  Promise.resolve(library.desk.handlers.addLibraryFolder({ path }));
const patience = { timeout: 10_000 };
const named = (cards: readonly LibraryCard[], name: string): LibraryCard | undefined =>
  cards.find((card) => card.name === name);

describe('the index', () => {
  it('has a card of every LoRA below the folder, with what the file says of itself', async () => {
    copyLora(join(library.loras, 'styles/inky.safetensors'), 'ink', {
      'modelspec.title': 'Inky',
      'modelspec.author': 'Somebody',
      'modelspec.tags': 'style, lines',
      'modelspec.trigger_phrase': 'inky lines',
    });
    await addFolder();
    const { cards, folders } = await library.contents();
    expect(folders).toEqual([{ path: library.loras, files: 1 }]);
    expect(cards).toHaveLength(1);
    expect(cards[0]).toMatchObject({
      name: 'inky',
      below: 'styles',
      kind: 'lora',
      place: 'library',
      title: 'Inky',
      author: 'Somebody',
      ownTags: ['style', 'lines'],
      triggerWords: ['inky lines'],
      fits: true,
    });
  });

  it('says why a file cannot be used, and never opens a pickled one', async () => {
    writeFileSync(join(library.loras, 'broken.safetensors'), 'no tensors');
    writeFileSync(join(library.loras, 'old.ckpt'), 'cos\nsystem\n');
    await addFolder();
    const cards = await library.cards();
    expect(named(cards, 'broken')).toMatchObject({ kind: 'other', fits: false });
    expect(named(cards, 'old')).toMatchObject({ kind: 'refused', fits: false });
    expect(named(cards, 'old')!.reason).toContain('can run code');
  });

  it('shows hostile metadata as short text', async () => {
    copyLora(join(library.loras, 'evil.safetensors'), 'fox', {
      'modelspec.title': '<img src=x onerror=alert(1)>'.repeat(500),
      'modelspec.tags': Array.from({ length: 5000 }, (_, i) => `tag${i}`).join(','),
      'modelspec.description': '\u202e<script>'.repeat(10_000),
      ss_tag_frequency: '[[[[[[[[[[[[[[[[[[[[[[[[',
    });
    await addFolder();
    const [card] = await library.cards();
    expect(card!.title!.length).toBeLessThanOrEqual(200);
    expect(card!.ownTags.length).toBeLessThanOrEqual(24);
    expect(card!.description!.length).toBeLessThanOrEqual(400);
  });

  it('reads a file once, also over a restart, and again when it or what lies beside it changes', async () => {
    const path = copyLora(join(library.loras, 'fox.safetensors'));
    await addFolder();
    await library.cards();
    await library.open();
    expect((await library.desk.handlers.library({})).reading).toBe(0);
    writeFileSync(join(library.loras, 'fox.json'), JSON.stringify({ description: 'A red fox' }));
    await library.desk.handlers.refreshLibrary({});
    expect((await library.cards())[0]!.description).toBe('A red fox');
    copyLora(path, 'fox', { 'modelspec.title': 'Another fox' });
    await library.desk.handlers.refreshLibrary({});
    expect((await library.cards())[0]!.title).toBe('Another fox');
  });

  it('starts anew from a damaged cache, and puts damaged settings aside', async () => {
    copyLora(join(library.loras, 'fox.safetensors'));
    await addFolder();
    await library.cards();
    await library.close();
    const cache = join(library.stateFolder, 'library/index.json');
    expect(existsSync(cache)).toBe(true);
    writeFileSync(cache, '{"version":1,');
    await library.open();
    expect(named(await library.cards(), 'fox')).toBeDefined();
    await library.close();
    writeFileSync(join(library.stateFolder, 'library.json'), '{"version":1,"folders":7}');
    await library.open();
    expect((await library.contents()).folders).toEqual([]);
    expect(existsSync(join(library.stateFolder, 'library.json.damaged'))).toBe(true);
  });

  it('compares with the model that is drawn with', async () => {
    copyLora(join(library.loras, 'fox.safetensors'));
    await addFolder();
    expect((await library.contents()).cards[0]!.fits).toBe(true);
    const other = await library.contents(join(library.folder, 'no-such-model'));
    expect(other.cards[0]).toMatchObject({ fits: false, kind: 'lora' });
    expect((await library.contents(bundledModel)).cards[0]!.fits).toBe(true);
  });

  it('refuses a folder that is none, and says when one has gone', async () => {
    await expect(addFolder(join(library.folder, 'nowhere'))).rejects.toThrow('not a folder');
    await addFolder();
    rmSync(library.loras, { recursive: true });
    await library.desk.handlers.refreshLibrary({});
    expect((await library.contents()).folders[0]!.problem).toContain('not there');
  });
});

describe('a watched folder', () => {
  it('shows a file that comes, and loses one that goes, without being asked', async () => {
    await addFolder();
    await library.cards();
    // The watch begins after the first look.
    await sleep(500);
    const path = copyLora(join(library.loras, 'new/fox.safetensors'));
    const heard = (): LibraryCard | undefined =>
      library.news.flatMap((news) => (news.kind === 'library' ? news.changed : [])).at(-1);
    await expect
      .poll(() => [heard()?.name, heard()?.summary], patience)
      .toEqual(['fox', expect.stringContaining('rank')]);
    rmSync(path);
    const gone = (): readonly string[] => library.news.flatMap((news) => (news.kind === 'library' ? news.gone : []));
    await expect.poll(gone, patience).toContain(path);
    expect(await library.cards()).toEqual([]);
  });
});

describe('the words of the artist', () => {
  it('are kept beside the file and never in it', async () => {
    const path = copyLora(join(library.loras, 'fox.safetensors'));
    const [before, time] = [readFileSync(path), statSync(path).mtimeMs];
    await addFolder();
    await library.cards();
    await library.desk.handlers.markExpert({ path, favourite: true, tags: ['animals'], notes: 'weight 0.7' });
    await library.open();
    expect((await library.cards())[0]).toMatchObject({ favourite: true, tags: ['animals'], notes: 'weight 0.7' });
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(statSync(path).mtimeMs).toBe(time);
  });

  it('follow a file that was moved, renamed, and given new metadata', async () => {
    const path = copyLora(join(library.loras, 'fox.safetensors'));
    await addFolder();
    await library.cards();
    await library.desk.handlers.markExpert({ path, tags: ['animals'] });
    mkdirSync(join(library.loras, 'deep'));
    const moved = join(library.loras, 'deep/reynard.safetensors');
    renameSync(path, moved);
    await library.desk.handlers.refreshLibrary({});
    await expect.poll(async () => (await library.cards())[0]!.tags, patience).toEqual(['animals']);
    writeFileSync(moved, withMetadata(readFileSync(moved), { 'modelspec.title': 'Edited' }));
    await library.desk.handlers.refreshLibrary({});
    await expect.poll(async () => (await library.cards())[0]!.tags, patience).toEqual(['animals']);
    expect((await library.contents()).missing).toEqual([]);
  });

  it('are shown while the file is missing, until they are forgotten', async () => {
    const path = copyLora(join(library.loras, 'fox.safetensors'));
    await addFolder();
    await library.cards();
    await library.desk.handlers.markExpert({ path, favourite: true });
    rmSync(path);
    await library.desk.handlers.refreshLibrary({});
    const { missing } = await library.contents();
    expect(missing).toMatchObject([{ name: 'fox', path, favourite: true }]);
    await library.desk.handlers.forgetExpert({ hash: missing[0]!.hash });
    expect((await library.contents()).missing).toEqual([]);
  });
});

describe('files looked for', () => {
  it('are found by the name of a tag, with and without its folder, in any case', async () => {
    const path = copyLora(join(library.loras, 'animals/Fox.safetensors'));
    await addFolder();
    const found = await library.desk.handlers.findExperts({ names: ['fox', 'animals/Fox', 'wolf'], hashes: [] });
    expect(found.map(({ asked, path: where }) => [asked, where])).toEqual([
      ['fox', path],
      ['animals/Fox', path],
    ]);
  });

  it('are found by every hash that programs write, under any name', async () => {
    const path = copyLora(join(library.loras, 'renamed.safetensors'), 'ink');
    copyLora(join(library.loras, 'fox.safetensors'));
    await addFolder();
    const { hashes } = await client.request('inspect', { path, hashes: true });
    const asked = [hashes!.sha256, hashes!.autoV2, hashes!.short.toUpperCase(), 'f'.repeat(64)];
    const found = await library.desk.handlers.findExperts({ names: [], hashes: asked });
    expect(found.map(({ asked: hash }) => hash)).toEqual(expect.arrayContaining(asked.slice(0, 3)));
    expect(found.every((one) => one.path === path)).toBe(true);
    expect(found).toHaveLength(3);
  });

  it('are those that came with the app, were trained, and were dropped, too', async () => {
    await library.open([join(bundledFolder, 'ink.safetensors')]);
    copyLora(join(library.folder, 'trained/mine.safetensors'), 'fox');
    copyLora(join(library.stateFolder, 'dropped/0123/sketch.safetensors'), 'sketch');
    const found = await library.desk.handlers.findExperts({ names: ['ink', 'mine', 'sketch'], hashes: [] });
    expect(found.map(({ asked, place }) => [asked, place])).toEqual([
      ['ink', 'bundled'],
      ['mine', 'trained'],
      ['sketch', 'dropped'],
    ]);
  });
});

describe('recipes', () => {
  it('are saved beside the pictures and find their files again, also renamed ones; the missing are named', async () => {
    const fox = copyLora(join(library.loras, 'fox.safetensors'));
    const ink = copyLora(join(library.loras, 'ink.safetensors'), 'ink');
    await addFolder();
    const mix = {
      experts: [
        { path: fox, weight: 0.7 },
        { path: ink, blocks: 'OUTALL' },
      ],
      mode: 'manual',
    } as const;
    const parsed = { loraFolders: [], embeddings: [], ...mix, experts: mix.experts.map((row) => ({ weight: 1, muted: false, solo: false, ...row })) }; // prettier-ignore
    const card = await library.desk.handlers.saveRecipe({ name: 'Fox: in / ink', mix: parsed });
    const second = await library.desk.handlers.saveRecipe({ name: 'Fox: in / ink', mix: parsed });
    expect(card).toMatchObject({ experts: ['fox', 'ink'], bundled: false });
    expect(second.path).not.toBe(card.path);
    expect(await library.desk.handlers.recipes({})).toHaveLength(2);

    const renamed = join(library.loras, 'reynard.safetensors');
    renameSync(fox, renamed);
    rmSync(ink);
    await library.desk.handlers.refreshLibrary({});
    const loaded = await library.desk.handlers.loadRecipe({ path: card.path });
    expect(loaded.mode).toBe('manual');
    expect(loaded.experts[0]).toMatchObject({ path: renamed, settings: { weight: 0.7 } });
    expect(loaded.experts[1]).toMatchObject({ name: 'ink.safetensors', settings: { blocks: 'OUTALL' } });
    expect(loaded.experts[1]!.path).toBeUndefined();
    expect(loaded.experts[1]!.sha256).toMatch(/^[0-9a-f]{64}$/);

    await library.desk.handlers.removeRecipe({ path: card.path });
    expect(await library.desk.handlers.recipes({})).toHaveLength(1);
    await expect(Promise.resolve(library.desk.handlers.removeRecipe({ path: fox }))).rejects.toThrow('not one of');
  });

  it('say what is wrong with a damaged one, and with a file that is none', async () => {
    const folder = join(library.folder, 'recipes');
    mkdirSync(folder);
    writeFileSync(join(folder, 'bad.mole.json'), '{"version":1,"experts":[{"name":"../../etc/passwd"}]}');
    const [card] = await library.desk.handlers.recipes({});
    expect(card!.problem).toContain('sha256');
    await expect(library.desk.handlers.loadRecipe({ path: join(folder, 'bad.mole.json') })).rejects.toThrow('damaged');
  });
});
