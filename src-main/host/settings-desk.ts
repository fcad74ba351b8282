// The settings desk: what is remembered for all windows, and the models that can be drawn with: the bundled one and those in the
// artist's model folders.
import { stat } from 'node:fs/promises';
import { basename, isAbsolute, normalize } from 'node:path';
import { FailureError, type FailureKind } from '../contract/failure.ts';
import type { FileReport } from '../contract/files.ts';
import type { ModelCard, ModelFolder, ModelList, Settings, SettingsMethods } from '../contract/window-settings.ts';
import type { Desk, DeskSurroundings, Handlers } from './desk.ts';
import { findModelFiles, type ModelFile } from './model-files.ts';
import type { SettingsFile } from './settings-file.ts';

/** Kinds of files that can be chosen as a model or as a part of one. */
const kinds: readonly FileReport['kind'][] = ['checkpoint', 'vae', 'taesd'];

/** Failures that another file would not have. */
const aboutTheFile: readonly FailureKind[] = ['bad-request', 'bad-file'];

export class SettingsDesk implements Desk<keyof SettingsMethods> {
  readonly handlers: Handlers<keyof SettingsMethods>;
  readonly #surroundings: DeskSurroundings;
  readonly #file: SettingsFile;
  /** What a file was found to be, undefined for what is no model, as long as its stamp stays. */
  readonly #cards = new Map<string, { readonly stamp: string; readonly card: ModelCard | undefined }>();

  constructor(surroundings: DeskSurroundings, file: SettingsFile) {
    this.#surroundings = surroundings;
    this.#file = file;
    this.handlers = {
      settings: () => file.current,
      changeSettings: (change) => this.#change(({ output }) => ({ output: { ...output, ...change.output } })),
      addModelFolder: async ({ path }) => {
        const folder = await existingFolder(path);
        if (file.current.modelFolders.includes(folder)) return file.current;
        return this.#change(({ modelFolders }) => ({ modelFolders: [...new Set([...modelFolders, folder])] }));
      },
      removeModelFolder: ({ path }) =>
        this.#change(({ modelFolders }) => ({ modelFolders: modelFolders.filter((folder) => folder !== path) })),
      models: () => this.#models(),
    };
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #change(change: Parameters<SettingsFile['change']>[0]): Promise<Settings> {
    const settings = await this.#file.change(change);
    this.#surroundings.tell({ kind: 'settings', settings });
    return settings;
  }

  async #models(): Promise<ModelList> {
    const { model } = this.#surroundings.options;
    const models: ModelCard[] = [];
    const folders: ModelFolder[] = [];
    if (model !== undefined) {
      const card = await this.#cardOf({ path: model, name: basename(model), stamp: 'bundled' });
      if (card !== undefined) models.push({ ...card, bundled: true });
    }
    const found: ModelCard[] = [];
    for (const path of this.#file.current.modelFolders) {
      try {
        for (const file of await findModelFiles(path)) {
          const card = await this.#cardOf(file);
          if (card !== undefined && ![...models, ...found].some((other) => other.path === card.path)) found.push(card);
        }
        folders.push({ path });
      } catch (error) {
        const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
        const problem = missing
          ? 'This folder is not there now.'
          : error instanceof Error
            ? error.message
            : String(error);
        folders.push({ path, problem });
      }
    }
    return { models: [...models, ...found.sort((a, b) => a.name.localeCompare(b.name))], folders };
  }

  /** Undefined for what is no model, such as a LoRA that lies among them. */
  async #cardOf({ path, name, stamp }: ModelFile): Promise<ModelCard | undefined> {
    const known = this.#cards.get(path);
    if (known?.stamp === stamp) return known.card;
    const report = await this.#surroundings.options.client.request('inspect', { path }).catch((error: unknown) => {
      if (error instanceof FailureError && aboutTheFile.includes(error.failure.kind)) return undefined;
      throw error;
    });
    // What cannot be read just now is asked for again the next time.
    if (report === undefined) return undefined;
    const card = kinds.includes(report.kind) ? cardOf(report, name) : undefined;
    this.#cards.set(path, { stamp, card });
    return card;
  }
}

function cardOf({ path, kind, summary, base, sizeBytes, side, problems }: FileReport, name: string): ModelCard {
  return {
    path,
    name,
    kind: kind as ModelCard['kind'],
    bundled: false,
    summary,
    bytes: sizeBytes,
    ...(base === undefined ? {} : { base }),
    ...(side === undefined ? {} : { side }),
    // Without a size it could not be opened.
    ...(kind === 'checkpoint' && side === undefined ? { problem: problems[0] ?? summary } : {}),
  };
}

/** `path` in its usual form. Throws FailureError when it is no folder. */
async function existingFolder(path: string): Promise<string> {
  const refuse = (why: string): FailureError => new FailureError({ kind: 'bad-request', message: `${path} ${why}` });
  if (!isAbsolute(path)) throw refuse('does not begin at the top: give the whole path of the folder.');
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) throw refuse('is not there, or may not be read. Check the path.');
  if (!facts.isDirectory())
    throw refuse('is a file. Give the folder that holds it, or choose the file itself as a model.');
  return normalize(path).replace(/(?<=.)[\\/]+$/, '');
}
