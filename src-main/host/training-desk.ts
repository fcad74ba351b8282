// The training desk: one training at a time in an engine of its own, beside which drawing goes on. Everything it needs to go on
// lies in the state folder, so a training survives a crash of its engine (it goes on by itself, once) and of the app (it waits
// to be resumed, on the same curve). What was learnt is put into the folder `trained` beside the pictures.
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FailureError, type Failure } from '../contract/failure.ts';
import type { TrainEvent, TrainResult } from '../contract/training.ts';
import type {
  AddedPictures,
  CheckedTrainingOrder,
  TrainingEstimate,
  TrainingMethods,
  TrainingPoint,
  TrainingRoom,
  WindowTraining,
} from '../contract/window-training.ts';
import { done, type Desk, type DeskSurroundings, type Handlers } from './desk.ts';
import { listTrained, placeTrained, trainedFileName } from './trained-files.ts';
import { readTrainingFile, withPoint, writeTrainingFile, type StoredTraining, type Training } from './training-file.ts';
import { onDisk, TrainingPictures } from './training-pictures.ts';

/** Milliseconds between news of updates. */
const newsMs = 100;
/** Milliseconds between two writings of the curve. */
const writeMs = 1000;
/** How long a closing app waits for the update under way, which is then saved. */
const closingMs = 4000;
/** Updates of a probe: the first opens sessions. */
const probeUpdates = 3;

/** Why a running training was asked to stop. */
type Intent = 'pause' | 'keep' | 'discard' | 'close';

export class TrainingDesk implements Desk<keyof TrainingMethods> {
  readonly handlers: Handlers<keyof TrainingMethods>;
  readonly #surroundings: DeskSurroundings;
  readonly #folder: string;
  readonly #trainedFolder: string;
  readonly #pictures: TrainingPictures;
  #training: Training | undefined;
  #rates: StoredTraining['rates'];
  #running: { readonly controller: AbortController; readonly ended: Promise<void> } | undefined;
  #intent: Intent | undefined;
  #measuring: Promise<unknown> | undefined;
  #newPoints: TrainingPoint[] = [];
  #newsTimer: NodeJS.Timeout | undefined;
  #writeTimer: NodeJS.Timeout | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(surroundings: DeskSurroundings, folder: string, { training, rates }: StoredTraining) {
    this.#surroundings = surroundings;
    this.#folder = folder;
    this.#trainedFolder = join(surroundings.options.folder, 'trained');
    this.#pictures = new TrainingPictures(join(folder, 'pictures'), surroundings.shelf);
    this.#training = training;
    this.#rates = rates;
    this.handlers = {
      training: () => this.#room(),
      addTrainingPictures: ({ pictures }) => this.#add(pictures),
      addTrainingReferences: async () => this.#add((await this.#references()).map((path) => ({ path }))),
      captionTrainingPicture: async ({ id, caption }) => {
        await this.#pictures.caption(id, caption);
        return this.#tellPictures();
      },
      removeTrainingPictures: async ({ ids }) => {
        await this.#pictures.remove(ids);
        return this.#tellPictures();
      },
      estimateTraining: ({ order, measure }) => this.#estimate(order, measure),
      startTraining: ({ order }) => this.#start(order),
      pauseTraining: () => {
        if (this.#training?.state === 'running') this.#stop('pause', { state: 'pausing' });
        return null;
      },
      resumeTraining: () => done(this.#resume()),
      cancelTraining: ({ discard }) => done(this.#cancel(discard)),
      closeTraining: () => done(this.#putAside()),
    };
  }

  /** Finds the training of the last time; one that was running then is interrupted now. */
  static async open(surroundings: DeskSurroundings): Promise<TrainingDesk> {
    const folder = join(surroundings.options.stateFolder, 'training');
    await mkdir(folder, { recursive: true });
    const { stored, message } = await readTrainingFile(folder);
    const desk = new TrainingDesk(surroundings, folder, stored);
    const state = stored.training?.state;
    if (state === 'running' || state === 'pausing') desk.#change({ state: 'interrupted', resumable: true });
    if (message !== undefined) surroundings.tell({ kind: 'message', message });
    return desk;
  }

  /** Stops a running training after its present update, as far as that comes soon; it is resumed on request. */
  async close(): Promise<void> {
    if (this.#running !== undefined) {
      const { ended } = this.#running;
      this.#stop('close', {});
      const late = new Promise((resolve) => setTimeout(resolve, closingMs).unref());
      await Promise.race([ended, late]);
      this.#change({ state: 'interrupted', resumable: true });
    }
    clearTimeout(this.#newsTimer);
    clearTimeout(this.#writeTimer);
    await this.#write();
  }

  async #room(): Promise<TrainingRoom> {
    const [pictures, trained, referencePaths] = await Promise.all([
      this.#pictures.list(),
      listTrained(this.#trainedFolder),
      this.#references(),
    ]);
    // References lie in a folder for each expert.
    const names = new Set(referencePaths.map((path) => basename(dirname(path))));
    const references = this.#surroundings.options.bundled.filter((path) => names.has(basename(path, '.safetensors')));
    const training = this.#shown();
    return { ...(training === undefined ? {} : { training }), pictures, trained, references };
  }

  #shown(): WindowTraining | undefined {
    if (this.#training === undefined) return undefined;
    const { id, order, state, stage, startedAt, pictures, progress, curve, notes, failure, resumable, result } =
      this.#training;
    const samples = this.#training.samples.map(({ step, picture }) => ({
      step,
      picture: this.#surroundings.shelf.put(picture),
    }));
    return {
      id,
      order,
      state,
      stage,
      startedAt,
      pictures,
      progress,
      curve,
      samples,
      notes,
      failure,
      resumable,
      result,
    };
  }

  /** Pictures of the references that came with the app. */
  async #references(): Promise<readonly string[]> {
    const [bundled] = this.#surroundings.options.bundled;
    if (bundled === undefined) return [];
    const folder = join(dirname(bundled), 'references');
    const names = await readdir(folder, { recursive: true }).catch(() => []);
    return names
      .filter((name) => name.endsWith('.png'))
      .sort()
      .map((name) => join(folder, name));
  }

  async #add(
    pictures: readonly { readonly path: string; readonly caption?: string | undefined }[],
  ): Promise<AddedPictures> {
    const refused: string[] = [];
    for (const { path, caption } of pictures) {
      try {
        await this.#pictures.add(path, caption);
      } catch (error) {
        if (!(error instanceof FailureError) || error.failure.kind !== 'bad-request') throw error;
        refused.push(error.failure.message);
      }
    }
    await this.#tellPictures();
    return { added: pictures.length - refused.length, refused };
  }

  async #tellPictures(): Promise<null> {
    this.#surroundings.tell({ kind: 'training-pictures', pictures: await this.#pictures.list() });
    return null;
  }

  #modelOf({ model }: CheckedTrainingOrder): string {
    const named = model ?? this.#surroundings.options.model;
    if (named !== undefined) return named;
    const message = 'The bundled model is not installed, so there is nothing to train: choose a model file.';
    throw new FailureError({ kind: 'bad-request', message });
  }

  async #estimate(order: CheckedTrainingOrder, measure: boolean): Promise<TrainingEstimate> {
    const model = this.#modelOf(order);
    const { settings } = order;
    const { vae, resolution, batch, recompute } = settings;
    const { client } = this.#surroundings.options;
    const memory = await client.request('trainingMemory', { model, vae, resolution, batch, recompute });
    const pictures = (await this.#pictures.list()).length;
    const key = rateKey(order, model, memory.resolution);
    const fits = memory.neededBytes <= memory.availableBytes;
    if (measure && fits && this.#rates[key] === undefined && this.#running === undefined) {
      await this.#measure(order, model, key);
    }
    const rate = this.#rates[key];
    if (rate === undefined) return { pictures, ...memory };
    const updateMs = rate * batch * settings.accumulate;
    return { pictures, ...memory, updateMs, totalMs: updateMs * settings.steps };
  }

  /** Runs two updates, thrown away, to learn how long they take; one probe at a time. */
  async #measure(order: CheckedTrainingOrder, model: string, key: string): Promise<void> {
    await this.#measuring?.catch(() => undefined);
    if (this.#rates[key] !== undefined) return;
    const folder = join(this.#folder, 'probe');
    const probe = async (): Promise<void> => {
      await rm(folder, { recursive: true, force: true });
      const pictures = join(folder, 'pictures');
      const count = await this.#pictures.copyTo(pictures);
      checkOrder(order, count);
      const short = { ...order, model, settings: { ...order.settings, steps: probeUpdates, sampleEvery: 0 } };
      const times: number[] = [];
      await this.#request(short as Training['order'], {
        pictures: count === 0 ? undefined : pictures,
        output: join(folder, trainedFileName(order.kind, 'probe')),
        resume: false,
        onEvent: (event) => {
          if (event.kind === 'update') times.push(event.elapsedMs);
        },
      });
      this.#learnRate(key, order, times);
    };
    const measuring = probe().finally(() => rm(folder, { recursive: true, force: true }));
    this.#measuring = measuring;
    try {
      await measuring;
    } finally {
      if (this.#measuring === measuring) this.#measuring = undefined;
    }
  }

  /** Remembers how long updates took, from the times at which they ended. */
  #learnRate(key: string, { settings }: CheckedTrainingOrder, times: readonly number[]): void {
    if (times.length < 2) return;
    const updateMs = (times.at(-1)! - times[0]!) / (times.length - 1);
    this.#rates = { ...this.#rates, [key]: Math.max(0.01, updateMs / (settings.batch * settings.accumulate)) };
    this.#writeSoon();
  }

  async #start(order: CheckedTrainingOrder): Promise<WindowTraining> {
    const model = this.#modelOf(order);
    if (this.#running !== undefined || this.#training?.resumable === true) {
      const message = 'A training is under way or waits to be resumed: finish or cancel it first.';
      throw new FailureError({ kind: 'bad-request', message });
    }
    if (this.#measuring !== undefined) await this.#surroundings.options.trainingClient.kill();
    await this.#measuring?.catch(() => undefined);
    checkOrder(order, (await this.#pictures.list()).length);
    await checkExperts(order);
    await this.#forgetRun();
    const pictures = await this.#pictures.copyTo(this.#runPictures);
    this.#training = {
      id: randomUUID(),
      order: { ...order, model },
      state: 'running',
      stage: 'Starting the engine',
      startedAt: Date.now(),
      pictures,
      curve: [],
      stride: 1,
      samples: [],
      notes: [],
      resumable: false,
    };
    this.#run(false, 0);
    return this.#shown()!;
  }

  #resume(): Promise<void> {
    if (this.#running !== undefined) return Promise.resolve();
    if (this.#training?.resumable !== true) {
      const message = 'There is no training to go on with: start one.';
      return Promise.reject(new FailureError({ kind: 'bad-request', message }));
    }
    this.#run(true, 0);
    return Promise.resolve();
  }

  async #cancel(discard: boolean): Promise<void> {
    if (this.#training === undefined) return;
    const { kind, name } = this.#training.order;
    if (discard) {
      if (this.#running !== undefined) {
        const { ended } = this.#running;
        this.#intent = 'discard';
        await this.#surroundings.options.trainingClient.kill();
        await ended;
      }
      await this.#forget();
    } else if (this.#running !== undefined) {
      this.#stop('keep', { state: 'pausing' });
    } else if (await isThere(this.#output(this.#training))) {
      await this.#place(this.#training.result, 'cancelled');
    } else if (this.#training.resumable) {
      // What was saved is not a gate or LoRA yet: one more update makes it one.
      this.#run(true, 0);
      this.#intent = 'keep';
    } else {
      this.#change({ state: 'cancelled', stage: `Nothing of ${trainedFileName(kind, name)} was learnt yet.` });
    }
  }

  async #putAside(): Promise<void> {
    if (this.#running !== undefined || this.#training?.resumable === true) return;
    await this.#forget();
  }

  async #forget(): Promise<void> {
    this.#training = undefined;
    this.#surroundings.tell({ kind: 'training', training: undefined });
    await this.#forgetRun();
    await this.#write();
  }

  get #runFolder(): string {
    return join(this.#folder, 'run');
  }

  get #runPictures(): string {
    return join(this.#runFolder, 'pictures');
  }

  #output({ order: { kind, name } }: Training): string {
    return join(this.#runFolder, trainedFileName(kind, name));
  }

  async #forgetRun(): Promise<void> {
    await onDisk(() => rm(this.#runFolder, { recursive: true, force: true }));
  }

  #stop(intent: Intent, change: Partial<Training>): void {
    this.#intent = intent;
    this.#change(change);
    this.#running?.controller.abort();
  }

  /** Begins or goes on; `restarts` counts how often a crash was answered by going on. */
  #run(resume: boolean, restarts: number): void {
    const controller = new AbortController();
    this.#intent = undefined;
    this.#change({ state: 'running', failure: undefined, resumable: false });
    const work = async (): Promise<void> => {
      const training = this.#training!;
      const times: number[] = [];
      try {
        await rm(this.#output(training), { force: true });
        const result = await this.#request(training.order, {
          pictures: training.pictures === 0 ? undefined : this.#runPictures,
          output: this.#output(training),
          resume,
          signal: controller.signal,
          onEvent: (event) => {
            if (event.kind === 'update') times.push(event.elapsedMs);
            this.#hear(event, times);
          },
        });
        this.#running = undefined;
        await this.#ended(result);
      } catch (error) {
        this.#running = undefined;
        await this.#broke(error, restarts);
      }
      const { order } = training;
      this.#learnRate(rateKey(order, order.model, await this.#resolutionOf(order)), order, times);
    };
    // Set before the work can end.
    const ended = Promise.resolve().then(work);
    this.#running = { controller, ended };
  }

  async #resolutionOf({ model, settings }: Training['order']): Promise<number | undefined> {
    const { vae, resolution, batch, recompute } = settings;
    const { client } = this.#surroundings.options;
    const memory = client.request('trainingMemory', { model, vae, resolution, batch, recompute });
    return memory.then(
      (found) => found.resolution,
      () => undefined,
    );
  }

  async #request(
    order: Training['order'],
    {
      pictures,
      output,
      resume,
      signal,
      onEvent,
    }: {
      /** A folder. */
      readonly pictures: string | undefined;
      readonly output: string;
      readonly resume: boolean;
      readonly signal?: AbortSignal;
      readonly onEvent: (event: TrainEvent) => void;
    },
  ): Promise<TrainResult> {
    const { trainingClient } = this.#surroundings.options;
    const own = { model: order.model, images: pictures === undefined ? [] : [pictures], output, resume };
    const options = { onEvent, ...(signal === undefined ? {} : { signal }) };
    if (order.kind === 'lora') return trainingClient.request('trainLora', { ...order.settings, ...own }, options);
    const mix = { experts: order.experts.map((path) => ({ path })) };
    return trainingClient.request('trainGate', { ...order.settings, ...own, mix }, options);
  }

  #hear(event: TrainEvent, times: readonly number[]): void {
    const training = this.#training;
    if (training === undefined) return;
    switch (event.kind) {
      case 'stage':
        this.#change({ stage: event.message });
        return;
      case 'warning':
        if (!training.notes.includes(event.message)) this.#change({ notes: [...training.notes, event.message] });
        return;
      case 'picture':
        this.#change({
          samples: [
            ...training.samples.filter(({ step }) => step < event.step),
            { step: event.step, picture: event.picture },
          ],
        });
        return;
      case 'update': {
        const { step, steps, loss, learningRate, gradientNorm, elapsedMs, gates } = event;
        const updateMs = times.length < 2 ? elapsedMs / times.length : (elapsedMs - times[0]!) / (times.length - 1);
        const progress = {
          step,
          steps,
          loss,
          learningRate,
          gradientNorm,
          updateMs,
          remainingMs: updateMs * (steps - step),
        };
        const point = { step, loss, ...(gates === undefined ? {} : { gates }) };
        this.#training = { ...training, progress, ...withPoint(training, point) };
        this.#newPoints.push(point);
        this.#newsTimer ??= setTimeout(() => {
          this.#tellPoints();
        }, newsMs);
        this.#writeSoon();
        if (this.#intent === 'keep' || this.#intent === 'discard') this.#running?.controller.abort();
      }
    }
  }

  #tellPoints(): void {
    clearTimeout(this.#newsTimer);
    this.#newsTimer = undefined;
    const points = this.#newPoints;
    this.#newPoints = [];
    const training = this.#training;
    if (training?.progress === undefined || points.length === 0) return;
    this.#surroundings.tell({ kind: 'training-progress', id: training.id, progress: training.progress, points });
  }

  /** It ended as it should: at its end, or after it was asked to stop. */
  async #ended(result: TrainResult): Promise<void> {
    if (result.ended !== 'cancelled') await this.#place(result, 'finished');
    else if (this.#intent === 'keep') await this.#place(result, 'cancelled');
    else if (this.#intent === 'close') this.#change({ state: 'interrupted', resumable: true, result });
    else if (this.#intent !== 'discard') this.#change({ state: 'paused', resumable: true, result });
  }

  async #broke(error: unknown, restarts: number): Promise<void> {
    const failure = failureOf(error);
    const [intent, training] = [this.#intent, this.#training];
    if (training === undefined || intent === 'discard') return;
    if (intent === 'close') {
      this.#change({ state: 'interrupted', resumable: true });
    } else if (failure.kind === 'cancelled' && intent === 'keep') {
      this.#change({ state: 'cancelled', failure, resumable: false });
    } else if (failure.kind === 'cancelled') {
      this.#change({ state: 'paused', resumable: true });
    } else if (failure.kind === 'crashed' && intent === undefined && restarts === 0) {
      const note = `${failure.message} Training went on by itself from what was last saved.`;
      this.#change({ notes: [...training.notes, note] });
      this.#run(true, restarts + 1);
    } else {
      const resumable = await isThere(`${this.#output(training)}.state.safetensors`);
      this.#change({ state: 'failed', failure, resumable });
    }
  }

  /** Puts what the engine wrote where the artist finds it. */
  async #place(result: TrainResult | undefined, state: 'finished' | 'cancelled'): Promise<void> {
    const training = this.#training!;
    const { kind, name } = training.order;
    try {
      const from = result?.path ?? this.#output(training);
      const path = await onDisk(() => placeTrained(from, this.#trainedFolder, kind, name));
      this.#change({ state, resumable: false, ...(result === undefined ? {} : { result: { ...result, path } }) });
      this.#surroundings.tell({ kind: 'trained', trained: await listTrained(this.#trainedFolder) });
    } catch (error) {
      // The file is still where the engine put it: cancelling, keeping what there is, tries again.
      this.#change({ state: 'failed', failure: failureOf(error), resumable: true, result });
    }
  }

  #change(change: Partial<Training>): void {
    if (this.#training === undefined) return;
    this.#tellPoints();
    this.#training = { ...this.#training, ...change };
    this.#surroundings.tell({ kind: 'training', training: this.#shown() });
    void this.#write();
  }

  #writeSoon(): void {
    this.#writeTimer ??= setTimeout(() => void this.#write(), writeMs);
  }

  /** A disk that refuses costs what was not written, never the training. */
  #write(): Promise<unknown> {
    clearTimeout(this.#writeTimer);
    this.#writeTimer = undefined;
    this.#writing = this.#writing.then(() =>
      writeTrainingFile(this.#folder, { training: this.#training, rates: this.#rates }).catch(() => undefined),
    );
    return this.#writing;
  }
}

/** What the time of an update depends on, beside the number of pictures in it. */
function rateKey(order: CheckedTrainingOrder, model: string, resolution: number | undefined): string {
  const { device, recompute } = order.settings;
  const own =
    order.kind === 'gate'
      ? [order.experts.length, order.settings.granularity, order.settings.form, order.settings.loss]
      : [order.settings.rank, order.settings.targets, order.settings.textEncoder];
  return JSON.stringify([order.kind, model, resolution, device, recompute, ...own]);
}

/** Throws a FailureError when there is nothing to learn from, or nobody to decide between. */
function checkOrder(order: CheckedTrainingOrder, pictures: number): void {
  const refuse = (message: string): never => {
    throw new FailureError({ kind: 'bad-request', message });
  };
  if (order.kind === 'gate' && order.experts.length < 2) {
    refuse(`A gate decides between experts: put at least two on the workbench, not ${order.experts.length}.`);
  }
  const needsNone = order.kind === 'gate' && (order.settings.loss === 'distil' || order.settings.loss === undefined);
  if (pictures === 0 && !needsNone) {
    refuse('There are no pictures to learn from: drop some on the window, or add files.');
  }
}

async function checkExperts(order: CheckedTrainingOrder): Promise<void> {
  if (order.kind !== 'gate') return;
  for (const path of order.experts) {
    if (await isThere(path)) continue;
    const message = `The expert ${path} is not there any more. Put it back, or take it off the workbench.`;
    throw new FailureError({ kind: 'bad-request', file: path, message });
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

function failureOf(error: unknown): Failure {
  if (error instanceof FailureError) return error.failure;
  return { kind: 'internal', message: error instanceof Error ? error.message : String(error) };
}
