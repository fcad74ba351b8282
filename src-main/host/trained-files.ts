// Gates and LoRAs that were trained here, in a folder of their own: listed, and put there complete under a name that was free.
import { randomUUID } from 'node:crypto';
import { copyFile, link, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainedFile } from '../contract/window-training.ts';

const gateEnding = '.mole.safetensors';
const loraEnding = '.safetensors';

/** The file of a gate or LoRA called `name`. */
export const trainedFileName = (kind: TrainedFile['kind'], name: string): string =>
  `${name}${kind === 'gate' ? gateEnding : loraEnding}`;

/** Newest first; a folder that is not there holds none. */
export async function listTrained(folder: string): Promise<readonly TrainedFile[]> {
  const names = (await readdir(folder).catch(() => [])).filter(
    (name) => name.endsWith(loraEnding) && !name.startsWith('.'),
  );
  const files = await Promise.all(
    names.map(async (file): Promise<readonly TrainedFile[]> => {
      const path = join(folder, file);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined) return [];
      const kind = file.endsWith(gateEnding) ? 'gate' : 'lora';
      const name = file.slice(0, -(kind === 'gate' ? gateEnding : loraEnding).length);
      return [{ path, name, kind, bytes: found.size, modifiedMs: found.mtimeMs }];
    }),
  );
  return files.flat().sort((a, b) => b.modifiedMs - a.modifiedMs);
}

/**
 * Moves the finished file `from`, also from another disk, into `folder` as `name`, or `name-2`, `name-3`… where that is taken.
 * Returns its path. Throws the system's error; `from` is then still there.
 */
export async function placeTrained(
  from: string,
  folder: string,
  kind: TrainedFile['kind'],
  name: string,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const part = join(folder, `.${randomUUID()}.part`);
  try {
    await copyFile(from, part);
    for (let count = 1; ; count++) {
      const path = join(folder, trainedFileName(kind, count === 1 ? name : `${name}-${count}`));
      if (!(await takeName(part, path))) continue;
      await unlink(from);
      return path;
    }
  } finally {
    await unlink(part).catch(() => undefined);
  }
}

/** Gives the file `part` the name `path`; false when it is taken. */
async function takeName(part: string, path: string): Promise<boolean> {
  try {
    await link(part, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
  }
  // Some disks have no hard links: an empty file reserves the name, then the complete one replaces it.
  try {
    await (await open(path, 'wx')).close();
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
  await rename(part, path);
  return true;
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);
