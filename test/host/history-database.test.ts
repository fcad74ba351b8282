// The history of pictures on a real database: what is found, in which order, and what becomes of a damaged file.
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
  closeSync,
  mkdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  HistoryDatabase,
  saysDamage,
  type HistoryPicture,
  type HistoryQuery,
} from '../../src-main/host/history-database.ts';
import { dateOfId } from '../../src-main/host/history-schema.ts';

let folder: string;
let file: string;
let database: HistoryDatabase;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-history-'));
  file = join(folder, 'history.sqlite');
  database = HistoryDatabase.open(file);
});
afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true, force: true });
});

const picture = (name: string, date: number, more: Partial<HistoryPicture> = {}): HistoryPicture => ({
  path: `/pictures/${name}.png`,
  date,
  seed: 7,
  width: 64,
  height: 96,
  prompt: `a ${name}`,
  negative: '',
  model: 'atelier-mini',
  mode: '',
  experts: [],
  report: '{}',
  order: undefined,
  ...more,
});

const everything: HistoryQuery = { text: '', favourites: false, expert: undefined, before: undefined, limit: 100 };
const found = (query: Partial<HistoryQuery>): readonly string[] =>
  database.search({ ...everything, ...query }).rows.map(({ path }) => path.replace(/^.*\/|\.png$/g, ''));

describe('a search', () => {
  beforeEach(() => {
    database.record([
      picture('fox', 3000, { prompt: 'a red fox, Aquarelle', experts: ['ink', 'fox'] }),
      picture('dog', 1000, { experts: ['ink'] }),
      picture('été', 2000, { prompt: 'un été à la mer', model: 'plage-v2' }),
      picture('foxglove', 2000, { prompt: 'flowers "in" a (vase:1.2)' }),
    ]);
  });

  it('lists the newest first, and several of one millisecond in the order they came', () => {
    expect(found({})).toEqual(['fox', 'foxglove', 'été', 'dog']);
    expect(database.search(everything).rows.map(({ id }) => dateOfId(id))).toEqual([3000, 2000, 2000, 1000]);
  });

  it('finds the beginnings of words in prompt, experts, model and file name, all of them', () => {
    expect(found({ text: 'fox' })).toEqual(['fox', 'foxglove']);
    expect(found({ text: 'FOX aqua' })).toEqual(['fox']);
    expect(found({ text: 'ink' })).toEqual(['fox', 'dog']);
    expect(found({ text: 'plage' })).toEqual(['été']);
    expect(found({ text: 'ete' })).toEqual(['été']);
    expect(found({ text: 'vase' })).toEqual(['foxglove']);
    expect(found({ text: 'fox zebra' })).toEqual([]);
  });

  it.each(['"', 'fox"*', 'NEAR(', 'a OR', '-fox', 'prompt:fox', '%', "'; DROP TABLE picture; --", '🦊'])(
    'takes %s as words, never as a query',
    (text) => {
      expect(() => found({ text })).not.toThrow();
      expect(found({})).toHaveLength(4);
    },
  );

  it('keeps to an expert, to favourites, and to both with words', () => {
    database.setFavourite(['/pictures/dog.png'], true);
    expect(found({ expert: 'ink' })).toEqual(['fox', 'dog']);
    expect(found({ favourites: true })).toEqual(['dog']);
    expect(found({ favourites: true, expert: 'ink', text: 'dog' })).toEqual(['dog']);
    expect(found({ favourites: true, expert: 'ink', text: 'fox' })).toEqual([]);
    expect(database.experts()).toEqual(['ink', 'fox']);
  });

  it('goes from page to page without a gap, while new pictures come', () => {
    const first = database.search({ ...everything, limit: 2 });
    expect(first.total).toBe(4);
    database.record([picture('new', 4000)]);
    const second = database.search({ ...everything, limit: 2, before: first.rows.at(-1)!.id });
    expect(second.total).toBeUndefined();
    expect([...first.rows, ...second.rows].map(({ path }) => path)).toEqual(
      ['fox', 'foxglove', 'été', 'dog'].map((name) => `/pictures/${name}.png`),
    );
  });

  it('leaves out what is in the trash or missing', () => {
    database.setState(['/pictures/fox.png'], 'trash');
    database.setState(['/pictures/dog.png'], 'missing');
    expect(found({})).toEqual(['foxglove', 'été']);
    expect(found({ text: 'fox' })).toEqual(['foxglove']);
    expect(database.pathsIn('trash')).toEqual(['/pictures/fox.png']);
  });
});

describe('a picture recorded again', () => {
  it('keeps its id, its order and its place among the favourites, and is found by its new words only', () => {
    const [before] = database.record([picture('fox', 1000, { report: undefined, order: '{"steps":4}' })]);
    database.setFavourite(['/pictures/fox.png'], true);
    const [after] = database.record([picture('fox', 9000, { prompt: 'a wolf', experts: ['ink'] })]);
    expect(after).toEqual({ ...before, prompt: 'a wolf', favourite: 1 });
    expect(found({ text: 'wolf' })).toEqual(['fox']);
    expect(database.search({ ...everything, text: 'a' }).rows).toHaveLength(1);
    expect(database.details('/pictures/fox.png')).toMatchObject({ report: '{}', order: '{"steps":4}' });
  });
});

describe('compared with the folder', () => {
  it('tells what was never read, marks what is gone, and finds it again with its heart', () => {
    database.record([picture('fox', 1000), picture('dog', 2000), picture('half', 3000, { report: undefined })]);
    database.setFavourite(['/pictures/fox.png'], true);
    const files = ['dog', 'half', 'new'].map((name) => `/pictures/${name}.png`);
    expect(database.compare('/pictures/', new Set(files))).toEqual({ unread: files.slice(1).reverse(), changed: 1 });
    expect(found({})).toEqual(['half', 'dog']);
    database.compare('/pictures/', new Set([...files, '/pictures/fox.png']));
    expect(found({ favourites: true })).toEqual(['fox']);
  });

  it('does not judge pictures of other folders', () => {
    database.record([picture('fox', 1000)]);
    expect(database.compare('/elsewhere/', new Set()).changed).toBe(0);
    expect(found({})).toEqual(['fox']);
  });
});

describe('the file', () => {
  it('is opened again with everything in it, also when a lock was left behind by a killed process', () => {
    database.record([picture('fox', 1000)]);
    database.close();
    mkdirSync(`${file}.lock`, { recursive: true });
    database = HistoryDatabase.open(file);
    expect(database.message).toBeUndefined();
    expect(found({})).toEqual(['fox']);
  });

  it('is set aside and said when it is no database', () => {
    database.close();
    writeFileSync(file, 'this is no database. '.repeat(500));
    database = HistoryDatabase.open(file);
    expect(database.message).toContain('built anew from the pictures, of which none is lost');
    expect(found({})).toEqual([]);
    expect(readdirSync(folder).some((name) => /^history\.damaged-.*\.sqlite$/.test(name))).toBe(true);
  });

  it('of a later version is set aside, with its favourites taken along', () => {
    database.record([picture('fox', 1000), picture('dog', 2000)]);
    database.setFavourite(['/pictures/fox.png'], true);
    database.close();
    // SQLite's user_version lies at byte 60, big-endian.
    const handle = openSync(file, 'r+');
    writeSync(handle, Buffer.from([0, 0, 0, 99]), 0, 4, 60);
    closeSync(handle);
    database = HistoryDatabase.open(file);
    expect(database.message).toContain('later version');
    const files = new Set(['/pictures/fox.png', '/pictures/dog.png']);
    expect(database.compare('/pictures/', files).unread).toHaveLength(2);
    database.record([picture('fox', 1000), picture('dog', 2000)]);
    expect(found({ favourites: true })).toEqual(['fox']);
  });

  it('that is damaged in the middle is found out by the call that meets it, and replaced', () => {
    database.record(Array.from({ length: 400 }, (_, i) => picture(`p${i}`, 1000 + i, { report: 'x'.repeat(500) })));
    database.close();
    const size = statSync(file).size;
    const handle = openSync(file, 'r+');
    for (let at = 8 * 4096; at < size; at += 4096) writeSync(handle, Buffer.alloc(3000, 0x5a), 0, 3000, at);
    closeSync(handle);
    let reason = '';
    try {
      database = HistoryDatabase.open(file);
      found({ text: 'p' });
    } catch (error) {
      reason = String(error);
    }
    expect(saysDamage(reason), reason).toBe(true);
    database.close();
    database = HistoryDatabase.replace(file, 'malformed');
    expect(found({})).toEqual([]);
    expect(existsSync(file)).toBe(true);
  });
});
