// What the artist told the library: its folders, and tags, notes and favourites of files. These are kept by the hash of a file's
// weights (AutoV3), so that they follow a file that is moved, renamed or given new metadata, and no file is ever written to.
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeAtomically } from '../client/write-atomically.ts';

const hash = z.string().regex(/^[0-9a-f]{64}$/);

const markSchema = z.strictObject({
  favourite: z.boolean(),
  tags: z.array(z.string().max(60)).max(40),
  notes: z.string().max(4000),
  /** Of the file when it was last seen, so that another one can be recognised as it without reading all of them. */
  name: z.string(),
  path: z.string(),
  bytes: z.number().int().min(0),
});
export type Mark = z.infer<typeof markSchema>;

const fileSchema = z.strictObject({
  version: z.literal(1),
  folders: z.array(z.string().min(1)).max(64),
  /** By AutoV3. */
  marks: z.record(hash, markSchema),
});
type Contents = z.infer<typeof fileSchema>;

const fileName = 'library.json';

export class LibraryMarks {
  /** Said when the file was damaged and put aside. */
  readonly message: string | undefined;
  readonly #path: string;
  #contents: Contents;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, contents: Contents, message: string | undefined) {
    this.#path = path;
    this.#contents = contents;
    this.message = message;
  }

  /** Reads `library.json` of the state folder. A damaged one is put aside as `library.json.damaged`, never overwritten. */
  static async open(stateFolder: string): Promise<LibraryMarks> {
    const path = join(stateFolder, fileName);
    const empty: Contents = { version: 1, folders: [], marks: {} };
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch {
      return new LibraryMarks(path, empty, undefined);
    }
    try {
      return new LibraryMarks(path, fileSchema.parse(JSON.parse(text)), undefined);
    } catch {
      await rename(path, `${path}.damaged`);
      const message =
        `The library's folders and tags could not be read. The file was put aside as ${path}.damaged; ` +
        'choose the folders again.';
      return new LibraryMarks(path, empty, message);
    }
  }

  get folders(): readonly string[] {
    return this.#contents.folders;
  }

  /** Hash and mark of every file that the artist has marked. */
  get all(): readonly (readonly [string, Mark])[] {
    return Object.entries(this.#contents.marks);
  }

  of(autoV3: string | undefined): Mark | undefined {
    return autoV3 === undefined ? undefined : this.#contents.marks[autoV3];
  }

  async setFolders(folders: readonly string[]): Promise<void> {
    await this.#change({ ...this.#contents, folders: [...folders] });
  }

  /** Keeps `mark`; one that says nothing is forgotten, as is undefined. */
  async set(autoV3: string, mark: Mark | undefined): Promise<void> {
    const says = mark !== undefined && (mark.favourite || mark.tags.length > 0 || mark.notes !== '');
    const others = Object.entries(this.#contents.marks).filter(([key]) => key !== autoV3);
    await this.#change({
      ...this.#contents,
      marks: Object.fromEntries(says ? [...others, [autoV3, mark]] : others),
    });
  }

  /** Resolves when everything is on the disk. */
  written(): Promise<void> {
    return this.#writing;
  }

  #change(contents: Contents): Promise<void> {
    this.#contents = contents;
    const text = `${JSON.stringify(contents, undefined, 2)}\n`;
    this.#writing = this.#writing.catch(() => undefined).then(() => writeAtomically(this.#path, text));
    return this.#writing;
  }
}
