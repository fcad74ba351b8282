// What an order may say beyond the plain form: the picture it starts from, a variation of the seed, and finer settings that a
// restored picture brings along. Kept while the window is open.
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

export class OrderExtras {
  #fields = $state.raw<ExtraFields>(nothing);

  get fields(): ExtraFields {
    return this.#fields;
  }

  set(change: Partial<ExtraFields>): void {
    this.#fields = { ...this.#fields, ...change };
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
