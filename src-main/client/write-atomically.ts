// A small state file that is either the old one or the new one, never half of each: written beside, synced, renamed.
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Replaces `path` by `text`; it is on the disk when this resolves. One writer at a time. Throws the system's error. */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = `${path}.part`;
  const file = await open(temporary, 'w');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  // The new name survives a power cut too; Windows cannot sync a folder and does not need to.
  const folder = await open(dirname(path), 'r').catch(() => undefined);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}
