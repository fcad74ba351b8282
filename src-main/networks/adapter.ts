// What a file of adapters (LoRA and its relatives) holds, once its names are understood: which module each group of tensors
// changes, by which algorithm, and at which scale. Nothing here has been read but the header.
import type { TensorRef } from '../graph/ir.ts';
import type { NetworkModule } from './modules.ts';

/**
 * How the tensors make delta W: `lora` up down (also LoCon); `tucker` with a core between them; `loha` a Hadamard product of two
 * products (Hyeon-Woo et al. 2021, https://arxiv.org/abs/2108.06098); `lokr` a Kronecker product (LyCORIS,
 * https://arxiv.org/abs/2309.14859); `full` the delta itself.
 */
export type AdapterAlgorithm = 'lora' | 'tucker' | 'loha' | 'lokr' | 'full';

/** The change of one module. Shapes have been checked against it. */
export interface AdapterModule {
  readonly module: NetworkModule;
  /** The part of the file's keys that names the module: "lora_unet_down_blocks_0_...". */
  readonly layer: string;
  readonly algorithm: AdapterAlgorithm;
  /** By role: down, up, mid; w1_a, w1_b, w2_a, w2_b, w1, w2, t1, t2; diff. */
  readonly tensors: Readonly<Record<string, TensorRef>>;
  /** What alpha is divided by: the rank of the decomposed factor. 1 where nothing is decomposed, and alpha does not count. */
  readonly rank: number;
  /** A tensor of one number, or from a PEFT config. Absent, 0 or not a number means the rank itself, so a scale of 1. */
  readonly alpha?: TensorRef | number;
  /** Stands instead of alpha / rank. */
  readonly scale?: TensorRef | number;
  /** alpha / sqrt(rank) (Kalajdzievski 2023, https://arxiv.org/abs/2312.03732). */
  readonly rsLora?: boolean;
}

/** A kind of adapter that is known and not supported. */
export interface RefusedAdapters {
  /** 'DoRA', 'OFT', 'IA3', 'GLoRA', ... */
  readonly kind: string;
  /** Modules of it in the file. */
  readonly count: number;
  readonly message: string;
}

export interface AdapterContents {
  /** Naming family: 'kohya', 'diffusers (PEFT)', 'cloneofsimo', ... */
  readonly family: string;
  /** In the order in which the networks run them, the UNet first. */
  readonly modules: readonly AdapterModule[];
  /** Keys that no module of the base model answers to. */
  readonly unmatched: readonly string[];
  readonly refused: readonly RefusedAdapters[];
  /** Textual-inversion vectors [D] or [n, D] stored alongside, by their word. */
  readonly embeddings: ReadonlyMap<string, TensorRef>;
  /** Modules whose tensors do not fit or are incomplete, one sentence each. */
  readonly misshapen: readonly string[];
  readonly warnings: readonly string[];
}
