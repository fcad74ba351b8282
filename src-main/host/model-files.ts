// Files and folders that could be models, found by their names alone: nothing is opened here.
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

export interface ModelFile {
  /** Absolute. */
  readonly path: string;
  readonly name: string;
  /** Changes with the file. */
  readonly stamp: string;
}

/** A folder that has more is a mistaken one, such as the whole disk. */
const mostEntries = 20_000;
const deepest = 6;

/**
 * .safetensors files and diffusers folders (those with a model_index.json, which are not gone through) below `folder`, by name;
 * linked folders once. A folder that cannot be read rejects with the system's error; one below it that cannot is left out. Throws
 * RangeError for a folder with more than 20,000 entries.
 */
export async function findModelFiles(folder: string): Promise<readonly ModelFile[]> {
  const found: ModelFile[] = [];
  const visited = new Set<string>();
  let entries = 0;
  const walk = async (inside: string, names: readonly string[], depth: number): Promise<void> => {
    const real = await realpath(inside);
    if (visited.has(real)) return;
    visited.add(real);
    entries += names.length;
    if (entries > mostEntries) {
      throw new RangeError(
        `${folder} holds more than ${mostEntries} files. Choose the folder of the models, not one above it.`,
      );
    }
    if (names.includes('model_index.json')) {
      const { mtimeMs } = await stat(join(inside, 'model_index.json'));
      found.push({ path: inside, name: basename(inside), stamp: String(mtimeMs) });
      return;
    }
    for (const name of [...names].sort()) {
      if (name.startsWith('.')) continue;
      const path = join(inside, name);
      const facts = await stat(path).catch(() => undefined);
      if (facts?.isFile() === true && /\.safetensors$/i.test(name)) {
        const stamp = `${facts.size} ${facts.mtimeMs}`;
        found.push({ path, name: name.replace(/\.safetensors$/i, ''), stamp });
      } else if (facts?.isDirectory() === true && depth < deepest) {
        await walk(path, await readdir(path).catch(() => []), depth + 1);
      }
    }
  };
  await walk(folder, await readdir(folder), 0);
  return found;
}
