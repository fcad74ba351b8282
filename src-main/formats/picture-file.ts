// What a picture file is, before anybody decodes it: its bytes within a limit, its format by its first bytes, and the
// error that says what is wrong with it. Pictures come from strangers, so sizes are checked before memory is spent.
import { open } from 'node:fs/promises';

/** What is wrong with a picture. */
export type PictureProblem =
  'unreadable' | 'not-a-picture' | 'broken' | 'too-large' | 'metadata-too-large' | 'bad-request';

/** A picture that cannot be read or written; the message names it and says what to do. */
export class PictureError extends Error {
  override readonly name = 'PictureError';
  readonly problem: PictureProblem;

  constructor(problem: PictureProblem, message: string, cause?: unknown) {
    super(message, { cause });
    this.problem = problem;
  }
}

/** A file's path, or its content. */
export type PictureSource = string | Uint8Array;

/** Largest picture file that is opened, in bytes. */
export const largestPictureBytes = 512 * 2 ** 20;

/** How messages call a source: its path, or "the picture" for bytes. */
export function nameOf(source: PictureSource): string {
  return typeof source === 'string' ? source : 'the picture';
}

/** The source's bytes. Throws PictureError for a missing or unreadable file, a folder, an empty or a huge file. */
export async function readPictureBytes(source: PictureSource): Promise<Uint8Array> {
  const bytes = typeof source === 'string' ? await readFileWithin(source) : source;
  if (bytes.length > largestPictureBytes) throw tooLarge(source, bytes.length);
  if (bytes.length === 0) throw new PictureError('not-a-picture', `${nameOf(source)} is empty.`);
  return bytes;
}

async function readFileWithin(path: string): Promise<Uint8Array> {
  try {
    const file = await open(path, 'r');
    try {
      const found = await file.stat();
      if (!found.isFile()) {
        throw new PictureError('not-a-picture', `${path} is not a file. Choose a picture file.`);
      }
      if (found.size > largestPictureBytes) throw tooLarge(path, found.size);
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof PictureError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new PictureError(
      'unreadable',
      `${path} cannot be read (${reason}). Check the name and its permissions.`,
      error,
    );
  }
}

function tooLarge(source: PictureSource, bytes: number): PictureError {
  const [has, may] = [Math.round(bytes / 2 ** 20), largestPictureBytes / 2 ** 20];
  return new PictureError(
    'too-large',
    `${nameOf(source)} holds ${has} MiB; a picture may hold ${may} MiB. Save it smaller.`,
  );
}

/** The formats whose text this project reads itself; undefined for any other content. */
export function sniffFormat(bytes: Uint8Array): 'png' | 'jpeg' | 'webp' | undefined {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 12)).toString('latin1');
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (start.startsWith('\xff\xd8\xff')) return 'jpeg';
  return start.startsWith('RIFF') && start.endsWith('WEBP') ? 'webp' : undefined;
}
