// What an order may say beyond the plain form: the picture it starts from, a variation of the seed, and finer settings that a
// restored picture brings along. The finer settings are kept between sessions, the others while the window is open.
import type { PictureSettings } from '../../src-main/contract/pictures.ts';
import type { DrawOrder } from '../../src-main/contract/window-drawing.ts';

export interface StartPicture {
  /** Of the host's shelf. */
  readonly id: string;
  readonly name: string;
  /** Share that is drawn anew, 0..1. */
  readonly strength: number;
}

/** Mixes the noise of another seed in; strength 0..1. */
export interface Variation {
  readonly seed: number;
  readonly strength: number;
}

/** Settings without a field of their own. */
export type FinerSettings = Pick<PictureSettings, 'clipSkip' | 'cfgRescale' | 'prediction'>;

export interface ExtraFields {
  readonly start: StartPicture | undefined;
  readonly variation: Variation | undefined;
  readonly finer: FinerSettings;
}

const usualStrength = 0.6;
const nothing: ExtraFields = { start: undefined, variation: undefined, finer: {} };
const key = 'mole-atelier-finer-v1';

export class OrderExtras {
  #fields = $state.raw<ExtraFields>({ ...nothing, finer: storedFiner() });

  get fields(): ExtraFields {
    return this.#fields;
  }

  set(change: Partial<ExtraFields>): void {
    this.#fields = { ...this.#fields, ...change };
    if (change.finer !== undefined) localStorage.setItem(key, JSON.stringify(change.finer));
  }

  /** Starts from a picture, with the strength of the one before it. */
  startFrom({ id, name }: { readonly id: string; readonly name: string }): void {
    this.set({ start: { id, name, strength: this.#fields.start?.strength ?? usualStrength } });
  }

  /** Takes over what an order said. */
  restore({ init, variation, clipSkip, cfgRescale, prediction }: DrawOrder): void {
    const strength = init?.strength ?? usualStrength;
    this.set({
      start: init === undefined ? undefined : { id: init.picture, name: '', strength },
      variation,
      finer: finerOf({ clipSkip, cfgRescale, prediction }),
    });
  }

  /** These fields of an order. */
  part(): Partial<DrawOrder> {
    const { start, variation, finer } = this.#fields;
    return {
      ...finer,
      ...(variation === undefined ? {} : { variation }),
      ...(start === undefined ? {} : { init: { picture: start.id, strength: start.strength } }),
    };
  }
}

/** Those that differ from the usual. */
export function finerOf({
  clipSkip,
  cfgRescale,
  prediction,
}: { readonly [Name in keyof FinerSettings]: FinerSettings[Name] | undefined }): FinerSettings {
  return {
    ...(clipSkip === undefined || clipSkip === 1 ? {} : { clipSkip }),
    ...(cfgRescale === undefined || cfgRescale === 0 ? {} : { cfgRescale }),
    ...(prediction === undefined ? {} : { prediction }),
  };
}

/** The finer settings of the last session; what is missing or out of its bounds takes its usual value. */
function storedFiner(): FinerSettings {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? '{}');
    if (typeof value !== 'object' || value === null) return {};
    const { clipSkip, cfgRescale, prediction } = value as Readonly<Record<string, unknown>>;
    const within = (number: unknown, least: number, most: number): number | undefined =>
      typeof number === 'number' && number >= least && number <= most ? number : undefined;
    return finerOf({
      clipSkip: within(clipSkip, 1, 12),
      cfgRescale: within(cfgRescale, 0, 1),
      prediction: prediction === 'epsilon' || prediction === 'v_prediction' ? prediction : undefined,
    });
  } catch {
    return {};
  }
}
