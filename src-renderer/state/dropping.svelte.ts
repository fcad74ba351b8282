// What is dropped on the window, or chosen, sorted by kind: experts with what lies beside them, folders, recipes, pictures.
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { navigation } from './navigation.svelte.ts';
import { recipes } from './recipes.svelte.ts';
import { restoring, type RestorablePicture } from './restoring.svelte.ts';
import { studio } from './studio.svelte.ts';

/** Something dropped: a file of the browser, or a file of a folder that the host has listed. */
interface Dropped {
  readonly name: string;
  /** Where it came from: what has the same folder may belong together. */
  readonly folder: string;
  /** Its path on the host's machine; with `beside`, it is put next to that file where it has to be sent. */
  readonly locate: (beside?: string) => Promise<string>;
}

/** What a drag carries, as far as a browser tells before the drop. */
export type Hovering = 'pictures' | 'files' | 'both';

/** A picture that waits for the artist's word. */
export interface OpenPicture extends RestorablePicture {
  readonly path: string;
  /** Paths of the pictures that were dropped with it. */
  readonly others: readonly string[];
}

type Kind = 'expert' | 'recipe' | 'picture' | 'beside' | 'other';

const text = strings.dropping;

/** The endings of what may lie beside a LoRA (the engine's sidecars), longest first. */
const besideEndings = /(\.preview)?\.(png|jpe?g|webp|gif)$|\.description\.txt$|\.civitai\.info$|\.(txt|json)$/i;
/** Folders in folders, and files in all: more is a mistaken folder. */
const deepest = 8;
const mostFiles = 500;

class Dropping {
  #picture = $state.raw<OpenPicture>();
  #looking = $state(false);

  /** The picture that the artist is asked about. */
  get picture(): OpenPicture | undefined {
    return this.#picture;
  }

  /** Whether a dropped picture is being read. */
  get looking(): boolean {
    return this.#looking;
  }

  /** Takes what was dropped; must be called within the event. */
  async drop(data: DataTransfer): Promise<void> {
    const loose: Dropped[] = [];
    const folders: Promise<readonly Dropped[]>[] = [];
    // The transfer is emptied when the event is over, so all of it is taken now.
    for (const item of data.items) {
      if (item.kind !== 'file') continue;
      const file = item.getAsFile();
      const entry = item.webkitGetAsEntry();
      if (entry?.isDirectory === true) {
        folders.push(
          connection.welcome?.place === 'desktop' && file !== null
            ? this.#listOnHost(file)
            : filesOf(entry as FileSystemDirectoryEntry),
        );
      } else if (file !== null) {
        loose.push(ofFile(file, ''));
      }
    }
    const listed: Dropped[] = [];
    for (const folder of folders) listed.push(...((await connection.attempt(() => folder)) ?? []));
    if (folders.length > 0 && listed.length + loose.length === 0) connection.tell(text.emptyFolder);
    await this.#take([...loose, ...listed], folders.length > 0);
  }

  /** Takes files that were chosen in a dialog. */
  async choose(files: readonly File[]): Promise<void> {
    await this.#take(
      files.map((file) => ofFile(file, '')),
      false,
    );
  }

  /** Asks what to do with a picture whose experts are missing. */
  ask(picture: RestorablePicture): void {
    this.#picture = { ...picture, path: '', others: [] };
  }

  close(): void {
    this.#picture = undefined;
  }

  /** Takes the open picture, and those dropped with it, to the pictures that a training learns from. */
  async train({ picture, path, others }: OpenPicture): Promise<void> {
    this.close();
    const { prompt } = picture.settings;
    const caption = prompt === undefined || prompt === '' ? {} : { caption: prompt.slice(0, 2000) };
    const pictures = [{ path, ...caption }, ...others.map((other) => ({ path: other }))];
    await connection.attempt(() => connection.request('addTrainingPictures', { pictures }));
    navigation.show('train');
  }

  async #take(all: readonly Dropped[], fromFolder: boolean): Promise<void> {
    const experts = all.filter(({ name }) => kindOf(name) === 'expert');
    const owners = new Map(experts.map((expert) => [keyOf(expert, /\.safetensors$/i), expert]));
    const ownerOf = (file: Dropped): Dropped | undefined => owners.get(keyOf(file, besideEndings));
    const beside = all.filter((file) => kindOf(file.name) !== 'expert' && ownerOf(file) !== undefined);
    const rest = all.filter((file) => !experts.includes(file) && !beside.includes(file));
    const pictures = rest.filter(({ name }) => kindOf(name) === 'picture');
    const dropped = rest.filter(({ name }) => kindOf(name) === 'recipe');
    // A text beside a picture is its caption.
    const pictured = new Set(pictures.map((picture) => keyOf(picture, besideEndings)));
    const unused = rest.filter(
      (file) =>
        kindOf(file.name) === 'other' || (kindOf(file.name) === 'beside' && !pictured.has(keyOf(file, besideEndings))),
    );

    await this.#addExperts(
      experts,
      (expert) => beside.filter((file) => ownerOf(file) === expert),
      fromFolder
        ? []
        : unused.map(({ name }) => (kindOf(name) === 'beside' ? text.ownerless(name) : text.unusable(name))),
    );
    if (fromFolder && unused.length > 0) connection.tell(text.ignored(unused.length));
    for (const recipe of dropped) {
      const path = await connection.attempt(() => recipe.locate());
      if (path !== undefined) await recipes.load(path);
    }
    // Pictures in a folder of LoRAs are what came along with them.
    if (!fromFolder || experts.length === 0) await this.#askAbout(pictures);
    if (this.#picture !== undefined && experts.length > 0) {
      this.#picture = { ...this.#picture, ...(await restoring.lookAgain(this.#picture)) };
    }
  }

  async #addExperts(
    experts: readonly Dropped[],
    besideOf: (expert: Dropped) => readonly Dropped[],
    refused: string[],
  ): Promise<void> {
    const files = experts.map((expert) => ({
      name: expert.name,
      locate: async (): Promise<string> => {
        const path = await expert.locate();
        for (const file of besideOf(expert)) await connection.attempt(() => file.locate(path));
        return path;
      },
    }));
    let added = 0;
    for (const one of await studio.addAll(files)) {
      if (one?.kind === 'refused') refused.push(one.message);
      else if (one !== undefined) added += 1;
    }
    if (refused.length === 0) return;
    connection.tell(added === 0 ? refused.join('\n') : [text.batch(added, refused.length), ...refused].join('\n'));
  }

  async #askAbout(pictures: readonly Dropped[]): Promise<void> {
    const [first, ...others] = pictures;
    if (first === undefined) return;
    this.#looking = true;
    await connection.attempt(async () => {
      const path = await first.locate();
      const read = await restoring.read({ path });
      if (read === undefined) return;
      const paths: string[] = [];
      for (const other of others) paths.push(await other.locate());
      this.#picture = { ...read, path, others: paths };
    });
    this.#looking = false;
  }

  async #listOnHost(folder: File): Promise<readonly Dropped[]> {
    const path = await connection.locate(folder);
    const { paths, cut } = await connection.request('listFolder', { path });
    if (cut) connection.tell(text.cut(paths.length));
    return paths.map((file) => {
      const place = Math.max(file.lastIndexOf('/'), file.lastIndexOf('\\'));
      return { name: file.slice(place + 1), folder: file.slice(0, place), locate: () => Promise.resolve(file) };
    });
  }
}

/** What a drag carries; undefined when it carries no files. */
export function hoveringOf(data: DataTransfer | null): Hovering | undefined {
  if (data?.types.includes('Files') !== true) return undefined;
  const files = [...data.items].filter(({ kind }) => kind === 'file');
  const pictures = files.filter(({ type }) => type.startsWith('image/')).length;
  if (pictures === 0) return 'files';
  return pictures === files.length ? 'pictures' : 'both';
}

function kindOf(name: string): Kind {
  if (/\.safetensors$/i.test(name)) return 'expert';
  if (/\.mole\.json$/i.test(name)) return 'recipe';
  if (/\.(png|jpe?g|webp)$/i.test(name)) return 'picture';
  return besideEndings.test(name) ? 'beside' : 'other';
}

const keyOf = ({ name, folder }: Dropped, ending: RegExp): string => `${folder}/${name.replace(ending, '')}`;

const ofFile = (file: File, folder: string): Dropped => ({
  name: file.name,
  folder,
  locate: (beside) => connection.locate(file, beside),
});

/** Files below a folder of the browser; hidden ones are left out. */
async function filesOf(root: FileSystemDirectoryEntry): Promise<readonly Dropped[]> {
  const files: Dropped[] = [];
  const walk = async (folder: FileSystemDirectoryEntry, depth: number): Promise<void> => {
    const reader = folder.createReader();
    for (;;) {
      // At most a hundred at a time; none when all were given.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
        reader.readEntries(resolve, reject);
      });
      if (some.length === 0) return;
      for (const entry of some) {
        if (entry.name.startsWith('.') || files.length >= mostFiles) continue;
        if (entry.isDirectory && depth < deepest) await walk(entry as FileSystemDirectoryEntry, depth + 1);
        if (!entry.isFile) continue;
        const file = await new Promise<File>((resolve, reject) => {
          (entry as FileSystemFileEntry).file(resolve, reject);
        });
        files.push(ofFile(file, folder.fullPath));
      }
    }
  };
  await walk(root, 0);
  if (files.length >= mostFiles) connection.tell(text.cut(files.length));
  return files;
}

export const dropping = new Dropping();
