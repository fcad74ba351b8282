// The gallery's desk: records every finished picture, finds those that the history lacks (drawn by the command line, or just
// before a crash), and answers searches. Pictures are files first: what happens to the index never touches one.
import { mkdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { EngineClient } from '../client/engine-client.ts';
import { FailureError } from '../contract/failure.ts';
import type { FinishedPicture, GenerateRequest } from '../contract/generation.ts';
import type { PictureReport } from '../contract/pictures.ts';
import type { DrawOrder } from '../contract/window-drawing.ts';
import type { GalleryDetails, GalleryMethods, GalleryPage, GalleryPicture } from '../contract/window-gallery.ts';
import { done, type Desk, type DeskSurroundings, type Handlers } from './desk.ts';
import type { HistoryQuery, HistoryRow } from './history-database.ts';
import { dateOfId } from './history-schema.ts';
import { History } from './history.ts';
import { PictureExport } from './picture-export.ts';
import { recordOfDrawn, recordOfRead } from './picture-record.ts';
import { folderTrash, systemTrash, type PictureTrash } from './picture-trash.ts';

/** Pictures that are read and recorded in one go. */
const readAtOnce = 20;
/** Pictures after which windows are told of many that are found. */
const tellEvery = 200;

export class GalleryDesk implements Desk<keyof GalleryMethods> {
  readonly handlers: Handlers<keyof GalleryMethods>;
  readonly #surroundings: DeskSurroundings;
  readonly #engine: EngineClient;
  readonly #history: History;
  readonly #trash: PictureTrash;
  readonly #export: PictureExport;
  /** Pictures are read one after the other. */
  #reading: Promise<void>;
  #closed = false;

  private constructor(surroundings: DeskSurroundings, engine: EngineClient) {
    const { options, tell } = surroundings;
    const { desktop, folder, stateFolder } = options;
    this.#surroundings = surroundings;
    this.#engine = engine;
    this.#history = new History(join(stateFolder, 'history.sqlite'), (message) => {
      tell({ kind: 'message', message });
      void this.scan();
    });
    this.#trash =
      desktop === undefined
        ? folderTrash(join(folder, '.atelier', 'trash'))
        : systemTrash(desktop.trash, (path, error) => void this.#trashed(path, error));
    this.#export = new PictureExport(engine, surroundings, join(stateFolder, 'exported'));
    this.#reading = this.#begin();
    this.handlers = {
      searchPictures: (query) => this.#search({ ...query, expert: query.expert, before: query.before }),
      pictureExperts: () => this.#history.call('experts'),
      pictureDetails: ({ id }) => this.#details(this.#pathOf(id)),
      setFavourite: ({ ids, favourite }) => done(this.#setFavourite(ids, favourite)),
      trashPictures: ({ ids }) => done(this.#throwAway(ids)),
      untrashPictures: ({ ids }) => done(this.#bringBack(ids)),
      emptyTrash: async () => {
        const paths = await this.#history.call('pathsIn', 'trash');
        const deleted = await this.#trash.empty();
        await this.#history.call('setState', paths, 'missing');
        tell({ kind: 'gallery-changed' });
        return { deleted };
      },
      exportPictures: ({ ids, ...how }) =>
        this.#export.run(
          ids.map((id) => this.#pathOf(id)),
          how,
        ),
      cancelExport: () => {
        this.#export.cancel();
        return null;
      },
      chooseFolder: async () => (await desktop?.chooseFolder()) ?? null,
      revealPicture: ({ id }) => {
        desktop?.reveal(this.#pathOf(id));
        return null;
      },
      dragPictures: async ({ ids }) => {
        const paths = ids.map((id) => this.#pathOf(id));
        await desktop?.drag(paths);
        return null;
      },
    };
  }

  /** Opens the history of the state folder, which must be ours; what it lacks is found meanwhile. `engine` reads the files. */
  static async open(surroundings: DeskSurroundings, engine: EngineClient): Promise<GalleryDesk> {
    await mkdir(surroundings.options.stateFolder, { recursive: true });
    return new GalleryDesk(surroundings, engine);
  }

  /** Records a picture that was drawn now. */
  record(picture: FinishedPicture, request: GenerateRequest): void {
    const drawn = recordOfDrawn(picture, request, Date.now());
    const recorded = this.#history.call('record', [drawn]).then((rows) => {
      this.#tellPictures(rows);
    });
    this.#say(recorded);
    this.#reading = this.#reading.then(() => this.#read([picture.path]));
  }

  /** Resolves when every picture known so far was read and recorded. */
  idle(): Promise<void> {
    return this.#reading;
  }

  /** Looks through the folder of pictures for what the history lacks. */
  scan(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#scan());
    return this.#reading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#export.cancel();
    await this.#trash.settle();
    await this.#reading;
    await this.#engine.close();
    await this.#history.close();
  }

  async #begin(): Promise<void> {
    try {
      const message = await this.#history.call('open');
      if (message !== undefined) this.#surroundings.tell({ kind: 'message', message });
      // What was on its way to the trash when the program ended is where it was.
      if (this.#surroundings.options.desktop !== undefined) {
        await this.#history.call('setState', await this.#history.call('pathsIn', 'trash'), 'missing');
      }
      await this.#scan();
    } catch (error) {
      this.#tellError(error);
    }
  }

  async #scan(): Promise<void> {
    const { folder } = this.#surroundings.options;
    // A folder that is not there, such as an unplugged disk's, says nothing about its pictures.
    if ((await stat(folder).catch(() => undefined))?.isDirectory() !== true) return;
    try {
      const { unread, changed } = await this.#history.call('scan', folder);
      if (changed > 0) this.#surroundings.tell({ kind: 'gallery-changed' });
      for (let i = 0; i < unread.length && !this.#closed; i += readAtOnce) {
        await this.#read(unread.slice(i, i + readAtOnce), unread.length > readAtOnce);
        const last = i + readAtOnce >= unread.length;
        if (unread.length > readAtOnce && (last || i % tellEvery === 0)) {
          this.#surroundings.tell({ kind: 'gallery-changed' });
        }
      }
    } catch (error) {
      this.#tellError(error);
    }
  }

  /** Reads the settings of files and records them; one that cannot be read is left for the next time. */
  async #read(paths: readonly string[], quietly = false): Promise<void> {
    const records = [];
    for (const path of paths) {
      if (this.#closed) return;
      try {
        const { mtimeMs } = await stat(path);
        const report = await this.#engine.request('readPicture', { path });
        const known = await this.#history.call('details', path);
        records.push(recordOfRead(path, mtimeMs, report, orderOf(known?.order ?? undefined)));
      } catch {
        // Half written, removed meanwhile, or no picture.
      }
    }
    try {
      const rows = await this.#history.call('record', records);
      if (!quietly) this.#tellPictures(rows);
    } catch (error) {
      this.#tellError(error);
    }
  }

  async #search(query: HistoryQuery): Promise<GalleryPage> {
    const { rows, total } = await this.#history.call('search', query);
    const last = rows.at(-1);
    return {
      pictures: rows.map((row) => this.#pictureOf(row)),
      ...(last === undefined || rows.length < query.limit ? {} : { next: last.id }),
      ...(total === undefined ? {} : { total, trashed: await this.#trash.count() }),
    };
  }

  async #details(path: string): Promise<GalleryDetails> {
    const [known, found] = await Promise.all([this.#history.call('details', path), stat(path).catch(() => undefined)]);
    if (known === undefined) throw unknownPicture();
    if (found === undefined) {
      const message = `${basename(path)} is not at its place any more; if it was moved, put it back: ${path}`;
      throw new FailureError({ kind: 'bad-request', file: path, message });
    }
    const report =
      known.report === null
        ? await this.#engine.request('readPicture', { path })
        : (JSON.parse(known.report) as PictureReport);
    const request = orderOf(known.order ?? undefined);
    return {
      ...report,
      picture: this.#pictureOf(known.row),
      bytes: found.size,
      ...(request === undefined ? {} : { order: this.#orderForWindow(request, known.row.seed) }),
    };
  }

  #orderForWindow(request: GenerateRequest, seed: number): DrawOrder {
    const order: Partial<GenerateRequest> & DrawOrder = { ...request, seed };
    delete order.output;
    if (request.init !== undefined) {
      order.init = { ...request.init, picture: this.#surroundings.shelf.putFile(request.init.picture) };
    }
    return order;
  }

  async #setFavourite(ids: readonly string[], favourite: boolean): Promise<void> {
    await this.#history.call(
      'setFavourite',
      ids.map((id) => this.#pathOf(id)),
      favourite,
    );
    this.#surroundings.tell({ kind: 'gallery-favourite', ids, favourite });
  }

  async #throwAway(ids: readonly string[]): Promise<void> {
    const gone: string[] = [];
    try {
      for (const id of ids) {
        const path = this.#pathOf(id);
        try {
          await this.#trash.put(path);
        } catch (error) {
          // One that is not there is gone already.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw diskFailure(path, error);
        }
        gone.push(id);
      }
    } finally {
      await this.#history.call(
        'setState',
        gone.map((id) => this.#pathOf(id)),
        'trash',
      );
      this.#surroundings.tell({ kind: 'gallery-gone', ids: gone });
    }
  }

  async #bringBack(ids: readonly string[]): Promise<void> {
    const back: string[] = [];
    try {
      for (const id of ids) {
        const path = this.#pathOf(id);
        await this.#trash.takeBack(path).catch((error: unknown) => {
          throw diskFailure(path, error);
        });
        back.push(path);
      }
    } finally {
      await this.#history.call('setState', back, 'shown');
      this.#surroundings.tell({ kind: 'gallery-changed' });
    }
  }

  /** A picture went to the system's trash, or could not. */
  async #trashed(path: string, error: unknown): Promise<void> {
    const state = error === undefined ? 'missing' : 'shown';
    await this.#history.call('setState', [path], state).catch(() => undefined);
    if (error === undefined) return;
    this.#tellError(diskFailure(path, error));
    this.#surroundings.tell({ kind: 'gallery-changed' });
  }

  #pathOf(id: string): string {
    const path = this.#surroundings.shelf.pathOf(id);
    if (path === undefined) throw unknownPicture();
    return path;
  }

  #pictureOf({ id, path, seed, width, height, prompt, favourite }: HistoryRow): GalleryPicture {
    const { shelf } = this.#surroundings;
    return {
      ...shelf.put({ path, seed, width, height }),
      thumbnail: shelf.thumbnails?.put(path) ?? '',
      date: dateOfId(id),
      prompt,
      favourite: favourite === 1,
    };
  }

  #tellPictures(rows: readonly HistoryRow[]): void {
    if (rows.length === 0) return;
    this.#surroundings.tell({ kind: 'gallery-pictures', pictures: rows.map((row) => this.#pictureOf(row)) });
  }

  #say(work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.#tellError(error);
    });
  }

  #tellError(error: unknown): void {
    if (this.#closed) return;
    const message = error instanceof Error ? error.message : String(error);
    this.#surroundings.tell({ kind: 'message', message });
  }
}

const orderOf = (json: string | undefined): GenerateRequest | undefined =>
  json === undefined ? undefined : (JSON.parse(json) as GenerateRequest);

const unknownPicture = (): FailureError =>
  new FailureError({
    kind: 'bad-request',
    message: 'This picture is not known any more, since the app was started anew: open the gallery again.',
  });

function diskFailure(path: string, error: unknown): FailureError {
  const reason = error instanceof Error ? error.message : String(error);
  const message = `${basename(path)} could not be moved (${reason}). It is where it was.`;
  return new FailureError({ kind: 'disk', file: path, message }, error);
}
