// What a file is, in words: the answer to `atelier inspect` and the report card of a dropped file.

export interface FileReport {
  readonly path: string;
  readonly sizeBytes: number;
  readonly kind: 'checkpoint' | 'vae' | 'taesd' | 'lora' | 'embedding' | 'picture' | 'unknown';
  /** One line for a person: "Stable Diffusion 1.x checkpoint, float16, 1 066 M parameters". */
  readonly summary: string;
  /** Base model family, e.g. 'SD 1.x', 'SDXL'; undefined when not known. */
  readonly base?: string;
  /** Naming family of the tensors, e.g. 'LDM', 'diffusers', 'kohya'. */
  readonly family?: string;
  readonly tensors?: number;
  readonly parameters?: number;
  /** Tensor counts by type. */
  readonly precision?: Readonly<Record<string, number>>;
  /** The file's own metadata: hostile text, shown as text. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly problems: readonly string[];
}
