// What a file is, in words: the answer to `atelier inspect` and the report card of a dropped file.

export interface FileReport {
  readonly path: string;
  readonly sizeBytes: number;
  readonly kind: 'checkpoint' | 'vae' | 'taesd' | 'lora' | 'gate' | 'embedding' | 'picture' | 'unknown';
  /** One line for a person: "Stable Diffusion 1.x checkpoint, float16, 1 066 M parameters". */
  readonly summary: string;
  /** Of a checkpoint that can be opened: pixels of the side that it draws best. */
  readonly side?: number;
  /** Base model family, e.g. 'SD 1.x', 'SDXL'; undefined when not known. */
  readonly base?: string;
  /** Naming family of the tensors, e.g. 'LDM', 'diffusers', 'kohya'. */
  readonly family?: string;
  readonly tensors?: number;
  readonly parameters?: number;
  /** Tensor counts by type. */
  readonly precision?: Readonly<Record<string, number>>;
  /** Of kind 'lora': what an artist wants to know before using it. */
  readonly adapter?: AdapterReport;
  /** Of kind 'gate'; absent when its description is damaged. */
  readonly gate?: GateReport;
  /** Of kind 'embedding', and of LoRAs that carry words of their own. */
  readonly embeddings?: readonly EmbeddingReport[];
  /** Only when asked for: they read the whole file. */
  readonly hashes?: FileHashes;
  /** The file's own metadata: hostile text, shown as text. Embedded pictures are replaced by their size. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly problems: readonly string[];
}

/** The report card of a LoRA or one of its relatives. All texts are a stranger's, shortened and never markup. */
export interface AdapterReport {
  /** 'LoRA', 'LoCon', 'LoHa', 'LoKr', 'full', ...: most layers first. */
  readonly algorithms: readonly string[];
  /** Least and most over the layers. */
  readonly ranks?: readonly [number, number];
  readonly alphas?: readonly [number, number];
  /** Layers that fit the base model, and layers in the file. */
  readonly modulesMatched: number;
  readonly modulesTotal: number;
  /** Names in the file that belong to no layer of the base model: the first of them, and how many there are. */
  readonly unmatched: readonly string[];
  readonly unmatchedTotal: number;
  /** Whether it changes the text encoder as well. */
  readonly textEncoder: boolean;
  /** Layers whose change is of full rank, so that mixing keeps only its largest part. */
  readonly truncatedModules: number;
  /** Kinds that cannot be used, with the number of layers and the reason. */
  readonly refusedKinds: readonly { readonly kind: string; readonly count: number; readonly message: string }[];
  readonly triggerWords: readonly string[];
  /** Where the trigger words come from, for a sentence: "its most frequent training tags". */
  readonly triggerSource?: string;
  readonly title?: string;
  readonly author?: string;
  readonly licence?: string;
  readonly description?: string;
  /** Weight that its owner prefers. */
  readonly preferredWeight?: number;
  /** How it was trained: label and value. */
  readonly training: readonly (readonly [string, string])[];
  readonly thumbnail?: Thumbnail;
  /** Files that belong to it: its picture, description and notes. */
  readonly sidecars: readonly string[];
  /** What is worth knowing and stops nobody: missing metadata, metadata that contradicts the tensors. */
  readonly warnings: readonly string[];
}

/** What a gate file says of itself: whom it mixes, how, and how it was trained. */
export interface GateReport {
  /** In the order of the gate. */
  readonly experts: readonly { readonly name: string; readonly sha256: string }[];
  /** 'matrix', 'layer', 'block' or 'network': what shares a gate. */
  readonly granularity: string;
  /** 'pooled' or 'paper': what a gate looks at. */
  readonly form: string;
  /** 'convex' or 'free': whether gates add up to 1. */
  readonly amplitude: string;
  /** Whether gates know the step of the drawing. */
  readonly timestep: boolean;
  /** Shares of the unguided branch that it was found with, in the order of `experts`; undefined where it names none. */
  readonly unguided?: readonly number[];
  /** Number of gates in each network. */
  readonly gates: { readonly unet: number; readonly textEncoder: number };
  /** Updates, and mean loss of the first and the last tenth of them; undefined where the file does not say. */
  readonly steps?: number;
  readonly loss?: { readonly name?: string; readonly first: number; readonly last: number };
  /** Pictures that it was trained on. */
  readonly pictures?: number;
}

/** Where a picture of the adapter is; nothing is decoded yet. */
export interface Thumbnail {
  readonly where: 'file' | 'modelspec.thumbnail' | 'ssmd_cover_images';
  /** The picture file, or the file that holds it in its metadata. */
  readonly path: string;
  readonly format: 'png' | 'jpeg' | 'webp' | 'gif';
  readonly bytes: number;
  /** Pixels, where the picture's own header says them. */
  readonly width?: number;
  readonly height?: number;
}

/** A learned word (textual inversion). */
export interface EmbeddingReport {
  /** What to write in the prompt. */
  readonly token: string;
  /** Tokens that it takes up. */
  readonly vectors: number;
  /** Width of the text encoder that it fits. */
  readonly width: number;
}

/** Hashes as the community writes them, lower-case hex. */
export interface FileHashes {
  /** Of the whole file. */
  readonly sha256: string;
  /** First 10 digits of `sha256`: A1111's model hash, Civitai's AutoV2. */
  readonly autoV2: string;
  /** SHA-256 of what follows the header: kohya's `sshs_model_hash`, Civitai's AutoV3. */
  readonly autoV3: string;
  /** First 12 digits of `autoV3`: what A1111 writes for a LoRA. */
  readonly short: string;
  /** A1111's oldest: first 8 digits of the SHA-256 of 64 KiB at 1 MiB. */
  readonly legacy: string;
}
