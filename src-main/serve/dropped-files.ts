// Files that a browser sends because it cannot name them: each goes under its own name into a folder named by its content, so
// that nothing is overwritten, no name can lead elsewhere, and the same file sent twice is kept once. A file that does not
// arrive whole leaves nothing behind; one that nobody has used for long goes.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, realpath, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** The sender did something wrong; the message says what. */
export class UploadError extends Error {
  override readonly name = 'UploadError';
}

const weightsName = /\.safetensors$/i;
/** What comes alone: LoRAs and gates, pictures, recipes. */
const acceptedName = /\.(safetensors|png|jpe?g|webp|mole\.json)$/i;
/** What lies beside a LoRA and tells about it (engine/sidecars.ts). */
const acceptedSidecar = /\.(png|jpe?g|webp|gif|json|info|txt)$/i;
/** The largest LoRAs have a few GB. */
const largest = { bytes: 8 * 1024 ** 3, message: 'The file is larger than 8 GB, which no LoRA is.' };
const largestSidecar = {
  bytes: 64 * 1024 ** 2,
  message: 'The file is larger than 64 MB, which nothing beside a LoRA is.',
};
/** How long a file is kept that nothing remembers. */
const keptMs = 30 * 24 * 3600 * 1000;

/**
 * Writes `bytes` into `folder` as a file called `name`; returns its absolute path. With `beside`, the path of a file that was
 * received before, it is a sidecar of that one and goes next to it. Throws UploadError.
 */
export async function receiveDroppedFile(
  bytes: Readable,
  name: string,
  folder: string,
  beside?: string,
): Promise<string> {
  // What a file system could take for a path, a device or a hidden file becomes an underscore.
  const plain = name.replace(/[\p{Cc}<>:"/\\|?*]/gu, '_').replace(/^\.+/, '_');
  const accepted = beside === undefined ? acceptedName : acceptedSidecar;
  if (!accepted.test(plain) || plain.length > 200) {
    const wanted =
      beside === undefined
        ? '.safetensors files, pictures and recipes'
        : 'pictures, .json, .info and .txt files beside a LoRA';
    throw new UploadError(`Only ${wanted} can be added here, got "${plain.slice(0, 200)}".`);
  }
  const neighbour = beside === undefined ? undefined : await folderOf(beside, folder);
  await mkdir(folder, { recursive: true });
  const part = join(folder, `${randomUUID()}.part`);
  const hash = createHash('sha256');
  const most = beside === undefined ? largest : largestSidecar;
  let size = 0;
  bytes.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    size += chunk.length;
    if (size > most.bytes) bytes.destroy(new UploadError(most.message));
  });
  try {
    await pipeline(bytes, createWriteStream(part, { flags: 'wx' }));
    const own = neighbour ?? join(folder, hash.digest('hex').slice(0, 32));
    await mkdir(own, { recursive: true });
    // Over the same bytes under the same name, when they were sent before.
    await rename(part, join(own, plain));
    await utimes(own, new Date(), new Date());
    return join(own, plain);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** The folder of a file that was received before. Throws UploadError for any other. */
async function folderOf(path: string, folder: string): Promise<string> {
  try {
    const [root, file] = await Promise.all([realpath(folder), realpath(path)]);
    if (dirname(dirname(file)) === root && weightsName.test(file)) return dirname(file);
  } catch {
    // It is not there.
  }
  throw new UploadError('The file that this one belongs to was not sent before.');
}

/**
 * Removes the files of `folder` that came long before `now` (milliseconds since 1970) and that no file of `stateFolder`, such
 * as the queue, mentions any more. Files that were cut off go too.
 */
export async function removeForgottenFiles(folder: string, stateFolder: string, now: number): Promise<void> {
  const forgotten = new Set<string>();
  for (const name of await readdir(folder).catch(() => [])) {
    const { mtimeMs } = await stat(join(folder, name));
    if (now - mtimeMs > keptMs) forgotten.add(name);
  }
  for (const entry of forgotten.size === 0 ? [] : await readdir(stateFolder, { withFileTypes: true })) {
    if (entry.isFile()) await keepMentioned(join(stateFolder, entry.name), forgotten);
  }
  for (const name of forgotten) await rm(join(folder, name), { recursive: true, force: true });
}

/** Takes the names that the file holds, as text anywhere in it, out of `names`. */
async function keepMentioned(file: string, names: Set<string>): Promise<void> {
  const longest = 64;
  let rest = '';
  for await (const chunk of createReadStream(file, { encoding: 'latin1' })) {
    const text = rest + (chunk as string);
    for (const name of names) if (text.includes(name)) names.delete(name);
    // A name may lie across two chunks.
    rest = text.slice(-longest);
  }
}
