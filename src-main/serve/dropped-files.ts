// Files that a browser sends because it cannot name them: each goes under its own name into a folder of its own, so that
// nothing is overwritten and no name can lead elsewhere. A file that does not arrive whole leaves nothing behind.
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** The sender did something wrong; the message says what. */
export class UploadError extends Error {
  override readonly name = 'UploadError';
}

const acceptedName = /\.safetensors$/i;
/** Bytes; the largest LoRAs have a few GB. */
const largest = 8 * 1024 ** 3;

/** Writes `bytes` into `folder` as a file called `name`; returns its absolute path. Throws UploadError. */
export async function receiveDroppedFile(bytes: Readable, name: string, folder: string): Promise<string> {
  // What a file system could take for a path, a device or a hidden file becomes an underscore.
  const plain = name.replace(/[\p{Cc}<>:"/\\|?*]/gu, '_').replace(/^\.+/, '_');
  if (!acceptedName.test(plain) || plain.length > 200) {
    throw new UploadError(`Only .safetensors files can be added here, got "${plain.slice(0, 200)}".`);
  }
  const own = join(folder, randomUUID());
  await mkdir(own, { recursive: true });
  const [part, path] = [join(own, 'incoming.part'), join(own, plain)];
  let size = 0;
  bytes.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > largest) bytes.destroy(new UploadError('The file is larger than 8 GB, which no LoRA is.'));
  });
  try {
    await pipeline(bytes, createWriteStream(part, { flags: 'wx' }));
    await rename(part, path);
    return path;
  } catch (error) {
    await rm(own, { recursive: true, force: true });
    throw error;
  }
}
