// What is remembered for all windows, in settings.json of the state folder. A file that cannot be read is put aside, not
// overwritten, and the usual settings hold.
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../client/damaged-file.ts';
import { writeAtomically } from '../client/write-atomically.ts';
import { settingsSchema, type Settings } from '../contract/window-settings.ts';

const fileName = 'settings.json';

export class SettingsFile {
  readonly #path: string;
  #settings: Settings;
  /** Fields of a newer version: they are kept. */
  readonly #unknown: Readonly<Record<string, unknown>>;
  #saving: Promise<void> = Promise.resolve();

  private constructor(path: string, settings: Settings, unknown: Readonly<Record<string, unknown>>) {
    this.#path = path;
    this.#settings = settings;
    this.#unknown = unknown;
  }

  /** Reads the settings kept in `folder`, which must exist when something is changed. Never throws. */
  static async open(folder: string): Promise<SettingsFile> {
    const path = join(folder, fileName);
    const text = await readFile(path, 'utf8').catch(() => undefined);
    const json = text === undefined ? {} : objectOf(text);
    if (json === undefined) await rename(path, `${path}.damaged`).catch(() => undefined);
    return new SettingsFile(path, settingsSchema.parse(json ?? {}), json ?? {});
  }

  get current(): Settings {
    return this.#settings;
  }

  /**
   * Changes the fields that `change` gives for the settings as they stand after every change before. They are on the disk when
   * this resolves. Rejects with the system's error, and nothing has changed.
   */
  change(change: (settings: Settings) => Partial<Omit<Settings, 'version'>>): Promise<Settings> {
    const saved = this.#saving.then(async () => {
      const next = { ...this.#settings, ...change(this.#settings) };
      await writeAtomically(this.#path, `${JSON.stringify({ ...this.#unknown, ...next }, undefined, 2)}\n`);
      this.#settings = next;
      return next;
    });
    this.#saving = saved.then(
      () => undefined,
      () => undefined,
    );
    return saved;
  }

  /** Resolves when everything is on the disk. */
  close(): Promise<void> {
    return this.#saving;
  }
}

function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  const json = parseJson(text);
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? { ...json } : undefined;
}
