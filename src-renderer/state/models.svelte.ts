// The models that can be drawn with, and the change from one to another: the stack is compared with the new one.
import type { ModelCard, ModelList } from '../../src-main/contract/window-settings.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import type { ExpertStack } from './expert-stack.svelte.ts';
import type { Order } from './order.svelte.ts';

export class Models {
  readonly #order: Order;
  readonly #experts: ExpertStack;
  #list = $state.raw<ModelList>();
  #looking = $state(false);
  /** A model that was opened by its path and lies in no folder. */
  #opened = $state.raw<ModelCard>();

  constructor(order: Order, experts: ExpertStack) {
    this.#order = order;
    this.#experts = experts;
    connection.onWelcome(() => void this.refresh());
    connection.onNews((news) => {
      if (news.kind !== 'settings') return;
      // Other settings change nothing here, and folders can be large.
      const looked = this.#list?.folders.map(({ path }) => path);
      if (JSON.stringify(looked) !== JSON.stringify(news.settings.modelFolders)) void this.refresh();
    });
  }

  /** Undefined before the first look. */
  get list(): ModelList | undefined {
    return this.#list;
  }

  get looking(): boolean {
    return this.#looking;
  }

  readonly checkpoints: readonly ModelCard[] = $derived.by(() => {
    const found = (this.#list?.models ?? []).filter(({ kind }) => kind === 'checkpoint');
    const opened = this.#opened;
    return opened === undefined || found.some(({ path }) => path === opened.path) ? found : [...found, opened];
  });

  readonly autoencoders: readonly ModelCard[] = $derived(
    (this.#list?.models ?? []).filter(({ kind }) => kind === 'vae' || kind === 'taesd'),
  );

  readonly previewDecoders: readonly ModelCard[] = $derived(
    (this.#list?.models ?? []).filter(({ kind }) => kind === 'taesd'),
  );

  /** The one that is drawn with; undefined while it is not known. */
  readonly current: ModelCard | undefined = $derived.by(() => {
    const path = this.#order.fields.model ?? connection.welcome?.model?.path;
    return this.checkpoints.find((card) => card.path === path);
  });

  /** Looks through the folders again. */
  async refresh(): Promise<void> {
    this.#looking = true;
    const list = await connection.attempt(() => connection.request('models', {}));
    this.#looking = false;
    if (list !== undefined) this.#list = list;
    const { model } = this.#order.fields;
    if (model !== undefined && !this.checkpoints.some(({ path }) => path === model)) await this.#read(model);
  }

  /** Draws with the model at `path` from now on. */
  async choose(path: string): Promise<void> {
    this.#order.set({ model: path === connection.welcome?.model?.path ? undefined : path });
    await this.compareExperts();
  }

  /** Opens the model at `path`, wherever it lies; says why when it cannot be used. */
  async open(path: string): Promise<void> {
    const card = await this.#read(path);
    if (card?.problem !== undefined) connection.tell(strings.orderTools.model.cannotBeUsed(path, card.problem));
    else if (card !== undefined) await this.choose(card.path);
  }

  async addFolder(path: string): Promise<boolean> {
    return (await connection.attempt(() => connection.request('addModelFolder', { path }))) !== undefined;
  }

  async removeFolder(path: string): Promise<void> {
    await connection.attempt(() => connection.request('removeModelFolder', { path }));
  }

  /** Reads the experts of the stack against the model that is drawn with; those that do not fit fall silent. */
  async compareExperts(): Promise<void> {
    const silent: string[] = [];
    for (const { path, name } of this.#experts.rows) {
      const report = await connection.attempt(() =>
        connection.request('inspect', { path, ...this.#order.comparedWith() }),
      );
      if (report === undefined) continue;
      this.#experts.refresh(path, report);
      if ((report.adapter?.modulesMatched ?? 0) > 0) continue;
      this.#experts.change(path, { on: false });
      silent.push(name);
    }
    if (silent.length > 0) connection.tell(strings.orderTools.model.doNotFit(silent));
  }

  async #read(path: string): Promise<ModelCard | undefined> {
    const report = await connection.attempt(() => connection.request('inspect', { path }));
    if (report === undefined) return undefined;
    const { kind, summary, base, sizeBytes: bytes, side, problems } = report;
    if (kind !== 'checkpoint' && kind !== 'unknown') {
      connection.tell(strings.orderTools.model.notAModel(path, summary));
      return undefined;
    }
    const card: ModelCard = {
      path: report.path,
      name: (report.path.split(/[\\/]/).at(-1) ?? path).replace(/\.safetensors$/i, ''),
      kind: 'checkpoint',
      bundled: false,
      summary,
      bytes,
      ...(base === undefined ? {} : { base }),
      ...(side === undefined ? { problem: problems[0] ?? summary } : { side }),
    };
    if (card.problem === undefined) this.#opened = card;
    return card;
  }
}
