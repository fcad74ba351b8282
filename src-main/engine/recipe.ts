// Recipe files (*.mole.json): a stack of experts with its weights, masks, mode and gate, to be kept and passed on. Files are named by
// name and SHA-256, never by path, so that a recipe works on another machine and never means another file.
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { recipeSchema, type MixRequest, type MixSettings, type Recipe } from '../contract/experts.ts';
import { FailureError } from '../contract/failure.ts';
import { JsonError, parseBoundedJson } from '../formats/bounded-json.ts';
import { writeNew, type WhenTaken } from '../formats/write-new.ts';
import { fileSha256 } from './file-hashes.ts';
import { listFiles, type ListedFile } from './list-files.ts';

/** The part of a mix that a recipe holds. */
export type RecipeMix = Pick<MixSettings, 'experts' | 'mode' | 'masks' | 'overrides' | 'switchEvery' | 'np' | 'gate'>;

/** A stack of 64 experts with block weights has some 20 KB. */
const mostBytes = 2 ** 20;
const mostDepth = 8;

type Identity = Pick<Recipe['experts'][number], 'name' | 'sha256' | 'bytes'>;

/**
 * Reads a recipe and finds its files in `folders`, their sub-folders, and beside the recipe: those of the same name first, but
 * the hash decides, so that a renamed file is found and another one of the same name is not taken. Throws FailureError: for a
 * file that is no recipe, and for all missing files at once, by name and hash.
 */
export async function readRecipe(path: string, folders: readonly string[]): Promise<RecipeMix> {
  const recipe = checkRecipe(path, await readJson(path));
  const beside = await listFiles([dirname(resolve(path))], false);
  const files = [...beside, ...(await listFiles(folders))];
  const missing: string[] = [];
  const find = async (wanted: Identity): Promise<string> => {
    const named = files.filter((file) => basename(file.path) === wanted.name);
    const others = files.filter((file) => !named.includes(file));
    const found = (await firstWithHash(named, wanted)) ?? (await firstWithHash(others, wanted));
    if (found === undefined) {
      const other = named.length > 0 ? `; ${named[0]!.path} has other content` : '';
      missing.push(`${wanted.name} (SHA-256 ${wanted.sha256}${other})`);
    }
    return found ?? '';
  };
  const experts: RecipeMix['experts'] = [];
  for (const { name, sha256, bytes, ...row } of recipe.experts) {
    experts.push({ path: await find({ name, sha256, bytes }), ...row });
  }
  const gate = recipe.gate === undefined ? undefined : await find(recipe.gate);
  if (missing.length > 0) {
    const places = [...folders, 'beside the recipe'].join(', ');
    throw new FailureError({
      kind: 'bad-request',
      file: path,
      message:
        `${path} needs ${missing.length === 1 ? 'a file that was' : `${missing.length} files that were`} not found: ${missing.join(', ')}. ` +
        `Looked in: ${places}. Give the folder that holds them, or put them beside the recipe.`,
    });
  }
  const { mode, masks, overrides, switchEvery, np } = recipe;
  return { experts, mode, masks, overrides, switchEvery, np, gate };
}

/** Reads the files of the right size in order until one is the wanted one. */
async function firstWithHash(files: readonly ListedFile[], { sha256, bytes }: Identity): Promise<string | undefined> {
  for (const file of files) {
    if (bytes !== undefined && file.bytes !== bytes) continue;
    // A file that cannot be read is not the one.
    if ((await fileSha256(file.path).catch(() => undefined)) === sha256) return file.path;
  }
  return undefined;
}

function checkRecipe(path: string, json: unknown): Recipe {
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > 1) {
    throw badRecipe(path, `this recipe is of version ${version}, this program reads version 1. Update the program.`);
  }
  const parsed = recipeSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const { path: field, message } = parsed.error.issues[0]!;
  const where = ` (${[field.map(String).join('.'), message].filter((part) => part !== '').join(': ')})`;
  throw badRecipe(path, `this is no recipe, or it is damaged${where}. Recipes are written by this program.`);
}

async function readJson(path: string): Promise<unknown> {
  const found = await stat(path);
  if (!found.isFile()) throw badRecipe(path, 'this is no file. Give the recipe file itself.');
  if (found.size > mostBytes) throw badRecipe(path, `it has ${found.size} bytes; a recipe has at most ${mostBytes}.`);
  try {
    return parseBoundedJson(await readFile(path, 'utf8'), { mostLength: mostBytes, mostDepth });
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw badRecipe(path, `this is no recipe: ${error.message}`);
  }
}

function badRecipe(path: string, reason: string): FailureError {
  return new FailureError({ kind: 'bad-file', file: path, message: `${path}: ${reason}` });
}

/**
 * Writes a recipe of `mix`, whose files are read for their hashes, and returns the path it got: an older file stays unless
 * `whenTaken` says otherwise. Throws WriteError, and the system's error for an expert or gate that cannot be read.
 */
export async function writeRecipe(
  path: string,
  mix: Pick<MixRequest, keyof RecipeMix>,
  { whenTaken = 'number' }: { readonly whenTaken?: WhenTaken } = {},
): Promise<string> {
  const experts = [];
  for (const { path: file, ...row } of mix.experts ?? []) experts.push({ ...(await identityOf(file)), ...row });
  const { mode, masks, overrides, switchEvery, np, gate } = mix;
  const recipe = recipeSchema.parse({
    version: 1,
    ...withoutUndefined({ mode, switchEvery, np, masks, overrides }),
    ...(gate === undefined ? {} : { gate: await identityOf(gate) }),
    experts,
  });
  const target = extname(path) === '' ? `${path}.mole.json` : path;
  return writeNew(target, Buffer.from(`${JSON.stringify(recipe, undefined, 2)}\n`), { whenTaken });
}

/** A PEFT folder is known by the weights in it. */
async function identityOf(path: string): Promise<Identity> {
  const file = (await stat(path)).isDirectory() ? join(path, 'adapter_model.safetensors') : path;
  return { name: basename(file), sha256: await fileSha256(file), bytes: (await stat(file)).size };
}

/** `object` without its undefined fields: the contract knows only absent ones. */
function withoutUndefined<T extends object>(object: T): Partial<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Partial<T>;
}
