// The .safetensors files of the folders in which an artist keeps LoRAs: what <lora:…> tags and recipes are looked up in.
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

export interface ListedFile {
  /** Absolute. */
  readonly path: string;
  /** Below its folder, with slashes and without its ending: `styles/ink`. */
  readonly stem: string;
  readonly bytes: number;
}

/** Collections have thousands of files; one that has more is a mistaken folder, such as the whole disk. */
const mostEntries = 100_000;
const deepest = 16;

/**
 * Files below `folders`, in the order of the folders and by name in each; sub-folders are gone through unless `deep` is false,
 * linked ones once. Folders that are not there or cannot be read count as empty.
 */
export async function listFiles(folders: readonly string[], deep = true): Promise<readonly ListedFile[]> {
  const files: ListedFile[] = [];
  const visited = new Set<string>();
  let entries = 0;
  const walk = async (root: string, folder: string, depth: number): Promise<void> => {
    const real = await realpath(folder).catch(() => undefined);
    if (real === undefined || visited.has(real)) return;
    visited.add(real);
    const names = await readdir(folder).catch((): string[] => []);
    for (const name of names.sort()) {
      entries += 1;
      if (entries > mostEntries) return;
      if (name.startsWith('.')) continue;
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found?.isDirectory() === true && deep && depth < deepest) await walk(root, path, depth + 1);
      if (found?.isFile() !== true || !/\.safetensors$/i.test(name)) continue;
      const stem = relative(root, path)
        .split(sep)
        .join('/')
        .replace(/\.safetensors$/i, '');
      files.push({ path, stem, bytes: found.size });
    }
  };
  for (const folder of folders) await walk(folder, folder, 0);
  return files;
}
