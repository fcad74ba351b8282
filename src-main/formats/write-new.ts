// Writing a finished file: it appears under its name complete or not at all, and never replaces another one.
// The bytes go to a hidden temporary file in the same folder, reach the disk (fsync), and get their name by a hard link,
// which the file system refuses when the name is taken, also by another process at the same moment.
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';

/** Why a file could not be written. */
export type WriteProblem = 'disk-full' | 'no-permission' | 'no-folder' | 'bad-name' | 'taken' | 'other';

/** A file could not be written; nothing was left behind under its name. `cause` is the system's error. */
export class WriteError extends Error {
  override readonly name = 'WriteError';
  readonly problem: WriteProblem;
  readonly path: string;

  constructor(problem: WriteProblem, path: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.problem = problem;
    this.path = path;
  }
}

/** What to do when the name is in use: take `name-2.ext`, `name-3.ext`…; fail; or replace the old file in one step. */
export type WhenTaken = 'number' | 'fail' | 'replace';

const mostNumbers = 100_000;

/**
 * Writes `content` (bytes, or chunks as they come) to a new file and returns the path it got: `path` itself, or with
 * `whenTaken` 'number' (the default) the first free `name-2.ext`, `name-3.ext`…. The folder must exist.
 * Throws WriteError for a full disk, a missing folder, no permission, an unusable name; an error thrown by the chunk
 * source passes through as it is. In every failing case the temporary file is removed.
 */
export async function writeNew(
  path: string,
  content: Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { whenTaken = 'number' }: { readonly whenTaken?: WhenTaken } = {},
): Promise<string> {
  const folder = dirname(path);
  const temporary = join(folder, `${temporaryPrefix}${process.pid}-${randomBytes(6).toString('hex')}.part`);
  const file = await system(path, () => open(temporary, 'wx'));
  try {
    await writeAll(file, path, content);
    if (whenTaken === 'replace') {
      await system(path, () => rename(temporary, path));
      await syncFolder(folder);
      return path;
    }
    for (let count = 1; count <= (whenTaken === 'fail' ? 1 : mostNumbers); count += 1) {
      const candidate = numbered(path, count);
      if (await system(path, () => takeName(temporary, candidate))) {
        await syncFolder(folder);
        return candidate;
      }
    }
    throw new WriteError('taken', path, `${path} exists already; nothing was written. Choose another name.`);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

const temporaryPrefix = '.atelier-';

/** `name.png`, `name-2.png`, `name-3.png`… */
function numbered(path: string, count: number): string {
  const extension = extname(path);
  return count === 1 ? path : `${path.slice(0, path.length - extension.length)}-${count}${extension}`;
}

async function writeAll(file: FileHandle, path: string, content: Parameters<typeof writeNew>[1]): Promise<void> {
  try {
    for await (const chunk of content instanceof Uint8Array ? [content] : content) {
      for (let offset = 0; offset < chunk.length;) {
        const rest = chunk.subarray(offset);
        offset += (await system(path, () => file.write(rest))).bytesWritten;
      }
    }
    await system(path, () => file.sync());
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  // Network file systems report a full disk only now.
  await system(path, () => file.close());
}

/** Gives the temporary file the name `path`; false when the name is taken. */
async function takeName(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    // FAT, exFAT and some network shares have no hard links, and say so with a dozen different codes. A failure for any
    // other reason comes back from the second way.
    return reserveAndRename(temporary, path);
  }
}

/** Without hard links: an empty file reserves the name exclusively, then the complete one replaces it in one step. */
export async function reserveAndRename(temporary: string, path: string): Promise<boolean> {
  try {
    await (await open(path, 'wx')).close();
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
  try {
    await rename(temporary, path);
  } catch (error) {
    await unlink(path).catch(() => undefined);
    throw error;
  }
  return true;
}

/** So that the name survives a power cut too. Windows and some file systems cannot sync a folder: then it is skipped. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close().catch(() => undefined);
}

/**
 * Makes a folder and those above it that are missing. Where that is not allowed or not possible it throws the system's
 * own error, with the folder that could not be made as its `path`. (Node's own recursive mkdir never returns in file
 * systems that refuse without saying so, such as /proc.)
 */
export async function makeFolder(folder: string): Promise<void> {
  const make = async (path: string, parentMade: boolean): Promise<void> => {
    try {
      await mkdir(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST' && (await stat(path)).isDirectory()) return;
      if (code !== 'ENOENT' || parentMade || dirname(path) === path) throw error;
      await make(dirname(path), false);
      await make(path, true);
    }
  };
  await make(folder, false);
}

/**
 * Removes what writers killed half-way left in `folder`: temporary files older than `olderThanMs` (an hour by default,
 * so that a writer at work is not disturbed). Returns how many. A folder that cannot be read counts as clean.
 */
export async function removeUnfinished(folder: string, olderThanMs = 3_600_000): Promise<number> {
  const names = await readdir(folder).catch((): string[] => []);
  let removed = 0;
  for (const name of names.filter((n) => n.startsWith(temporaryPrefix) && n.endsWith('.part'))) {
    const path = join(folder, name);
    const age = await stat(path).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    );
    if (age < olderThanMs) continue;
    removed += await unlink(path).then(
      () => 1,
      () => 0,
    );
  }
  return removed;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** Runs one system call for `path` and turns its failure into a WriteError that says what to do. */
async function system<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw error instanceof WriteError ? error : explain(path, error);
  }
}

function explain(path: string, error: unknown): WriteError {
  const [folder, name] = [dirname(path), basename(path)];
  const failed = (problem: WriteProblem, why: string): WriteError =>
    new WriteError(problem, path, `Could not write ${name} to ${folder}: ${why} Nothing was left behind.`, error);
  switch (codeOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return failed('disk-full', 'the disk is full. Free some space or choose a folder on another disk.');
    case 'EFBIG':
      return failed('disk-full', 'the file is larger than this disk or account allows. Choose another folder.');
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return failed(
        'no-permission',
        'this account may not write there. Choose another folder or change its permissions.',
      );
    case 'ENOENT':
    case 'ENOTDIR':
      return failed('no-folder', 'the folder does not exist. Create it or choose another one.');
    case 'ENAMETOOLONG':
    case 'EISDIR':
    case 'EILSEQ':
      return failed(
        'bad-name',
        `the name cannot be used here (${String(codeOf(error))}). Choose a shorter or simpler one.`,
      );
    default:
      return failed('other', `${error instanceof Error ? error.message : String(error)}.`);
  }
}
