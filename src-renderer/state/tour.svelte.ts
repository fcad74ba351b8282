// The tour of one minute: what can be done here, step by step, each with a button that does it on the bundled experts.
import { strings } from '../strings.ts';
import { navigation } from './navigation.svelte.ts';
import { recipes } from './recipes.svelte.ts';
import { studio } from './studio.svelte.ts';

export type TourStepName = keyof typeof strings.settings.tourWords.steps;
export const tourSteps = Object.keys(strings.settings.tourWords.steps) as readonly TourStepName[];

/** The tour's drawing: everyone sees the same picture. The bundled model likes a mild guidance. */
const drawing = { prompt: strings.settings.tourWords.prompt, seed: 8, cfg: 4 };

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
        studio.order.set(drawing);
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

  /** A bundled recipe: a subject, a style, and the gate for such pairs. */
  async #addExperts(): Promise<void> {
    await recipes.refresh();
    const recipe = recipes.bundled.find(({ path }) => path.includes('fox-in-ink')) ?? recipes.bundled[0];
    if (recipe !== undefined) await recipes.load(recipe.path);
  }
}

export const tour = new Tour();
