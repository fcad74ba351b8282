// Files that another version, a crash or a hand has damaged: told from whole ones, and kept under another name beside what takes
// their place.
import { rename } from 'node:fs/promises';
import { join, parse } from 'node:path';

/** `folder/queue.json` -> `folder/queue.damaged-2026-01-31T12-00-00.000Z.json`. */
export function damagedName(path: string): string {
  const { dir, name, ext } = parse(path);
  return join(dir, `${name}.damaged-${new Date().toISOString().replaceAll(':', '-')}${ext}`);
}

/** Renames the file at `path`; returns its new path. Rejects with the system's error. */
export async function setAside(path: string): Promise<string> {
  const aside = damagedName(path);
  await rename(path, aside);
  return aside;
}

/** What `text` says as JSON; undefined when it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
