// The history of pictures in SQLite (the only door to node-sqlite3-wasm): what was drawn, found fast by its words. The files are
// the truth and the index follows them, so a damaged one is set aside and built anew. Runs in a thread of its own
// (history-worker.ts), since every call here blocks. Ids grow with the date, so that the newest come first without sorting.
import { existsSync, renameSync, rmSync } from 'node:fs';
import sqlite, { type JSValue } from 'node-sqlite3-wasm';
import { damagedName } from '../client/damaged-file.ts';
import { migrations } from './history-schema.ts';

/** A picture as it is recorded. */
export interface HistoryPicture {
  /** Absolute. */
  readonly path: string;
  /** Milliseconds since 1970. */
  readonly date: number;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
  readonly prompt: string;
  readonly negative: string;
  readonly model: string;
  readonly mode: string;
  /** Of the files, without their endings. */
  readonly experts: readonly string[];
  /** What the file says of itself, as JSON; undefined when it was not read yet. */
  readonly report: string | undefined;
  /** What was ordered, as JSON; undefined leaves what is known. */
  readonly order: string | undefined;
}

/** A picture in a list. */
export interface HistoryRow {
  readonly id: number;
  readonly path: string;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
  readonly prompt: string;
  readonly favourite: number;
}

export interface HistoryQuery {
  readonly text: string;
  readonly favourites: boolean;
  readonly expert: string | undefined;
  /** Only pictures with a smaller id. */
  readonly before: number | undefined;
  readonly limit: number;
}

/** Where a picture is: shown in the gallery, in the trash, or its file was not found. */
export type PictureState = 'shown' | 'trash' | 'missing';

const states: Readonly<Record<PictureState, number>> = { shown: 0, trash: 1, missing: 2 };
const columns = 'p.id, p.path, p.seed, p.width, p.height, substr(p.prompt, 1, 300) AS prompt, p.favourite';

/** Whether an error's text says that the database itself is damaged. */
export const saysDamage = (reason: string): boolean =>
  /malformed|not a database|vtable constructor failed/i.test(reason);

export class HistoryDatabase {
  readonly #database: sqlite.Database;
  readonly #statements = new Map<string, sqlite.Statement>();
  /** What was found wrong on opening: a sentence for the artist. */
  readonly message: string | undefined;

  private constructor(database: sqlite.Database, message: string | undefined) {
    this.#database = database;
    this.message = message;
  }

  /**
   * Opens or makes the database `file`, whose folder must be there and ours alone. One that is no database, or of a later version,
   * is replaced.
   */
  static open(file: string): HistoryDatabase {
    // Left behind by a process that was killed; the folder's own lock keeps other processes away.
    rmSync(`${file}.lock`, { recursive: true, force: true });
    try {
      return new HistoryDatabase(prepare(file), undefined);
    } catch (error) {
      return HistoryDatabase.replace(file, error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * Sets a damaged database aside under another name and opens an empty one in its place, with its favourites where they can be
   * read. `damage` is what was found wrong.
   */
  static replace(file: string, damage: string): HistoryDatabase {
    const favourites = favouritesOf(file);
    rmSync(`${file}.lock`, { recursive: true, force: true });
    const aside = damagedName(file);
    renameSync(file, aside);
    if (existsSync(`${file}-journal`)) renameSync(`${file}-journal`, `${aside}-journal`);
    const message =
      `The gallery’s index could not be read (${damage}) and is built anew from the pictures, of which none is lost. ` +
      `The old one was kept as ${aside}.`;
    const opened = new HistoryDatabase(prepare(file), message);
    opened.#expectFavourites(favourites);
    return opened;
  }

  close(): void {
    // Finalizes its statements too.
    this.#database.close();
  }

  /** Adds pictures, or renews what is known of them; favourites stay. Returns them as they are listed, in their order. */
  record(pictures: readonly HistoryPicture[]): readonly HistoryRow[] {
    return this.#atOnce(() => pictures.map((picture) => this.#recordOne(picture)));
  }

  /** A page of what fits, newest first, and, when it is the first, how many fit in all. */
  search(query: HistoryQuery): { readonly rows: readonly HistoryRow[]; readonly total: number | undefined } {
    const { from, where, order, values } = sourceOf(query);
    const rows = this.#all(
      `SELECT ${columns} ${from} WHERE ${where.join(' AND ')} AND ${order} < ? ORDER BY ${order} DESC LIMIT ?`,
      [...values, query.before ?? Number.MAX_SAFE_INTEGER, query.limit],
    ) as unknown as readonly HistoryRow[];
    if (query.before !== undefined) return { rows, total: undefined };
    const [counted] = this.#all(`SELECT count(*) AS total ${from} WHERE ${where.join(' AND ')}`, values);
    return { rows, total: counted!['total'] as number };
  }

  /** Experts that pictures were drawn with, the most used first. */
  experts(): readonly string[] {
    const found = this.#all('SELECT name FROM expert GROUP BY name ORDER BY count(*) DESC, name LIMIT 200');
    return found.map(({ name }) => name as string);
  }

  details(
    path: string,
  ): { readonly row: HistoryRow; readonly report: string | null; readonly order: string | null } | undefined {
    const [found] = this.#all(
      `SELECT ${columns}, r.report, r.ordered FROM picture p LEFT JOIN recipe r ON r.picture = p.id WHERE p.path = ?`,
      [path],
    );
    if (found === undefined) return undefined;
    const { report, ordered, ...row } = found;
    return {
      row: row as unknown as HistoryRow,
      report: (report ?? null) as string | null,
      order: (ordered ?? null) as string | null,
    };
  }

  setFavourite(paths: readonly string[], favourite: boolean): void {
    this.#forEach('UPDATE picture SET favourite = ? WHERE path = ?', paths, favourite ? 1 : 0);
  }

  setState(paths: readonly string[], state: PictureState): void {
    this.#forEach('UPDATE picture SET state = ? WHERE path = ?', paths, states[state]);
  }

  /** Pictures in a state, by path. */
  pathsIn(state: PictureState): readonly string[] {
    return this.#all('SELECT path FROM picture WHERE state = ?', [states[state]]).map(({ path }) => path as string);
  }

  /**
   * Compares the index with the files that are there: those it lacks or has never read, and how many are marked missing or found
   * again. Only pictures below `folder` (with a separator at its end) are judged.
   */
  compare(
    folder: string,
    files: ReadonlySet<string>,
  ): { readonly unread: readonly string[]; readonly changed: number } {
    const read = new Set<string>();
    const gone: string[] = [];
    const back: string[] = [];
    for (const { path, state, described } of this.#all('SELECT path, state, described FROM picture') as unknown as {
      readonly path: string;
      readonly state: number;
      readonly described: number;
    }[]) {
      if (!path.startsWith(folder)) continue;
      if (described === 1) read.add(path);
      if (state === states.shown && !files.has(path)) gone.push(path);
      if (state === states.missing && files.has(path)) back.push(path);
    }
    this.setState(gone, 'missing');
    this.setState(back, 'shown');
    // File names begin with the date unless the artist chose others: the newest are read first.
    const unread = [...files].filter((path) => !read.has(path)).sort();
    return { unread: unread.reverse(), changed: gone.length + back.length };
  }

  #recordOne(picture: HistoryPicture): HistoryRow {
    const { path, date, seed, width, height, prompt, negative, model, mode, experts, report, order } = picture;
    const [known] = this.#all('SELECT id FROM picture WHERE path = ?', [path]);
    const id = (known?.['id'] as number | undefined) ?? this.#newId(date);
    const described = report === undefined ? 0 : 1;
    this.#run(
      `INSERT INTO picture (id, path, seed, width, height, prompt, negative, model, mode, described)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET seed = excluded.seed, width = excluded.width, height = excluded.height,
         prompt = excluded.prompt, negative = excluded.negative, model = excluded.model, mode = excluded.mode,
         described = max(described, excluded.described), state = CASE state WHEN 2 THEN 0 ELSE state END`,
      [id, path, seed, width, height, prompt, negative, model, mode, described],
    );
    this.#run(
      `INSERT INTO recipe (picture, report, ordered) VALUES (?, ?, ?) ON CONFLICT (picture) DO UPDATE SET
         report = coalesce(excluded.report, report), ordered = coalesce(excluded.ordered, ordered)`,
      [id, report ?? null, order ?? null],
    );
    this.#run('DELETE FROM expert WHERE picture = ?', [id]);
    for (const name of new Set(experts)) this.#run('INSERT INTO expert (name, picture) VALUES (?, ?)', [name, id]);
    this.#run('DELETE FROM words WHERE rowid = ?', [id]);
    this.#run('INSERT INTO words (rowid, prompt, experts, model, file) VALUES (?, ?, ?, ?, ?)', [
      id,
      prompt,
      experts.join(' '),
      model,
      path.replace(/^.*[\\/]/, ''),
    ]);
    const [row] = this.#all(`SELECT ${columns} FROM picture p WHERE p.id = ?`, [id]);
    return row as unknown as HistoryRow;
  }

  /** The next free id of a millisecond, of which each has a thousand. */
  #newId(date: number): number {
    const first = Math.max(0, Math.round(date)) * 1000;
    const [last] = this.#all('SELECT max(id) AS id FROM picture WHERE id BETWEEN ? AND ?', [first, first + 999]);
    return last!['id'] === null ? first : (last!['id'] as number) + 1;
  }

  /** Pictures whose files will be found again, but not that the artist loved them. */
  #expectFavourites(paths: readonly string[]): void {
    this.#atOnce(() => {
      for (const path of paths) {
        this.#run('INSERT OR IGNORE INTO picture (id, path, favourite, state) VALUES (?, ?, 1, 2)', [
          this.#newId(0),
          path,
        ]);
      }
    });
  }

  #forEach(sql: string, paths: readonly string[], value: number): void {
    this.#atOnce(() => {
      for (const path of paths) this.#run(sql, [value, path]);
    });
  }

  #atOnce<Result>(work: () => Result): Result {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  #all(sql: string, values: readonly JSValue[] = []): readonly Readonly<Record<string, unknown>>[] {
    return this.#prepared(sql).all([...values]);
  }

  #run(sql: string, values: readonly JSValue[]): void {
    this.#prepared(sql).run([...values]);
  }

  #prepared(sql: string): sqlite.Statement {
    const known = this.#statements.get(sql) ?? this.#database.prepare(sql);
    this.#statements.set(sql, known);
    return known;
  }
}

/** Where a query's pictures come from, in the order of their ids, so that a page stops as soon as it is full. */
function sourceOf({ text, favourites, expert }: HistoryQuery): {
  readonly from: string;
  readonly where: readonly string[];
  readonly order: string;
  readonly values: readonly JSValue[];
} {
  const where = ['p.state = 0', ...(favourites ? ['p.favourite = 1'] : [])];
  const words = text.normalize('NFC').match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  if (words.length > 0) {
    const match = words.map((word) => `"${word}"*`).join(' ');
    const named = expert === undefined ? [] : ['EXISTS (SELECT 1 FROM expert e WHERE e.name = ? AND e.picture = p.id)'];
    return {
      from: 'FROM words CROSS JOIN picture p ON p.id = words.rowid',
      where: ['words MATCH ?', ...where, ...named],
      order: 'words.rowid',
      values: [match, ...(expert === undefined ? [] : [expert])],
    };
  }
  if (expert !== undefined) {
    return {
      from: 'FROM expert e CROSS JOIN picture p ON p.id = e.picture',
      where: ['e.name = ?', ...where],
      order: 'e.picture',
      values: [expert],
    };
  }
  return { from: 'FROM picture p', where, order: 'p.id', values: [] };
}

/** The database with today's tables. Throws SQLite's error for a file that is none or damaged. */
function prepare(file: string): sqlite.Database {
  const database = new sqlite.Database(file);
  try {
    const version = database.get('PRAGMA user_version')!['user_version'] as number;
    if (version > migrations.length) throw new Error(`it was written by a later version of this app (${version})`);
    for (const [i, sql] of migrations.entries()) {
      if (i >= version) database.exec(`BEGIN; ${sql}; PRAGMA user_version = ${i + 1}; COMMIT`);
    }
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function favouritesOf(file: string): readonly string[] {
  try {
    const database = new sqlite.Database(file, { readOnly: true });
    try {
      return database.all('SELECT path FROM picture WHERE favourite = 1').map(({ path }) => path as string);
    } finally {
      database.close();
    }
  } catch {
    return [];
  }
}
