// Watches the library's folders, and calls once after a burst of changes has calmed down.
import { basename } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';
import { matters } from './library-files.ts';

/** Milliseconds of quiet: a download of a LoRA is written in many pieces. */
const quietMs = 400;
const deepest = 16;

export class FolderWatch {
  readonly #onChange: () => void;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Watches `folders` from now on, and none of before. A folder that is not there yet is noticed when it comes. */
  async watch(folders: readonly string[]): Promise<void> {
    await this.close();
    if (folders.length === 0) return;
    const ignored = (path: string, facts?: { isFile: () => boolean }): boolean =>
      (basename(path).startsWith('.') && !folders.includes(path)) ||
      (facts?.isFile() === true && !matters(basename(path)));
    this.#watcher = watch([...folders], { ignored, ignoreInitial: true, depth: deepest, ignorePermissionErrors: true });
    this.#watcher.on('all', () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(this.#onChange, quietMs);
    });
    // A folder that cannot be watched, such as one over the network, still has the button that looks again.
    this.#watcher.on('error', () => undefined);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#watcher?.close();
    this.#watcher = undefined;
  }
}
