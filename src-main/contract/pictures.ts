// What a picture says of how it was made: the answer to `readPicture`. Every text is a stranger's: shortened, shown as text.
import type { ExpertSettings, Recipe } from './experts.ts';
import type { GenerateSettings } from './generation.ts';

/** An expert as a picture names it: looked for by hash, or by name where it has none. */
export interface NamedExpert {
  /** Of the file, without its ending. */
  readonly name: string;
  /** SHA-256 of the file, or the first 12 digits of that of its weights (A1111's), lower-case hex. */
  readonly hash?: string;
  readonly settings: Omit<ExpertSettings, 'path'>;
}

/** The mix of a picture, in the order of its masks. */
export interface PictureMix extends Partial<Omit<Recipe, 'version' | 'experts' | 'gate'>> {
  readonly experts: readonly NamedExpert[];
  readonly gate?: { readonly name: string; readonly sha256: string };
}

/** Settings that an order takes over; absent ones were not found. */
export type PictureSettings = Partial<
  Pick<
    GenerateSettings,
    | 'prompt'
    | 'negativePrompt'
    | 'seed'
    | 'variation'
    | 'steps'
    | 'sampler'
    | 'schedule'
    | 'cfgScale'
    | 'cfgRescale'
    | 'clipSkip'
    | 'prediction'
    | 'width'
    | 'height'
  >
>;

export interface PictureReport {
  /** Pixels; undefined when not even its header can be read. */
  readonly size?: { readonly width: number; readonly height: number };
  /** Why its pixels cannot be used; its settings may be readable all the same. */
  readonly problem?: string;
  /** Whose settings were found: all of ours, A1111's text, a ComfyUI graph, none. */
  readonly from: 'mole' | 'a1111' | 'comfyui' | 'none';
  readonly settings: PictureSettings;
  readonly mix?: PictureMix;
  readonly model?: { readonly name: string; readonly hash?: string };
  /** The strength with which it was drawn over another picture, which is not in the file. */
  readonly startedFrom?: number;
  /** What could not be read, or will come out differently here: complete sentences. */
  readonly notes: readonly string[];
}
