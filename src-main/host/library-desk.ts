// The library desk: the artist's folders of LoRAs and gates with what came with the app, what was trained and what was dropped; their
// cards, tags and recipes. Nothing is looked through before a window asks for it.
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { EngineClient } from '../client/engine-client.ts';
import { FailureError } from '../contract/failure.ts';
import type {
  ExpertPlace,
  LibraryCard,
  LibraryContents,
  LibraryFolder,
  LibraryMethods,
  MissingExpert,
} from '../contract/window-library.ts';
import { done, type Desk, type DeskSurroundings, type Handlers } from './desk.ts';
import { findExperts } from './expert-finder.ts';
import { FolderWatch } from './folder-watch.ts';
import { findLibraryFiles, type FoundFile } from './library-files.ts';
import { LibraryIndex, type PlacedFile } from './library-index.ts';
import { LibraryMarks, type Mark } from './library-marks.ts';
import { RecipeShelf } from './recipe-shelf.ts';

/** Milliseconds in which news are gathered, and while many files are being read. */
const gatherMs = 150;
const gatherManyMs = 1000;
const many = 20;

const unmarked = { favourite: false, tags: [], notes: '' };

export class LibraryDesk implements Desk<keyof LibraryMethods> {
  readonly handlers: Handlers<keyof LibraryMethods>;
  readonly #surroundings: DeskSurroundings;
  readonly #marks: LibraryMarks;
  readonly #index: LibraryIndex;
  readonly #recipes: RecipeShelf;
  readonly #watch: FolderWatch;
  #model: string | undefined;
  #folders: readonly LibraryFolder[] = [];
  /** The last look through the folders, finished or not. */
  #scan: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  /** How often a look was asked for. */
  #asked = 0;
  #watching = false;
  /** Cards that windows do not have yet, by path. */
  readonly #changed = new Set<string>();
  readonly #gone = new Set<string>();
  #newsTimer: NodeJS.Timeout | undefined;
  #linking: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(surroundings: DeskSurroundings, marks: LibraryMarks, files: EngineClient, index: LibraryIndex) {
    const { options } = surroundings;
    this.#surroundings = surroundings;
    this.#marks = marks;
    this.#index = index;
    this.#model = options.model;
    const bundledFolder = options.bundled[0] === undefined ? undefined : dirname(options.bundled[0]);
    this.#recipes = new RecipeShelf(join(options.folder, 'recipes'), bundledFolder, files);
    this.#watch = new FolderWatch(() => void this.#look());
    this.handlers = {
      library: ({ model }) => this.#contents(model),
      addLibraryFolder: ({ path }) => done(this.#addFolder(path)),
      removeLibraryFolder: ({ path }) => done(this.#setFolders(marks.folders.filter((folder) => folder !== path))),
      refreshLibrary: () => done(this.#look()),
      markExpert: ({ path, ...change }) => this.#mark(path, change),
      forgetExpert: async ({ hash }) => {
        await marks.set(hash, undefined);
        this.#tellLater();
        return null;
      },
      findExperts: async (wanted) => {
        await this.#scanned();
        return findExperts(index, wanted);
      },
      expertPicture: async ({ path }) => ({ ...(await this.#pictureOf(path)) }),
      recipes: () => this.#recipes.list(),
      saveRecipe: async ({ name, mix }) => {
        const card = await this.#recipes.save(name, mix);
        await this.#tellRecipes();
        return card;
      },
      loadRecipe: async ({ path }) => {
        await this.#scanned();
        return this.#recipes.load(path, index);
      },
      removeRecipe: async ({ path }) => {
        await this.#recipes.remove(path);
        await this.#tellRecipes();
        return null;
      },
    };
  }

  /** Opens with the folders and tags kept in the state folder; `files` reads headers and whole files beside the drawing. */
  static async open(surroundings: DeskSurroundings, files: EngineClient): Promise<LibraryDesk> {
    const { stateFolder } = surroundings.options;
    const marks = await LibraryMarks.open(stateFolder);
    let desk: LibraryDesk | undefined = undefined as LibraryDesk | undefined;
    const index = await LibraryIndex.open({
      client: files,
      // In a folder of its own: what lies in the state folder itself says which dropped files are still needed.
      cacheFile: join(stateFolder, 'library', 'index.json'),
      onRead: (path) => {
        desk?.hearRead(path);
      },
    });
    desk = new LibraryDesk(surroundings, marks, files, index);
    if (marks.message !== undefined) surroundings.tell({ kind: 'message', message: marks.message });
    return desk;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#newsTimer);
    await this.#watch.close();
    await this.#index.close();
    await this.#marks.written().catch(() => undefined);
  }

  async #contents(model: string | undefined): Promise<LibraryContents> {
    const wanted = model ?? this.#surroundings.options.model;
    if (wanted !== this.#model) {
      this.#model = wanted;
      if (this.#scan !== undefined) await this.#look();
    }
    await this.#scanned();
    return {
      folders: this.#folders,
      cards: this.#index.files.map((file) => this.#cardOf(file)),
      missing: this.#missing(),
      reading: this.#index.waiting,
    };
  }

  /** Resolves when the folders have been looked through once. */
  #scanned(): Promise<void> {
    return this.#scan ?? this.#look();
  }

  async #addFolder(path: string): Promise<void> {
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory() !== true) {
      const message = `${path} is not a folder that can be read on this machine. Check its path.`;
      throw new FailureError({ kind: 'bad-request', message });
    }
    const { folders } = this.#marks;
    if (!folders.includes(path)) await this.#setFolders([...folders, path]);
  }

  async #setFolders(folders: readonly string[]): Promise<void> {
    await this.#marks.setFolders(folders);
    this.#watching = false;
    await this.#look();
  }

  /** Looks through all folders; once more when it is asked for meanwhile. */
  #look(): Promise<void> {
    this.#asked++;
    if (this.#looking !== undefined) return this.#looking;
    this.#looking = this.#lookThrough().finally(() => {
      this.#looking = undefined;
    });
    this.#scan = this.#looking;
    return this.#looking;
  }
  async #lookThrough(): Promise<void> {
    let asked;
    do {
      asked = this.#asked;
      const before = new Map(this.#index.files.map((file) => [file.path, file]));
      const model = this.#model;
      const files = await this.#findFiles();
      if (this.#closed) return;
      this.#index.update(files, model);
      for (const file of files) {
        if (before.get(file.path)?.stamp !== file.stamp) this.#changed.add(file.path);
        this.#gone.delete(file.path);
        before.delete(file.path);
      }
      for (const path of before.keys()) this.#gone.add(path);
    } while (asked !== this.#asked);
    if (!this.#watching) {
      this.#watching = true;
      void this.#surroundings.shelf.thumbnails?.trim();
      void this.#watch.watch([...this.#marks.folders, ...this.#ownFolders().map(({ path }) => path)]);
    }
    this.#tellLater();
    this.#linkMarks();
  }

  /** Folders of the app's own, which are not shown as the artist's. */
  #ownFolders(): readonly { readonly path: string; readonly place: ExpertPlace }[] {
    const { folder, stateFolder } = this.#surroundings.options;
    return [
      { path: join(folder, 'trained'), place: 'trained' },
      { path: join(stateFolder, 'dropped'), place: 'dropped' },
    ];
  }

  async #findFiles(): Promise<readonly PlacedFile[]> {
    const { bundled } = this.#surroundings.options;
    const all = new Map<string, PlacedFile>();
    const take = (files: readonly FoundFile[], place: ExpertPlace): void => {
      for (const file of files) if (!all.has(file.path)) all.set(file.path, { ...file, place });
    };
    for (const folder of new Set(bundled.map((path) => dirname(path)))) {
      const files = await findLibraryFiles(folder).catch(() => []);
      take(
        files.filter(({ path }) => bundled.includes(path)),
        'bundled',
      );
    }
    const folders: LibraryFolder[] = [];
    for (const path of this.#marks.folders) {
      try {
        const files = await findLibraryFiles(path);
        take(files, 'library');
        folders.push({ path, files: files.length });
      } catch (error) {
        folders.push({ path, files: 0, problem: whyUnreadable(error) });
      }
    }
    for (const { path, place } of this.#ownFolders()) {
      const files = await findLibraryFiles(path).catch(() => []);
      // Each dropped file has a folder of its own, whose name means nothing.
      take(place === 'dropped' ? files.map((file) => ({ ...file, below: '' })) : files, place);
    }
    this.#folders = folders;
    return [...all.values()];
  }

  #cardOf(file: PlacedFile): LibraryCard {
    const facts = this.#index.factsOf(file);
    const reason = this.#index.reasonOf(file);
    const mark = this.#markOf(file);
    const { thumbnails } = this.#surroundings.shelf;
    return {
      path: file.path,
      name: file.name,
      place: file.place,
      below: file.below,
      bytes: file.bytes,
      modifiedMs: file.modifiedMs,
      kind: 'lora',
      summary: '',
      algorithms: [],
      triggerWords: [],
      ownTags: [],
      ...facts?.shown,
      fits: reason === undefined,
      ...(reason === undefined ? {} : { reason }),
      ...(facts?.picture === true && thumbnails !== undefined
        ? { thumbnail: thumbnails.put(file.path, file.stamp) }
        : {}),
      favourite: mark?.favourite ?? unmarked.favourite,
      tags: mark?.tags ?? unmarked.tags,
      notes: mark?.notes ?? unmarked.notes,
    };
  }

  #markOf(file: PlacedFile): Mark | undefined {
    return this.#marks.of(this.#index.knownHashes(file)?.autoV3);
  }

  async #mark(path: string, change: Partial<Pick<Mark, 'favourite' | 'tags' | 'notes'>>): Promise<LibraryCard> {
    await this.#scanned();
    const file = this.#index.files.find((other) => other.path === path);
    if (file === undefined || file.refused) {
      const message = `${path} is not in the library any more, so nothing can be noted about it.`;
      throw new FailureError({ kind: 'bad-request', message });
    }
    const { autoV3 } = await this.#index.readHashes(file);
    const { name, bytes } = file;
    await this.#marks.set(autoV3, { ...unmarked, ...this.#marks.of(autoV3), ...change, name, path, bytes });
    // Copies of the file share what is noted about it.
    for (const other of this.#index.files) {
      if (this.#index.knownHashes(other)?.autoV3 === autoV3) this.#changed.add(other.path);
    }
    this.#tellLater();
    return this.#cardOf(file);
  }

  /** Marks whose file is in no folder now. */
  #missing(): readonly MissingExpert[] {
    const present = new Set(this.#index.files.map((file) => this.#index.knownHashes(file)?.autoV3));
    return this.#marks.all
      .filter(([hash]) => !present.has(hash))
      .map(([hash, { favourite, tags, notes, name, path }]) => ({ hash, favourite, tags, notes, name, path }));
  }

  /** Reads files that may be a marked one that was moved: those of its size or its name. */
  #linkMarks(): void {
    this.#linking = this.#linking.then(async () => {
      for (const { hash } of this.#missing()) {
        const mark = this.#marks.of(hash);
        const candidates = this.#index.files.filter(
          (file) => !file.refused && (file.bytes === mark?.bytes || file.name === mark?.name),
        );
        for (const file of candidates) {
          if (this.#closed) return;
          if (this.#index.knownHashes(file) !== undefined) continue;
          const read = await this.#index.readHashes(file).catch(() => undefined);
          if (read === undefined || this.#marks.of(read.autoV3) === undefined) continue;
          this.#changed.add(file.path);
          const { path, name, bytes } = file;
          await this.#marks.set(read.autoV3, { ...this.#marks.of(read.autoV3)!, path, name, bytes });
          if (read.autoV3 === hash) break;
        }
      }
      this.#tellLater();
    });
  }

  /** A file was read; with none, all were. */
  hearRead(path: string | undefined): void {
    if (path !== undefined) this.#changed.add(path);
    this.#tellLater();
  }

  #tellLater(): void {
    if (this.#closed) return;
    this.#newsTimer ??= setTimeout(
      () => {
        this.#newsTimer = undefined;
        const changed = this.#index.files.filter(({ path }) => this.#changed.has(path));
        this.#surroundings.tell({
          kind: 'library',
          changed: changed.map((file) => this.#cardOf(file)),
          gone: [...this.#gone],
          missing: this.#missing(),
          folders: this.#folders,
          reading: this.#index.waiting,
        });
        this.#changed.clear();
        this.#gone.clear();
      },
      this.#index.waiting > many ? gatherManyMs : gatherMs,
    );
  }

  async #tellRecipes(): Promise<void> {
    this.#surroundings.tell({ kind: 'recipes', recipes: await this.#recipes.list() });
  }

  /** The id of a LoRA's picture, wherever the LoRA lies. */
  async #pictureOf(path: string): Promise<{ readonly id: string } | undefined> {
    const { thumbnails } = this.#surroundings.shelf;
    const found = await stat(path).catch(() => undefined);
    if (thumbnails === undefined || found === undefined) return undefined;
    const id = thumbnails.put(path, `${found.size}:${found.mtimeMs}`);
    return (await thumbnails.pathOf(id)) === undefined ? undefined : { id };
  }
}

function whyUnreadable(error: unknown): string {
  if (error instanceof RangeError) return error.message;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'The folder is not there. A drive may not be connected.';
  return code === 'EACCES' || code === 'EPERM'
    ? 'This account may not read it.'
    : `It could not be read (${error instanceof Error ? error.message : String(error)}).`;
}
