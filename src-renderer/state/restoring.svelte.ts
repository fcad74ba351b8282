// Settings of a picture or a job put back into the form and the stack: its experts are looked for by hash among the stack, what
// came with the app, and the library; what was changed is said, and can be undone once.
import type { MixRequest } from '../../src-main/contract/experts.ts';
import type { FileReport } from '../../src-main/contract/files.ts';
import type { WindowJob } from '../../src-main/contract/window-drawing.ts';
import type { ReadPicture } from '../../src-main/contract/window-dropping.ts';
import type { ModelCard } from '../../src-main/contract/window-settings.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { mixingOf, present, type NamedRow } from './expert-stack.svelte.ts';
import { finerOf, type ExtraFields } from './order-extras.svelte.ts';
import type { OrderFields } from './order.svelte.ts';
import { studio } from './studio.svelte.ts';

/** A picture by its path on the host's machine, or by its id there. */
export type PictureSource = { readonly path: string } | { readonly id: string };

/** A file that a picture names, and where it is. */
export interface WantedFile {
  readonly kind: 'expert' | 'gate';
  readonly name: string;
  readonly hash: string | undefined;
  /** Undefined when it was not found. */
  readonly report: FileReport | undefined;
}

/** A picture with its experts looked for. */
export interface RestorablePicture {
  readonly picture: ReadPicture;
  /** The experts in the order of the picture, then the gate. */
  readonly files: readonly WantedFile[];
}

interface Snapshot {
  readonly order: OrderFields;
  readonly extras: ExtraFields;
  /** The stack as an order would take it. */
  readonly mix: MixRequest | undefined;
  /** Also where the mode does not use it. */
  readonly gate: string | undefined;
  /** The way back to the stack. */
  readonly goBack: () => void;
}

const text = strings.dropping;

class Restoring {
  #said = $state<string>();
  #before = $state.raw<Snapshot>();

  constructor() {
    // Once the next drawing begins, what was said has been read.
    connection.onNews((news) => {
      if (news.kind === 'job' && news.job.state === 'running') this.dismiss();
    });
  }

  /** What the last restoring has changed; undefined once it was put aside. */
  get said(): string | undefined {
    return this.#said;
  }

  get canUndo(): boolean {
    return this.#before !== undefined;
  }

  dismiss(): void {
    this.#said = undefined;
    this.#before = undefined;
  }

  /** Reads a picture and looks for its experts; undefined when it cannot be read, which is said. */
  async read(source: PictureSource): Promise<RestorablePicture | undefined> {
    return connection.attempt(async () => {
      const picture = await connection.request('readPicture', source);
      return { picture, files: await this.#find(picture) };
    });
  }

  /** Looks again, when files have come since. */
  async lookAgain({ picture }: RestorablePicture): Promise<RestorablePicture> {
    return { picture, files: await this.#find(picture) };
  }

  /** The model that a picture was drawn with, by its name, where it is among those that can be chosen. */
  modelOf({ model }: ReadPicture): ModelCard | undefined {
    return studio.models.checkpoints.find(({ name, problem }) => name === model?.name && problem === undefined);
  }

  /** Puts the settings of a picture into the form and its experts into the stack; missing ones are left out and said. */
  restore({ picture, files }: RestorablePicture): void {
    const before = this.#snapshot();
    const { settings } = picture;
    const { order, extras } = studio;
    const size = { width: settings.width, height: settings.height };
    const model = this.modelOf(picture);
    order.set({
      ...(model === undefined
        ? {}
        : { model: model.path === connection.welcome?.model?.path ? undefined : model.path }),
      missing: [],
      ...present({
        prompt: settings.prompt,
        negative: settings.negativePrompt,
        sampler: settings.sampler,
        schedule: settings.schedule,
        steps: settings.steps,
        cfg: settings.cfgScale,
        seed: settings.seed,
      }),
      ...(size.width === undefined || size.height === undefined ? {} : size),
      batch: 1,
    });
    const { variation, clipSkip, cfgRescale, prediction } = settings;
    extras.set({ start: undefined, variation, finer: finerOf({ clipSkip, cfgRescale, prediction }) });
    studio.countTokens();
    const refused = this.#restoreStack(picture, files);
    const missing = files.filter(({ report }) => report === undefined).map(({ name }) => name);
    this.#say(picture.name, before, [
      ...(missing.length === 0 ? [] : [text.without(missing)]),
      ...(picture.startedFrom === undefined ? [] : [text.picture.started(picture.startedFrom)]),
      ...refused,
    ]);
  }

  /** Puts the settings of a job back: form, starting picture and stack. */
  async restoreJob({ order: said }: WindowJob, seed: number, name: string): Promise<void> {
    const before = this.#snapshot();
    const { experts = [], gate } = said.mix ?? {};
    await connection.attempt(async () => {
      const rows: NamedRow[] = [];
      for (const { path, weight = 1, muted = false, solo = false, textWeight, blocks } of experts) {
        const settings: NamedRow['settings'] = { weight, muted, solo, ...present({ textWeight, blocks }) };
        rows.push({ report: await studio.inspect(path), settings });
      }
      const gateReport = gate === undefined ? undefined : await studio.inspect(gate);
      studio.order.restore(said, seed);
      studio.extras.restore(said);
      studio.countTokens();
      this.#say(name, before, studio.experts.restore(rows, gateReport, mixingOf(said.mix ?? {})));
    });
  }

  /** Restores a picture at once; where experts are missing, `ask` is given it instead. For pictures that have an id or a path. */
  async restorePicture(source: PictureSource, ask: (picture: RestorablePicture) => void): Promise<void> {
    const read = await this.read(source);
    if (read === undefined) return;
    const complete = read.picture.from !== 'none' && read.files.every(({ report }) => report !== undefined);
    if (complete) this.restore(read);
    else ask(read);
  }

  /** Puts everything back as it was before the last restoring. */
  undo(): void {
    const before = this.#before;
    if (before === undefined) return;
    studio.order.set(before.order);
    studio.extras.set(before.extras);
    before.goBack();
    studio.countTokens();
    this.#before = undefined;
    this.#said = text.undone;
  }

  #restoreStack(picture: ReadPicture, files: readonly WantedFile[]): readonly string[] {
    if (picture.from === 'none') return [];
    const { mix } = picture;
    const experts = mix?.experts ?? [];
    const rows = experts.flatMap(({ settings }, i): readonly NamedRow[] => {
      const report = files[i]?.report;
      return report === undefined ? [] : [{ report, settings }];
    });
    const gate = files.find(({ kind }) => kind === 'gate')?.report;
    const complete = rows.length === experts.length;
    // A gate stands for the whole stack, as masks do.
    return studio.experts.restore(rows, complete ? gate : undefined, mixingOf(mix ?? {}, complete));
  }

  async #find({ mix }: ReadPicture): Promise<readonly WantedFile[]> {
    if (mix === undefined) return [];
    const wanted = [
      ...mix.experts.map(({ name, hash }) => ({ kind: 'expert' as const, name, hash })),
      ...(mix.gate === undefined ? [] : [{ kind: 'gate' as const, name: mix.gate.name, hash: mix.gate.sha256 }]),
    ];
    const near = await this.#nearby();
    const found = wanted.map((file) => ({ ...file, report: near.find((report) => isIt(report, file)) }));
    return this.#findInLibrary(found);
  }

  /** The files of the stack and those that came with the app, hashed by the engine once. */
  async #nearby(): Promise<readonly FileReport[]> {
    const { experts } = studio;
    const paths = new Set([
      ...experts.rows.map(({ path }) => path),
      ...(experts.gate === undefined ? [] : [experts.gate.path]),
      ...(connection.welcome?.bundled ?? []),
    ]);
    const reports: FileReport[] = [];
    for (const path of paths) {
      const report = await connection
        .request('inspect', { path, hashes: true, ...studio.order.comparedWith() })
        .catch(() => undefined);
      if (report !== undefined) reports.push(report);
    }
    return reports;
  }

  async #findInLibrary(files: readonly WantedFile[]): Promise<readonly WantedFile[]> {
    const missing = files.filter(({ report }) => report === undefined);
    if (missing.length === 0) return files;
    const asked = {
      names: [...new Set(missing.map(({ name }) => stemOf(name)))],
      hashes: [...new Set(missing.flatMap(({ hash }) => hash ?? []))],
    };
    // A library that does not answer finds nothing.
    const found = await connection.request('findExperts', asked).catch(() => []);
    const all: WantedFile[] = [];
    for (const file of files) {
      const hit =
        file.report === undefined
          ? found.find(({ by, asked: said }) =>
              file.hash === undefined
                ? by === 'name' && said === stemOf(file.name)
                : by === 'hash' && said === file.hash,
            )
          : undefined;
      const report = hit === undefined ? undefined : await studio.inspect(hit.path).catch(() => undefined);
      all.push(report === undefined ? file : { ...file, report });
    }
    return all;
  }

  #snapshot(): Snapshot {
    const { order, extras, experts } = studio;
    const [mix, gate, goBack] = [experts.mix(), experts.gate?.path, experts.keep()];
    return { order: order.fields, extras: extras.fields, mix, gate, goBack };
  }

  #say(name: string, before: Snapshot, more: readonly string[]): void {
    const { fields } = studio.order;
    const { extras, experts } = studio;
    const changed = text.changed;
    const differs = (...keys: readonly (keyof OrderFields)[]): boolean =>
      keys.some((key) => fields[key] !== before.order[key]);
    const other = (a: unknown, b: unknown): boolean => JSON.stringify(a) !== JSON.stringify(b);
    const after = this.#snapshot();
    // The gate is said by itself.
    const stack = ({ mix }: Snapshot): unknown => mix && { ...mix, gate: undefined };
    const parts = [
      ...(['prompt', 'negative', 'sampler', 'schedule', 'steps', 'cfg', 'seed'] as const)
        .filter((key) => differs(key))
        .map((key) => changed[key]),
      ...(differs('width', 'height') ? [changed.size] : []),
      ...(differs('model') ? [changed.model] : []),
      ...(other(extras.fields.variation, before.extras.variation) ? [changed.variation] : []),
      ...(other(extras.fields.start, before.extras.start) ? [changed.start] : []),
      ...(other(extras.fields.finer, before.extras.finer) ? [changed.finer] : []),
      ...(other(stack(after), stack(before)) ? [changed.experts(experts.rows.length)] : []),
      ...(after.gate !== before.gate && after.gate !== undefined ? [changed.gate] : []),
    ];
    this.#said = [text.restored(name, parts), ...more].join(' ');
    this.#before = parts.length === 0 ? undefined : before;
  }
}

const stemOf = (name: string): string =>
  (name.split(/[\\/]/).at(-1) ?? name).replace(/\.safetensors$/i, '').replace(/\.mole$/i, '');

/** By hash where the picture gives one, else by name. */
function isIt({ path, hashes }: FileReport, { name, hash }: Pick<WantedFile, 'name' | 'hash'>): boolean {
  if (hash === undefined) return stemOf(path).toLowerCase() === stemOf(name).toLowerCase();
  if (hashes === undefined) return false;
  return hashes.sha256.startsWith(hash) || hashes.autoV3.startsWith(hash) || hashes.legacy === hash;
}

export const restoring = new Restoring();
