// The one owner of sessions: keeps the last model open, so that the next picture starts at once, and closes it before
// another takes its memory.
import type { PredictionType } from '../networks/configs.ts';
import { openCheckpoint } from './checkpoint.ts';
import { fileStamp } from './file-hashes.ts';
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
    // A whole order is a request too: what else it says opens nothing anew.
    const { model, vae, prediction } = request;
    const stamps = [await fileStamp(model), vae === undefined ? '' : await fileStamp(vae)];
    const key = JSON.stringify([model, vae, prediction, device, ...stamps]);
    if (this.#current?.key === key) return this.#current.model;
    await this.close();
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
