// What the machine can compute on, as found by trying: the answer to `atelier devices`.

export type ProviderName = 'cpu' | 'webgpu' | 'cuda' | 'dml' | 'coreml';

export interface ProviderReport {
  readonly provider: ProviderName;
  readonly state: 'works' | 'wrong-results' | 'unavailable' | 'not-in-this-build' | 'crashed' | 'timed-out';
  /** Complete sentence: why it works or does not, and what would help. */
  readonly reason: string;
  /** Largest relative error of the self-test against its reference; undefined when it did not run. */
  readonly selfTestError?: number;
  /** True when the fused attention kernel passed the self-test too. */
  readonly fusedAttention?: boolean;
  readonly elapsedMs: number;
}

export interface DevicesReport {
  /** Provider that `auto` takes. */
  readonly chosen: ProviderName;
  readonly chosenReason: string;
  readonly providers: readonly ProviderReport[];
  readonly cpu: { readonly model: string; readonly cores: number };
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
}
