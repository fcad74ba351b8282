// The tour of one minute: what can be done here, step by step, each with a button that does it on the bundled experts.
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { navigation } from './navigation.svelte.ts';
import { studio } from './studio.svelte.ts';

export type TourStepName = keyof typeof strings.settings.tourWords.steps;
export const tourSteps = Object.keys(strings.settings.tourWords.steps) as readonly TourStepName[];

/** The seed of the tour's drawing: everyone sees the same picture. */
const seed = 7;

class Tour {
  #place = $state<number>();
  #busy = $state(false);

  /** Undefined when nobody is on the tour. */
  readonly step: TourStepName | undefined = $derived(this.#place === undefined ? undefined : tourSteps[this.#place]);

  /** From 1. */
  get place(): number {
    return (this.#place ?? 0) + 1;
  }

  /** Whether a step's deed is under way. */
  get busy(): boolean {
    return this.#busy;
  }

  begin(): void {
    this.#go(0);
  }

  next(): void {
    if (this.#place === undefined || this.place === tourSteps.length) this.leave();
    else this.#go(this.#place + 1);
  }

  back(): void {
    if (this.#place !== undefined && this.#place > 0) this.#go(this.#place - 1);
  }

  leave(): void {
    this.#place = undefined;
  }

  /** Does what the step's button says. */
  async act(): Promise<void> {
    this.#busy = true;
    await this.#do();
    this.#busy = false;
  }

  #go(place: number): void {
    this.#place = place;
    const name = tourSteps[place];
    if (name === 'experts' || name === 'draw' || name === 'heat' || name === 'branches') navigation.show('draw');
  }

  async #do(): Promise<void> {
    switch (this.step) {
      case 'experts':
        await this.#addExperts();
        this.next();
        return;
      case 'draw':
        studio.order.set({ prompt: strings.settings.tourWords.prompt, seed });
        studio.countTokens();
        await studio.draw();
        this.next();
        return;
      case 'compare':
        navigation.show('compare');
        return;
      case 'train':
        navigation.show('train');
        return;
      case 'keep':
        navigation.show('gallery');
        return;
      default:
    }
  }

  /** A bundled gate and the experts that it was trained for. */
  async #addExperts(): Promise<void> {
    const bundled = connection.welcome?.bundled ?? [];
    const gate = bundled.find((path) => path.endsWith('fox-ink-sketch.mole.safetensors'));
    const nameOf = (path: string): string => /([^\\/]+)\.safetensors$/.exec(path)?.[1] ?? path;
    const report =
      gate === undefined ? undefined : await connection.attempt(() => connection.request('inspect', { path: gate }));
    const names = report?.gate?.experts.map(({ name }) => name) ?? [];
    for (const path of [
      ...bundled.filter((other) => names.includes(nameOf(other))),
      ...(gate === undefined ? [] : [gate]),
    ]) {
      if (studio.experts.rows.some((row) => row.path === path) || studio.experts.gate?.path === path) continue;
      await studio.addPath(path);
    }
  }
}

export const tour = new Tour();
