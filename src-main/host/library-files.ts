// The files of a library's folder that could be experts, found by their names alone: nothing is opened here.
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';

export interface FoundFile {
  /** Absolute; the folder where PEFT or diffusers wrote one. */
  readonly path: string;
  /** What it is called: the file's name without its ending. */
  readonly name: string;
  /** Folder below the one that was looked through, with slashes; empty at its top. */
  readonly below: string;
  readonly bytes: number;
  readonly modifiedMs: number;
  /** Changes with the file, and with the pictures and notes beside it. */
  readonly stamp: string;
  /** A pickled file (.ckpt, .pt): it is listed and never opened. */
  readonly refused: boolean;
}

/** A folder that has more is a mistaken one, such as the whole disk. */
const mostEntries = 50_000;
const deepest = 16;

const usable = /\.safetensors$/i;
/** Formats that can run code when they are read. */
const pickled = /\.(ckpt|pt|pth)$/i;
const beside = /\.(png|jpe?g|webp|gif|txt|json|civitai\.info)$/i;
/** What PEFT and diffusers call the file in a LoRA's folder. */
const folderFile = /^(adapter_model|pytorch_lora_weights)\.safetensors$/;

/** Whether a change of the file called `name` can change a library. */
export const matters = (name: string): boolean => usable.test(name) || pickled.test(name) || beside.test(name);

/**
 * Files below `folder`, in the order of their names, sub-folders included and linked ones once. A folder that cannot be read
 * rejects with the system's error; one below it that cannot is left out. Throws RangeError for a folder with more than 50,000
 * entries.
 */
export async function findLibraryFiles(folder: string): Promise<readonly FoundFile[]> {
  const found: FoundFile[] = [];
  const visited = new Set<string>([await realpath(folder)]);
  let entries = 0;

  const walk = async (inside: string, names: readonly string[], depth: number): Promise<void> => {
    const here = await Promise.all(
      names
        .filter((name) => !name.startsWith('.'))
        .sort()
        .map(async (name) => ({ name, facts: await stat(join(inside, name)).catch(() => undefined) })),
    );
    entries += here.length;
    if (entries > mostEntries) {
      throw new RangeError(
        `${folder} holds more than ${mostEntries} files. Choose the folder of the LoRAs, not one above it.`,
      );
    }
    const files = here.flatMap(({ name, facts }) => (facts?.isFile() === true ? [{ name, facts }] : []));
    for (const { name, facts } of files) {
      if (!usable.test(name) && !pickled.test(name)) continue;
      const inOwnFolder = folderFile.test(name) && inside !== folder;
      const stem = name.replace(/\.[^.]*$/, '');
      const companions = files.filter((other) => other.name.startsWith(`${stem}.`) && beside.test(other.name));
      const path = inOwnFolder ? inside : join(inside, name);
      found.push({
        path,
        name: inOwnFolder ? basename(inside) : stem,
        below: relative(folder, dirname(path)).split(sep).join('/'),
        bytes: facts.size,
        modifiedMs: facts.mtimeMs,
        stamp: [{ facts }, ...companions].map((file) => `${file.facts.size}:${file.facts.mtimeMs}`).join(' '),
        refused: pickled.test(name),
      });
    }
    for (const { name, facts } of here) {
      if (facts?.isDirectory() !== true || depth >= deepest) continue;
      const path = join(inside, name);
      const real = await realpath(path).catch(() => undefined);
      if (real === undefined || visited.has(real)) continue;
      visited.add(real);
      await walk(path, await readdir(path).catch(() => []), depth + 1);
    }
  };

  await walk(folder, await readdir(folder), 0);
  return found;
}
