// One process at a time in a folder: a lock file that names its owner, so that one left by a dead process is recognised.
import { randomBytes } from 'node:crypto';
import { readFileSync, unlinkSync } from 'node:fs';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

const ownerSchema = z.object({
  pid: z.number().int(),
  host: z.string(),
  /** When the process started, as the system counts it; tells a reused process id. Linux only. */
  started: z.string().optional(),
  token: z.string(),
});
type Owner = z.infer<typeof ownerSchema>;

/** The folder is in use by another process. */
export class FolderInUseError extends Error {
  override readonly name = 'FolderInUseError';
}

export interface FolderLock {
  readonly release: () => Promise<void>;
}

/**
 * Takes the lock `name` in `folder`. A lock whose process has ended is replaced. Throws FolderInUseError when another
 * living process, or another machine, holds it.
 */
export async function lockFolder(folder: string, name = 'queue.lock'): Promise<FolderLock> {
  const path = join(folder, name);
  const token = randomBytes(8).toString('hex');
  const started = startOf(process.pid);
  const owner: Owner = { pid: process.pid, host: hostname(), token, ...(started === undefined ? {} : { started }) };
  for (let tries = 0; tries < 5; tries++) {
    if (await create(path, JSON.stringify(owner))) {
      const removeOnExit = (): void => {
        if (readOwner(readTextSync(path))?.token === token) unlinkSync(path);
      };
      process.on('exit', removeOnExit);
      return {
        release: async () => {
          process.off('exit', removeOnExit);
          if (readOwner(await readText(path))?.token === token) await unlink(path);
        },
      };
    }
    const text = await readText(path);
    if (text === undefined) continue;
    const holder = readOwner(text);
    if (holder !== undefined && isAlive(holder)) {
      throw new FolderInUseError(
        `${folder} is in use by another atelier (process ${holder.pid} on ${holder.host}). ` +
          `Close it first, or choose another folder. If it no longer runs, delete ${path}.`,
      );
    }
    await removeStale(path, text);
  }
  throw new FolderInUseError(`${folder} could not be locked: others take ${path} at the same moment. Try again.`);
}

/** True when the file was created; false when it exists. It appears with its content, so nobody reads half a lock. */
async function create(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${process.pid}.new`;
  await writeFile(temporary, text);
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    // A file system without hard links: created exclusively, and read as stale only in the instant before its content.
    return await writeFile(path, text, { flag: 'wx' }).then(
      () => true,
      (second: unknown) => {
        if (codeOf(second) === 'EEXIST') return false;
        throw second;
      },
    );
  } finally {
    await unlink(temporary);
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);

/** Moves the stale lock away, and puts it back when it turns out that another process has just taken its place. */
async function removeStale(path: string, expected: string): Promise<void> {
  const aside = `${path}.${process.pid}.stale`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readText(aside)) === expected) await unlink(aside);
  else await rename(aside, path);
}

function isAlive({ pid, host, started }: Owner): boolean {
  // Of another machine nothing can be known; its owner is believed.
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, under another account.
    if (codeOf(error) !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return started === undefined || now === undefined || started === now;
}

/** Field 22 of /proc/PID/stat, clock ticks from boot to the start of the process; undefined where there is no /proc. */
function startOf(pid: number): string | undefined {
  const stat = readTextSync(`/proc/${pid}/stat`);
  // The second field is the program's name in parentheses and may hold anything.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

function readOwner(text: string | undefined): Owner | undefined {
  if (text === undefined) return undefined;
  try {
    return ownerSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

const readText = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);

function readTextSync(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
