// Files that lie beside a LoRA and tell about it, paired by name as A1111 and its extensions write them: a picture, a
// description, the user's own notes, and what the Civitai helper downloaded. Strangers' texts: limited in size and depth,
// only the known fields are read, and a bad one is left out with a warning.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';

export interface Sidecars {
  /** All that were found and understood, absolute. */
  readonly files: readonly string[];
  readonly picture?: string;
  readonly description?: string;
  readonly notes?: UserNotes;
  readonly civitai?: CivitaiInfo;
  readonly warnings: readonly string[];
}

/** `<stem>.json`, written by A1111's user-metadata editor. */
export interface UserNotes {
  readonly description?: string;
  /** 'SD1', 'SD2', 'SDXL', 'SD3' or 'Unknown'. */
  readonly baseModel?: string;
  readonly activationText?: string;
  readonly preferredWeight?: number;
  readonly negativeText?: string;
  readonly notes?: string;
}

/** `<stem>.civitai.info`, written by the Civitai helper: Civitai's answer about this version. */
export interface CivitaiInfo {
  readonly trainedWords: readonly string[];
  /** e.g. 'SD 1.5'. */
  readonly baseModel?: string;
  readonly title?: string;
  readonly author?: string;
  /** HTML on Civitai; here its text alone. */
  readonly description?: string;
}

const mostTextBytes = 2 ** 16;
const mostJsonBytes = 2 ** 22;
const mostDepth = 32;
const pictureEndings = ['png', 'jpg', 'jpeg', 'webp', 'gif'];

/** Looks for the sidecars of the file at `path` (absolute). Never throws. */
export async function findSidecars(path: string): Promise<Sidecars> {
  const stem = path.replace(/\.[^./\\]*$/, '');
  const files: string[] = [];
  const warnings: string[] = [];

  const firstOf = async <T>(endings: readonly string[], read: (file: string) => Promise<T | undefined>) => {
    for (const ending of endings) {
      const file = `${stem}${ending}`;
      try {
        const found = await read(file);
        if (found === undefined) continue;
        files.push(file);
        return found;
      } catch (error) {
        // A sidecar is a help, never a reason to fail.
        const reason = error instanceof Error ? error.message : String(error);
        warnings.push(`${basename(file)} beside it is not used: ${reason}`);
      }
    }
    return undefined;
  };

  const pictures = ['', '.preview'].flatMap((middle) => pictureEndings.map((ending) => `${middle}.${ending}`));
  const picture = await firstOf(pictures, async (file) => ((await sizeOf(file)) === undefined ? undefined : file));
  const description = await firstOf(['.txt', '.description.txt'], (file) => readText(file, mostTextBytes));
  const notes = await firstOf(['.json'], async (file) => userNotes(await readJson(file)));
  const civitai = await firstOf(['.civitai.info'], async (file) => civitaiInfo(await readJson(file)));
  return {
    files,
    ...(picture === undefined ? {} : { picture }),
    ...(description === undefined ? {} : { description: description.trim() }),
    ...(notes === undefined ? {} : { notes }),
    ...(civitai === undefined ? {} : { civitai }),
    warnings,
  };
}

function userNotes(json: Fields | undefined): UserNotes | undefined {
  if (json === undefined) return undefined;
  const weight = json['preferred weight'];
  // A1111 writes 0 where nothing was set.
  const preferredWeight = typeof weight === 'number' && Number.isFinite(weight) && weight !== 0 ? weight : undefined;
  const notes = {
    ...text('description', json['description']),
    ...text('baseModel', json['sd version']),
    ...text('activationText', json['activation text']),
    ...(preferredWeight === undefined ? {} : { preferredWeight }),
    ...text('negativeText', json['negative text']),
    ...text('notes', json['notes']),
  };
  return Object.keys(notes).length === 0 ? undefined : notes;
}

function civitaiInfo(json: Fields | undefined): CivitaiInfo | undefined {
  if (json === undefined) return undefined;
  const { trainedWords } = json;
  const words = Array.isArray(trainedWords) ? trainedWords.filter((word) => typeof word === 'string') : [];
  const { description } = json;
  const [model, creator] = [fieldsOf(json['model']), fieldsOf(json['creator'])];
  return {
    trainedWords: words.slice(0, 1000).map((word) => word.slice(0, mostTextBytes)),
    ...text('baseModel', json['baseModel']),
    ...text('title', model?.['name']),
    ...text('author', creator?.['username']),
    ...text('description', typeof description === 'string' ? textOfHtml(description) : undefined),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

/** `{ [name]: value }` when `value` is a text with something in it, `{}` otherwise. */
function text<Name extends string>(name: Name, value: unknown): { readonly [Key in Name]?: string } {
  if (typeof value !== 'string' || value.trim() === '') return {};
  return { [name]: value.trim().slice(0, mostTextBytes) } as { [Key in Name]: string };
}

/** The words of an HTML text, for reading; nothing trusts it to be free of markup. */
export function textOfHtml(html: string): string {
  const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', nbsp: ' ', '#39': "'" };
  return html
    .slice(0, mostTextBytes)
    .replace(/<(\/p|br|\/li|\/h\d)\b[^<>]*>/gi, '\n')
    .replace(/<[^<>]*>/g, '')
    .replace(/&(#?\w{1,8});/g, (whole, name: string) => entities[name] ?? whole)
    .replace(/\n{2,}/g, '\n')
    .trim();
}

async function readJson(file: string): Promise<Fields | undefined> {
  const content = await readText(file, mostJsonBytes);
  if (content === undefined) return undefined;
  const json = fieldsOf(parseBoundedJson(content.replace(/^\uFEFF/, ''), { mostLength: mostJsonBytes, mostDepth }));
  if (json === undefined) throw new JsonError('it is not a JSON object.');
  return json;
}

/** The size of a regular file; undefined when there is none. */
async function sizeOf(file: string): Promise<number | undefined> {
  return withFile(file, (_, size) => Promise.resolve(size));
}

/** The text of a file of at most `mostBytes`; undefined when there is none. */
async function readText(file: string, mostBytes: number): Promise<string | undefined> {
  return withFile(file, async (handle, size) => {
    if (size > mostBytes) throw new Error(`it has ${size} bytes, at most ${mostBytes} are read.`);
    return (await handle.readFile()).subarray(0, mostBytes).toString('utf8');
  });
}

async function withFile<T>(
  file: string,
  use: (handle: FileHandle, size: number) => Promise<T>,
): Promise<T | undefined> {
  let handle;
  try {
    // A named pipe of that name would wait for ever (Windows knows no such flag).
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG') return undefined;
    throw error;
  }
  try {
    const found = await handle.stat();
    return found.isFile() ? await use(handle, found.size) : undefined;
  } finally {
    await handle.close();
  }
}
