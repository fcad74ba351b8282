// Recipes (*.mole.json) that can be loaded: those that came with the app, and the artist's own in the folder `recipes` beside the
// pictures. A recipe names its files by name and hash; what is missing is told, never left out silently.
import { access, mkdir, readdir, readFile, rename, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { EngineClient } from '../client/engine-client.ts';
import { explainIssues } from '../contract/check.ts';
import { recipeSchema, type MixRequest, type Recipe } from '../contract/experts.ts';
import { FailureError } from '../contract/failure.ts';
import type { LoadedRecipe, RecipeCard, RecipeFile } from '../contract/window-library.ts';
import { findIdentity, type Identity } from './expert-finder.ts';
import type { LibraryIndex } from './library-index.ts';

const ending = '.mole.json';
/** A stack of 64 experts with block weights has some 20 KB. */
const mostBytes = 2 ** 20;

export class RecipeShelf {
  /** Where the artist's own recipes are; absolute. */
  readonly folder: string;
  readonly #bundledFolder: string | undefined;
  readonly #client: EngineClient;

  constructor(folder: string, bundledFolder: string | undefined, client: EngineClient) {
    this.folder = folder;
    this.#bundledFolder = bundledFolder;
    this.#client = client;
  }

  /** The bundled ones first, each kind by name; a damaged one has a card with its problem. */
  async list(): Promise<readonly RecipeCard[]> {
    const bundled = this.#bundledFolder === undefined ? [] : await recipesIn(this.#bundledFolder);
    const own = await recipesIn(this.folder);
    return Promise.all([...bundled.map((path) => cardOf(path, true)), ...own.map((path) => cardOf(path, false))]);
  }

  /** Writes `mix` under `name`, or the first free `name-2`, `name-3`…. Rejects with a FailureError. */
  async save(name: string, mix: MixRequest): Promise<RecipeCard> {
    const plain = name.replace(/[\p{Cc}<>:"/\\|?*]/gu, '_').replace(/^\.+|[. ]+$/g, '_');
    await mkdir(this.folder, { recursive: true });
    for (let count = 1; ; count++) {
      const output = join(this.folder, `${plain}${count === 1 ? '' : `-${count}`}${ending}`);
      if (await isThere(output)) continue;
      const { path } = await this.#client.request('saveRecipe', { mix, output });
      return cardOf(path, false);
    }
  }

  /** Reads a recipe, wherever it lies, and finds its files in `index` and beside it. Rejects with a FailureError. */
  async load(path: string, index: LibraryIndex): Promise<LoadedRecipe> {
    const { experts: rows, gate, mode, masks, overrides, switchEvery, np } = await readRecipe(path);
    const locate = async (wanted: Identity): Promise<RecipeFile> => {
      const found = (await this.#beside(path, wanted)) ?? (await findIdentity(index, wanted))?.path;
      return { name: wanted.name, sha256: wanted.sha256, ...(found === undefined ? {} : { path: found }) };
    };
    const experts = [];
    for (const { name, sha256, bytes, ...settings } of rows) {
      experts.push({ ...(await locate({ name, sha256, bytes })), settings });
    }
    return {
      ...present({ mode, masks, overrides, switchEvery, np }),
      name: nameOf(path),
      experts,
      ...(gate === undefined ? {} : { gate: await locate(gate) }),
    };
  }

  /** Moves one of the artist's own recipes to the folder `removed` beside it. Rejects with a FailureError for any other. */
  async remove(path: string): Promise<void> {
    if (dirname(path) !== this.folder || !path.endsWith(ending)) {
      throw new FailureError({ kind: 'bad-request', message: `${path} is not one of your own recipes.` });
    }
    const removed = join(this.folder, 'removed');
    await mkdir(removed, { recursive: true });
    for (let count = 1; ; count++) {
      const target = join(removed, `${nameOf(path)}${count === 1 ? '' : `-${count}`}${ending}`);
      if (await isThere(target)) continue;
      await rename(path, target);
      return;
    }
  }

  async #beside(path: string, { name, sha256, bytes }: Identity): Promise<string | undefined> {
    // A name is a name: nothing above or below the recipe's folder.
    const file = join(dirname(path), basename(name));
    const found = await stat(file).catch(() => undefined);
    if (found?.isFile() !== true || (bytes !== undefined && found.size !== bytes)) return undefined;
    const report = await this.#client.request('inspect', { path: file, hashes: true }).catch(() => undefined);
    return report?.hashes?.sha256 === sha256 ? file : undefined;
  }
}

/** `fields` without the undefined ones: the contract knows only absent ones. */
const present = <Fields extends object>(fields: Fields): Partial<Fields> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Fields>;

const nameOf = (path: string): string => basename(path).slice(0, -ending.length);

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function recipesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => name.endsWith(ending) && !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name));
}

async function cardOf(path: string, bundled: boolean): Promise<RecipeCard> {
  const modifiedMs = (await stat(path).catch(() => undefined))?.mtimeMs ?? 0;
  const facts = { path, name: nameOf(path), bundled, modifiedMs };
  try {
    const { experts, gate } = await readRecipe(path);
    const names = experts.map(({ name }) => name.replace(/\.safetensors$/i, ''));
    return { ...facts, experts: names, gate: gate !== undefined };
  } catch (error) {
    return { ...facts, experts: [], gate: false, problem: error instanceof Error ? error.message : String(error) };
  }
}

async function readRecipe(path: string): Promise<Recipe> {
  const file = basename(path);
  const refuse = (why: string): FailureError => new FailureError({ kind: 'bad-file', message: `${file}: ${why}` });
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true) throw refuse('there is no such file. Look whether it was moved.');
  if (found.size > mostBytes) throw refuse(`it has ${found.size} bytes; a recipe has at most ${mostBytes}.`);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch {
    throw refuse(
      'this is no recipe, or it is damaged: it cannot be read as JSON. Recipes are written by this program.',
    );
  }
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > 1) {
    throw refuse(`this recipe is of version ${version}, this program reads version 1. Update the program.`);
  }
  const parsed = recipeSchema.safeParse(json);
  if (!parsed.success) throw refuse(`this is no recipe, or it is damaged. ${explainIssues(parsed.error, json)}`);
  return parsed.data;
}
