// The one owner of sessions: keeps the last model open, so that the next picture starts at once, and closes it before
// another takes its memory.
import { createReadStream } from 'node:fs';
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { PredictionType } from '../networks/configs.ts';
import { openCheckpoint } from './checkpoint.ts';
import { LoadedModel, type ModelDevice } from './loaded-model.ts';

export interface ModelRequest {
  readonly model: string;
  readonly vae?: string | undefined;
  readonly prediction?: PredictionType | undefined;
}

export class ModelStore {
  #current: { readonly key: string; readonly model: LoadedModel } | undefined;

  /** The model of `request` on `device`; opened headers only, networks follow when used. A changed file is reopened. */
  async open(request: ModelRequest, device: ModelDevice): Promise<LoadedModel> {
    const key = JSON.stringify([
      request,
      device,
      await stamp(request.model),
      request.vae && (await stamp(request.vae)),
    ]);
    if (this.#current?.key === key) return this.#current.model;
    await this.close();
    const { model, vae, prediction } = request;
    const checkpoint = await openCheckpoint(model, {
      ...(vae === undefined ? {} : { vae }),
      ...(prediction === undefined ? {} : { prediction }),
    });
    this.#current = { key, model: new LoadedModel(checkpoint, device) };
    return this.#current.model;
  }

  /** Closes the open model, after any run in progress. */
  async close(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.model.release();
  }
}

/** Size and time of a file: another stamp means another file. Missing files are reported where they are read. */
async function stamp(path: string): Promise<string> {
  try {
    const { size, mtimeMs } = await stat(path);
    return `${size}:${mtimeMs}`;
  } catch {
    return 'missing';
  }
}

const hashes = new Map<string, string>();

/**
 * First 10 hex digits of a single-file checkpoint's SHA-256: A1111's model hash. Read once per file and process;
 * undefined for folders and unreadable files.
 */
export async function modelHash(path: string): Promise<string | undefined> {
  const key = `${path}:${await stamp(path)}`;
  const known = hashes.get(key);
  if (known !== undefined) return known;
  try {
    if (!(await stat(path)).isFile()) return undefined;
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path, { highWaterMark: 4 * 2 ** 20 })) hash.update(chunk as Uint8Array);
    const short = hash.digest('hex').slice(0, 10);
    hashes.set(key, short);
    return short;
  } catch {
    return undefined;
  }
}
