// What the host remembers for all windows and the settings dialog changes.
import type { OutputSettings } from '../../src-main/contract/window-settings.ts';
import { connection } from './connection.svelte.ts';

class Preferences {
  #output = $state.raw<OutputSettings>();

  constructor() {
    connection.onNews((news) => {
      if (news.kind === 'settings') this.#output = news.settings.output;
    });
  }

  /** How new pictures are written; undefined before `read`. */
  get output(): OutputSettings | undefined {
    return this.#output;
  }

  async read(): Promise<void> {
    const settings = await connection.attempt(() => connection.request('settings', {}));
    if (settings !== undefined) this.#output = settings.output;
  }

  async setOutput(output: Partial<OutputSettings>): Promise<void> {
    const settings = await connection.attempt(() => connection.request('changeSettings', { output }));
    if (settings !== undefined) this.#output = settings.output;
  }
}

export const preferences = new Preferences();
