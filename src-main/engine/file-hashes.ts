// The names that a file's content has in the community: SHA-256 of the whole file (Civitai, Hugging Face) and its first ten
// digits (A1111's model hash), SHA-256 of the weights without their header (kohya's `sshs_model_hash`, Civitai's AutoV3)
// and its first twelve (A1111's LoRA hash), and A1111's oldest hash, of 64 KiB at 1 MiB. Read once per file and process.
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { FileHashes } from '../contract/files.ts';

/** Bytes per read. */
const chunkBytes = 4 * 2 ** 20;
const legacyFrom = 0x100000;
const legacyBytes = 0x10000;

/** Size and time of a file: another stamp means another file. Missing files are reported where they are read. */
export async function fileStamp(path: string): Promise<string> {
  try {
    const { size, mtimeMs } = await stat(path);
    return `${size}:${mtimeMs}`;
  } catch {
    return 'missing';
  }
}

const wholes = new Map<string, string>();
const all = new Map<string, FileHashes>();

/**
 * SHA-256 of the whole file, in lower-case hex. Streams it: a second or more for a gigabyte. Throws the system's error when
 * it cannot be read, and an AbortError when `signal` is aborted.
 */
export async function fileSha256(path: string, signal?: AbortSignal): Promise<string> {
  const key = await fileKey(path);
  const known = wholes.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for await (const chunk of read(path, signal)) hash.update(chunk);
  const sha256 = hash.digest('hex');
  wholes.set(key, sha256);
  return sha256;
}

/** All hashes of a safetensors file, in one reading. Throws as `fileSha256`. */
export async function fileHashes(path: string, signal?: AbortSignal): Promise<FileHashes> {
  const key = await fileKey(path);
  const known = all.get(key);
  if (known !== undefined) return known;
  const [whole, weights, oldest] = [createHash('sha256'), createHash('sha256'), createHash('sha256')];
  const start = Buffer.alloc(8);
  let [at, dataFrom] = [0, Infinity];
  for await (const chunk of read(path, signal)) {
    whole.update(chunk);
    if (at < 8) {
      chunk.copy(start, at, 0, 8 - at);
      if (at + chunk.length >= 8) dataFrom = 8 + Number(start.readBigUInt64LE());
    }
    updateRange(weights, chunk, at, dataFrom, Infinity);
    updateRange(oldest, chunk, at, legacyFrom, legacyFrom + legacyBytes);
    at += chunk.length;
  }
  const [sha256, autoV3] = [whole.digest('hex'), weights.digest('hex')];
  const legacy = oldest.digest('hex').slice(0, 8);
  const hashes = { sha256, autoV2: sha256.slice(0, 10), autoV3, short: autoV3.slice(0, 12), legacy };
  wholes.set(key, sha256);
  all.set(key, hashes);
  return hashes;
}

const fileKey = async (path: string): Promise<string> => `${path}:${await fileStamp(path)}`;

const read = (path: string, signal: AbortSignal | undefined): AsyncIterable<Buffer> =>
  createReadStream(path, { highWaterMark: chunkBytes, signal });

/** Feeds the part of `chunk`, which lies at byte `at` of its file, that is between `from` and `to`. */
function updateRange(hash: Hash, chunk: Buffer, at: number, from: number, to: number): void {
  const [begin, end] = [Math.max(0, from - at), Math.min(chunk.length, to - at)];
  if (begin < end) hash.update(chunk.subarray(begin, end));
}

/**
 * First 10 hex digits of a single-file checkpoint's SHA-256: A1111's model hash. Undefined for folders and unreadable
 * files.
 */
export async function modelHash(path: string): Promise<string | undefined> {
  try {
    return (await stat(path)).isFile() ? (await fileSha256(path)).slice(0, 10) : undefined;
  } catch {
    return undefined;
  }
}
