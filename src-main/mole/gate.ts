// The gate of Mixture of LoRA Experts (arXiv:2404.13628, Eq. 9-12) as a piece of graph, in rank space. An expert's output at a
// layer is E_i = B_i u_i with u_i = A_i h. The paper flattens all E over tokens, normalises, and multiplies by a matrix e;
// since <B u, e> = <u, B^T e> and |B u|^2 = u^T (B^T B) u, neither E nor anything as wide as E is ever made:
// the cost is O(tokens * ranks) instead of O(tokens * experts * width).
import type { GraphBuilder } from '../graph/builder.ts';
import type { Value } from '../graph/ir.ts';
import { sinusoids } from '../networks/layers.ts';
import type { GateGroup, Granularity } from './groups.ts';

export const gateForms = ['pooled', 'paper'] as const;
/**
 * `paper` is Eq. 9-10: e has an entry per token, so the gate holds for one picture size. `pooled` takes the mean over tokens
 * first and holds for any size.
 */
export type GateForm = (typeof gateForms)[number];

export const amplitudes = ['convex', 'free'] as const;
/** `convex`: the gates of a group sum to 1, as in the paper. `free`: they sum to a learned positive gain of the group. */
export type Amplitude = (typeof amplitudes)[number];

export interface GateSpec {
  readonly granularity: Granularity;
  readonly form: GateForm;
  readonly amplitude: Amplitude;
  /** Whether the gates read the timestep too. */
  readonly timestep: boolean;
}

/** Width of the sinusoids through which a gate reads the timestep. */
export const timestepWidth = 32;

/** Keeps the division by a norm finite when every expert is silent. */
const tiny = 1e-12;

/** What the experts of one reader say before the up-projection. */
export interface RankActivations {
  /** u = A_cat h: [B, T, R], or [B, R, H, W] of a convolution, or [B, R]. */
  readonly u: Value;
  /** B_cat^T: [R, out]; a convolution's is [out, R, 1, 1]. */
  readonly up: Value;
  /** One-hot [N, R]: which expert each rank belongs to. */
  readonly owner: Value;
  /** Name of the reader, for the inputs of the gate. */
  readonly name: string;
}

/** Names of the graph inputs that hold the parameters of a group, so that whoever feeds them agrees with the graph. */
export const gateInput = {
  /** pooled: [N D, N], e transposed. */
  weight: (group: string): string => `${group}.gate.weight`,
  /** paper: [T R, N] per reader, e with the up-projection folded in (foldPaperGate). */
  folded: (reader: string): string => `${reader}.gate.folded`,
  /** [timestepWidth, N]. */
  timestep: (group: string): string => `${group}.gate.timestep`,
  /** [G]: logarithm of tau, per group in order. */
  logTemperature: 'gate.log_temperature',
  /** [G]: logarithm of the gain, amplitude `free` only. */
  logGain: 'gate.log_gain',
} as const;

/** The parameters that all gates of a network share, as graph values. */
export interface GateScalars {
  readonly logTemperature: Value;
  readonly logGain: Value | undefined;
  /** Sinusoids [B, timestepWidth], when the gates read the timestep. */
  readonly waves: Value | undefined;
}

/** Sinusoids of the timestep [B] for the gates: [B, timestepWidth]. */
export function gateWaves(b: GraphBuilder, timestep: Value): Value {
  return sinusoids(b, timestep, timestepWidth, { flipSinToCos: true, freqShift: 0 });
}

/** Eq. 9-11: logits over a temperature, through a softmax: [B, N]. Declares the group's inputs. */
export function gate(
  b: GraphBuilder,
  spec: GateSpec,
  group: GateGroup,
  index: number,
  readers: readonly RankActivations[],
  scalars: GateScalars,
): Value {
  const said = spec.form === 'pooled' ? pooledLogits(b, group, readers) : paperLogits(b, readers);
  const logits =
    scalars.waves === undefined
      ? said
      : b.Add(said, b.MatMul(scalars.waves, b.input(gateInput.timestep(group.name), [timestepWidth, 'N'])));
  const temperature = b.Exp(b.Slice(scalars.logTemperature, [index], [index + 1], [0])); // [1]
  return b.Softmax(b.Div(logits, temperature));
}

/** f = normalised concatenation over experts of mean_t E_i; logits = f e^T: [B, N]. */
function pooledLogits(b: GraphBuilder, group: GateGroup, readers: readonly RankActivations[]): Value {
  const means = readers.map(({ u, up, owner }) => {
    const pooled = pool(b, u); // [B, 1, R]
    return b.MatMul(b.Mul(pooled, owner), upMatrix(b, up)); // [B, N, R] [R, out] -> [B, N, out]
  });
  const features = b.Reshape(means.length === 1 ? means[0]! : b.Concat(means, 2), [0, -1]); // [B, N, D] -> [B, N D]
  const norm = b.Sqrt(b.Add(b.ReduceSum(b.Mul(features, features), [1]), b.constant(tiny))); // [B, 1]
  const weight = b.input(gateInput.weight(group.name), [features.shape[1]!, 'N']);
  return b.MatMul(b.Div(features, norm), weight);
}

/** Flatten(E)^T e / |E| over all readers, tokens and experts: [B, N]. */
function paperLogits(b: GraphBuilder, readers: readonly RankActivations[]): Value {
  const parts = readers.map(({ u, up, owner, name }) => {
    const tokens = asTokens(b, u); // [B, T, R]
    const flat = b.Reshape(tokens, [0, -1]); // [B, T R]
    const logits = b.MatMul(flat, b.input(gateInput.folded(name), [flat.shape[1]!, 'N']));
    const matrix = upMatrix(b, up); // [R, out]
    const sameOwner = b.MatMul(b.Transpose(owner, [1, 0]), owner); // [R, R]
    const gram = b.Mul(b.MatMul(matrix, b.Transpose(matrix, [1, 0])), sameOwner); // B^T B within each expert
    const energy = b.ReduceSum(b.Mul(b.MatMul(tokens, gram), tokens), [1, 2], false); // [B]
    return { logits, energy };
  });
  const sum = (values: readonly Value[]): Value => values.reduce((total, value) => b.Add(total, value));
  const energy = b.Unsqueeze(sum(parts.map((part) => part.energy)), [1]); // [B, 1]
  return b.Div(sum(parts.map((part) => part.logits)), b.Sqrt(b.Add(energy, b.constant(tiny))));
}

/** Mean over tokens or pixels: -> [B, 1, R]. */
function pool(b: GraphBuilder, u: Value): Value {
  if (u.shape.length === 3) return b.ReduceMean(u, [1]);
  if (u.shape.length === 4) return b.Unsqueeze(b.ReduceMean(u, [2, 3], false), [1]);
  return b.Unsqueeze(u, [1]);
}

/** Rank activations [B, T, R], [B, R, H, W] or [B, R] as tokens: -> [B, T, R]. */
export function asTokens(b: GraphBuilder, u: Value): Value {
  if (u.shape.length === 3) return u;
  if (u.shape.length === 4) return b.Transpose(b.Reshape(u, [0, 0, -1]), [0, 2, 1]); // [B, R, H, W] -> [B, H W, R]
  return b.Unsqueeze(u, [1]);
}

/** [R, out] of either kind of up-projection. */
function upMatrix(b: GraphBuilder, up: Value): Value {
  return up.shape.length === 2 ? up : b.Transpose(b.Reshape(up, [0, -1]), [1, 0]);
}

/** Gates that the artist sets by hand in a row. */
export interface GateOverrides {
  /** [1, N]: 1 where the gate decides, 0 where the artist does. */
  readonly free: Value;
  /** [1, N]: the artist's values, 0 where the gate decides and for experts that are silent. */
  readonly values: Value;
}

/**
 * Masking (section 3.4 of the paper, "recalculates and distributes weights proportionally"): G'_i = m_i G_i / sum_j m_j G_j,
 * [B, N], times the group's gain. `mask` [1, N] holds 0 and 1. The gain fades to 1 with the number of experts left, so
 * that a single survivor is exactly that expert alone: 1 + (gain - 1) (n - 1) / (N - 1).
 *
 * With overrides v_i the others keep their proportions and share what is left of the same total T (1, or the gain): G'_i = v_i
 * where the artist decides, max(0, T - sum_j v_j) m_i G_i / sum_{free j} m_j G_j elsewhere. Where the artist decides all of them,
 * the sum is the artist's too. Without any value it is the plain formula to the last bit: (T - 0) x + 0.
 */
export function maskedGates(
  b: GraphBuilder,
  gates: Value,
  mask: Value,
  index: number,
  scalars: GateScalars,
  experts: Value,
  overrides?: GateOverrides,
): Value {
  const open = overrides === undefined ? mask : b.Mul(mask, overrides.free);
  const kept = b.Mul(gates, open); // [B, N]
  const normal = b.Div(kept, b.Add(b.ReduceSum(kept, [1]), b.constant(1e-30)));
  const total = totalOf(b, mask, index, scalars, experts);
  if (overrides === undefined) return total === undefined ? normal : b.Mul(normal, total);
  const left = b.Sub(total ?? b.constant(1), b.ReduceSum(overrides.values, [1]));
  return b.Add(b.Mul(normal, b.Max(left, b.constant(0))), overrides.values);
}

/** What the gates of a group sum to under a mask, [1, 1]: its gain, or undefined for 1. */
function totalOf(b: GraphBuilder, mask: Value, index: number, scalars: GateScalars, experts: Value): Value | undefined {
  if (scalars.logGain === undefined) return undefined;
  const gain = b.Exp(b.Slice(scalars.logGain, [index], [index + 1], [0])); // [1]
  const one = b.constant(1);
  const left = b.ReduceSum(mask, [1]); // n: [1, 1]
  const share = b.Div(b.Sub(left, one), b.Max(b.Sub(experts, one), one)); // (n - 1) / (N - 1)
  return b.Add(b.Mul(b.Sub(gain, one), share), one);
}
