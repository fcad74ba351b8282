// Training as the host tells it: pictures, the estimate, the training under way and what was trained; and the verbs of the view.
import { FailureError } from '../../src-main/contract/failure.ts';
import type { MixRequest } from '../../src-main/contract/experts.ts';
import type { News } from '../../src-main/contract/window.ts';
import type {
  TrainedFile,
  TrainingEstimate,
  TrainingOrder,
  TrainingPicture,
  TrainingPoint,
  WindowTraining,
} from '../../src-main/contract/window-training.ts';
import type { WindowJob } from '../../src-main/contract/window-drawing.ts';
import { pictureAddress } from '../bridge.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import type { ChosenGate } from './expert-stack.svelte.ts';
import { wordsOf } from './failure-words.ts';
import { studio } from './studio.svelte.ts';
import { TrainingForm } from './training-form.svelte.ts';

/** Milliseconds of quiet before an estimate is asked for. */
const estimateAfterMs = 400;
/** A training that needs less is measured without asking: two updates take seconds. */
const smallBytes = 2e9;
/** Points that a window keeps, as the host does. */
const mostPoints = 2000;

const pictureEnding = /\.(png|jpe?g|webp)$/i;

class Training {
  readonly form = new TrainingForm();
  #current = $state.raw<WindowTraining>();
  #points = $state.raw<readonly TrainingPoint[]>([]);
  #pictures = $state.raw<readonly TrainingPicture[]>([]);
  #trained = $state.raw<readonly TrainedFile[]>([]);
  #referenceExperts = $state.raw<readonly string[]>([]);
  #estimate = $state.raw<TrainingEstimate>();
  #measuring = $state(false);
  /** What went wrong with the last thing that was asked for, shown in its place. */
  #trouble = $state<string>();
  #before = $state.raw<{ readonly gate: ChosenGate | undefined; readonly mode: typeof studio.experts.mode }>();
  #compared = $state.raw<readonly string[]>([]);
  #estimateTimer: ReturnType<typeof setTimeout> | undefined;
  #asked = 0;

  constructor() {
    connection.onNews((news) => {
      this.#hear(news);
    });
    connection.onWelcome(() => void this.#open());
  }

  /** Undefined when there is none, or the last one was put aside. */
  get current(): WindowTraining | undefined {
    return this.#current;
  }

  get points(): readonly TrainingPoint[] {
    return this.#points;
  }

  get pictures(): readonly TrainingPicture[] {
    return this.#pictures;
  }

  get trained(): readonly TrainedFile[] {
    return this.#trained;
  }

  /** Paths of the experts that came with the app together with references for them. */
  get referenceExperts(): readonly string[] {
    return this.#referenceExperts;
  }

  get estimate(): TrainingEstimate | undefined {
    return this.#estimate;
  }

  get measuring(): boolean {
    return this.#measuring;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Whether the gate of before a trained one was used can be taken back. */
  get canUndo(): boolean {
    return this.#before !== undefined;
  }

  /** Experts that a gate would decide between: those that are switched on. */
  readonly experts = $derived(studio.experts.rows.filter(({ on }) => on));

  /** The name in the form, else one made of what is trained. */
  readonly name: string = $derived.by(() => {
    const { kind, gateName, loraName, trigger } = this.form.fields;
    const own = (kind === 'gate' ? gateName : loraName).trim();
    if (own !== '') return own;
    return kind === 'gate'
      ? this.experts
          .map(({ name }) => name)
          .join('-')
          .slice(0, 80)
      : trigger.trim();
  });

  readonly order: TrainingOrder = $derived(
    this.form.order(
      this.experts.map(({ path }) => path),
      this.name,
      studio.order.drawOrder(undefined).model,
    ),
  );

  /** Whether a training is under way, or waits to go on. */
  readonly busy: boolean = $derived(
    this.#current?.state === 'running' || this.#current?.state === 'pausing' || this.#current?.resumable === true,
  );

  /** What is missing before it can start; undefined when nothing is. */
  readonly blocked: string | undefined = $derived.by(() => {
    const { kind, loss, clip } = this.form.fields;
    if (this.busy) return strings.training.blocked.busy;
    if (kind === 'gate' && this.experts.length < 2) return strings.training.blocked.experts;
    const needsNone = kind === 'gate' && (loss === 'distil' || loss === 'auto');
    if (this.#pictures.length === 0 && !needsNone) return strings.training.blocked.pictures;
    if (kind === 'gate' && loss === 'clip' && clip.trim() === '') return strings.training.blocked.clip;
    if (this.name === '') return strings.training.blocked.name;
    return undefined;
  });

  /** The two jobs of the comparison, before and after; undefined while there is none. */
  readonly compared: readonly WindowJob[] | undefined = $derived.by(() => {
    const jobs = this.#compared.flatMap((id) => studio.queue.jobs.find((job) => job.id === id) ?? []);
    return jobs.length === 2 ? jobs : undefined;
  });

  pictureAddress(id: string): string {
    return pictureAddress(id);
  }

  /** Copies pictures to those to learn from; what is none of them is refused in words. A text file is the caption of its picture. */
  async addFiles(files: readonly File[]): Promise<void> {
    const captions: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const file of files.filter(({ name }) => /\.txt$/i.test(name))) captions[stem(file.name)] = await file.text();
    await this.#attempt(async () => {
      const refused: string[] = [];
      for (const file of files.filter(({ name }) => !/\.txt$/i.test(name))) {
        try {
          const caption = captions[stem(file.name)];
          const picture = { path: await connection.locate(file), ...(caption === undefined ? {} : { caption }) };
          refused.push(...(await connection.request('addTrainingPictures', { pictures: [picture] })).refused);
        } catch (error) {
          refused.push(wordsOf(error));
        }
      }
      if (refused.length > 0) throw new Error(refused.join('\n'));
    });
  }

  /** Whether a file looks like a picture to learn from, or the caption of one. */
  isForTraining({ name }: File): boolean {
    return pictureEnding.test(name) || /\.txt$/i.test(name);
  }

  async addReferences(): Promise<void> {
    await this.#attempt(() => connection.request('addTrainingReferences', {}));
  }

  async caption(id: string, caption: string): Promise<void> {
    await this.#attempt(() => connection.request('captionTrainingPicture', { id, caption }));
  }

  async removePictures(ids: readonly string[]): Promise<void> {
    await this.#attempt(() => connection.request('removeTrainingPictures', { ids: [...ids] }));
  }

  /** Asks what `order` would take, when nothing has changed for a moment. */
  estimateSoon(order: TrainingOrder, ready: boolean): void {
    clearTimeout(this.#estimateTimer);
    this.#estimateTimer = setTimeout(() => void this.#askEstimate(order, ready), estimateAfterMs);
  }

  async measure(): Promise<void> {
    await this.#attempt(() => this.#measure(this.order));
  }

  async start(): Promise<void> {
    this.#compared = [];
    await this.#attempt(async () => {
      this.#take(await connection.request('startTraining', { order: this.order }));
    });
  }

  async pause(): Promise<void> {
    await this.#attempt(() => connection.request('pauseTraining', {}));
  }

  async resume(): Promise<void> {
    await this.#attempt(() => connection.request('resumeTraining', {}));
  }

  async cancel(discard: boolean): Promise<void> {
    await this.#attempt(() => connection.request('cancelTraining', { discard }));
  }

  async close(): Promise<void> {
    this.#compared = [];
    await this.#attempt(() => connection.request('closeTraining', {}));
  }

  /** Puts what was trained on the workbench: a gate with its experts, in mode MoLE. */
  async use(path: string, kind: TrainedFile['kind'], experts: readonly string[]): Promise<void> {
    if (kind === 'gate') this.#before = { gate: studio.experts.gate, mode: studio.experts.mode };
    const wanted = kind === 'gate' && experts.length === 0 ? await this.#expertsOf(path) : experts;
    for (const expert of wanted) {
      if (!studio.experts.rows.some((row) => row.path === expert)) await studio.addPath(expert);
    }
    await studio.addPath(path);
    if (kind === 'gate' && studio.experts.gate?.path === path) studio.experts.setMode('mole');
  }

  /** Where the experts of a gate lie, in its order, as far as they are found. */
  async #expertsOf(gate: string): Promise<readonly string[]> {
    const found = await connection.attempt(async () => {
      const report = await studio.inspect(gate);
      const hashes = (report.gate?.experts ?? [])
        .map(({ sha256 }) => sha256)
        .filter((hash) => /^[0-9a-f]{64}$/.test(hash));
      const all = await connection.request('findExperts', { hashes });
      return hashes.flatMap((hash) => all.find(({ asked }) => asked === hash)?.path ?? []);
    });
    return found ?? [];
  }

  /** Back to the gate and the mode of before `use`. */
  async undo(): Promise<void> {
    const before = this.#before;
    if (before === undefined) return;
    this.#before = undefined;
    studio.experts.removeGate();
    if (before.gate !== undefined) await studio.addPath(before.gate.path);
    studio.experts.setMode(before.mode);
  }

  /** Orders the same picture without and with what `training` made. */
  async compare(training: WindowTraining, prompt: string, seed: number): Promise<void> {
    const path = training.result?.path;
    if (path === undefined) return;
    const [before, after] = mixes(training.order, path);
    const draw = (mix: MixRequest | undefined): Promise<WindowJob> =>
      connection.request('draw', {
        prompt,
        seed,
        ...(training.order.model === undefined ? {} : { model: training.order.model }),
        ...(mix === undefined ? {} : { mix }),
      });
    this.#compared = [];
    await this.#attempt(async () => {
      const jobs = [await draw(before), await draw(after)];
      this.#compared = jobs.map(({ id }) => id);
    });
  }

  async #open(): Promise<void> {
    const room = await connection.attempt(() => connection.request('training', {}));
    if (room === undefined) return;
    this.#take(room.training);
    this.#pictures = room.pictures;
    this.#trained = room.trained;
    this.#referenceExperts = room.references;
  }

  #take(training: WindowTraining | undefined): void {
    this.#current = training;
    this.#points = training?.curve ?? [];
  }

  #hear(news: News): void {
    switch (news.kind) {
      case 'training':
        this.#take(news.training);
        return;
      case 'training-progress': {
        if (this.#current?.id !== news.id) return;
        const first = news.points[0]?.step ?? 0;
        const kept = this.#points.filter(({ step }) => step < first);
        this.#points = [...kept, ...news.points].slice(-mostPoints);
        this.#current = { ...this.#current, progress: news.progress };
        return;
      }
      case 'training-pictures':
        this.#pictures = news.pictures;
        return;
      case 'trained':
        this.#trained = news.trained;
    }
  }

  async #askEstimate(order: TrainingOrder, ready: boolean): Promise<void> {
    const asked = ++this.#asked;
    if (!ready) {
      this.#estimate = undefined;
      return;
    }
    try {
      const estimate = await connection.request('estimateTraining', { order });
      if (asked !== this.#asked) return;
      this.#estimate = estimate;
      const small = estimate.neededBytes < Math.min(smallBytes, estimate.availableBytes);
      if (estimate.updateMs === undefined && small && estimate.pictures > 0) await this.#measure(order, asked);
    } catch (error) {
      if (asked === this.#asked) this.#trouble = wordsOf(error);
    }
  }

  async #measure(order: TrainingOrder, asked = this.#asked): Promise<void> {
    this.#measuring = true;
    try {
      const estimate = await connection.request('estimateTraining', { order, measure: true });
      if (asked === this.#asked) this.#estimate = estimate;
    } catch (error) {
      // A start puts an end to it, and says itself what is wrong.
      const ended = error instanceof FailureError && error.failure.kind === 'cancelled';
      if (!ended && asked === this.#asked && this.#current === undefined) this.#trouble = wordsOf(error);
    } finally {
      this.#measuring = false;
    }
  }

  async #attempt(work: () => Promise<unknown>): Promise<void> {
    this.#trouble = undefined;
    try {
      await work();
    } catch (error) {
      this.#trouble = wordsOf(error);
    }
  }
}

const stem = (name: string): string => name.replace(/\.[^.]*$/, '');

/** How a picture is mixed before and after a training wrote `path`: every expert alike, and with the gate. */
function mixes(order: TrainingOrder, path: string): readonly [MixRequest | undefined, MixRequest] {
  if (order.kind === 'lora') return [undefined, { experts: [{ path }], mode: 'sum' }];
  const { experts, settings } = order;
  // What a gate is before its first update: the even mix, or the plain sum where gates are free.
  const weight = settings.amplitude === 'free' ? 1 : 1 / experts.length;
  return [
    { experts: experts.map((expert) => ({ path: expert, weight })), mode: 'sum' },
    { experts: experts.map((expert) => ({ path: expert })), mode: 'mole', gate: path },
  ];
}

export const training = new Training();
