// The layer factory that lets experts speak: y = W h + B_cat (c * (A_cat h)), where c holds, for every rank, the weight of the
// expert it belongs to (Eq. 12-13 of arXiv:2404.13628 per layer; Hu et al. 2021, Eq. 3). Experts, weights, masks and gates are
// graph inputs with symbolic sizes N (experts) and R (all their ranks), so that nothing that an artist does to the stack
// rebuilds a graph or touches a base weight.
import type { GraphBuilder } from '../graph/builder.ts';
import type { Value } from '../graph/ir.ts';
import { plainLayers, type LayerFactory, type NetworkContext } from '../networks/layers.ts';
import {
  asTokens,
  gate,
  gateInput,
  gateWaves,
  maskedGates,
  type GateOverrides,
  type GateScalars,
  type GateSpec,
  type RankActivations,
} from './gate.ts';
import type { NetworkModule } from '../networks/modules.ts';
import type { GateGroup } from './groups.ts';

/** Names of the graph inputs. */
export const expertInput = {
  /** [rows, N]: the weight of each expert in each row of the network (IN01, MID…), strength and schedule included. */
  weights: 'expert_weights',
  /** [rows, N] of 0 and 1, with gates only. */
  masks: 'expert_masks',
  /** [rows, N]: 1 where the gate decides, 0 where the artist does; with overridable gates only. */
  free: 'expert_free',
  /** [rows, N]: the artist's gates, 0 elsewhere; with overridable gates only. */
  overrides: 'expert_overrides',
  /** A_cat: [in, R] for linear layers, [R, in, k, k] for convolutions. */
  down: (module: string): string => `${module}.lora_down`,
  /** B_cat: [R, out] for linear layers, [out, R, 1, 1] for convolutions. */
  up: (module: string): string => `${module}.lora_up`,
  /** [N, R], one-hot: the expert of each rank. */
  owner: (module: string): string => `${module}.lora_owner`,
} as const;

/** Name of the output with the effective gates [B, G, N], groups in order. */
export const gatesOutput = 'gates';

/** Name of the output with the gates before masks and gains [B, G, N]: what the balance loss is taken of. */
export const softmaxOutput = 'gate_softmax';

/** Name of the output with the second moments E[u u^T] [R, R] of a layer, u = A_cat h, the mean over batch and tokens. */
export const momentsOutput = (module: string): string => `${module}.moments`;

/** What a graph with experts is built for. */
export interface ExpertGraph {
  /** The layers that carry a branch, by name. */
  readonly modules: ReadonlyMap<string, NetworkModule>;
  /** Number of rows of `expert_weights`, and the row of each module. */
  readonly rows: number;
  readonly rowOf: (module: string) => number;
  /** Without it the weights alone decide. */
  readonly gate?: {
    readonly spec: GateSpec;
    readonly groups: readonly GateGroup[];
    /** Whether gates can be set by hand, row by row. */
    readonly overridable?: boolean;
  };
  /** Also returns the gates before masks and gains, for training. */
  readonly softmax?: boolean;
  /** Also returns the second moments of every branch, which SSR-Merge is computed from. */
  readonly moments?: boolean;
}

/** A factory for one graph: it declares inputs as it meets the layers they belong to. */
export function expertLayers(graph: ExpertGraph): LayerFactory {
  let branches: Branches | undefined;
  const branch = (network: NetworkContext, x: Value, y: Value, name: string): Value => {
    const module = graph.modules.get(name);
    if (module === undefined) return y;
    return network.builder.scope(name, () => branches!.add(x, y, module));
  };
  return {
    begin(network, { timestep }) {
      branches = new Branches(network.builder, graph, timestep);
    },
    linear: (network, x, name, options) => branch(network, x, plainLayers.linear(network, x, name, options), name),
    conv: (network, x, name, options) => branch(network, x, plainLayers.conv(network, x, name, options), name),
    end() {
      branches!.declareGates();
      if (graph.moments === true) branches!.declareMoments();
    },
  };
}

/** The branches of one graph as it grows. */
class Branches {
  readonly #b: GraphBuilder;
  readonly #graph: ExpertGraph;
  readonly #weights: Value;
  readonly #gating:
    | {
        readonly masks: Value;
        /** [rows, N] each. */
        readonly overrides: GateOverrides | undefined;
        readonly experts: Value;
        readonly scalars: GateScalars;
      }
    | undefined;
  readonly #groupOf = new Map<string, number>();
  readonly #activations = new Map<string, RankActivations & { readonly x: Value }>();
  /** Softmax of a group [B, N]; masked and amplified, per group and row. */
  readonly #gates = new Map<number, Value>();
  readonly #effective = new Map<string, Value>();
  readonly #coefficients = new Map<string, Value>();

  constructor(builder: GraphBuilder, graph: ExpertGraph, timestep: Value | undefined) {
    const b = (this.#b = builder);
    this.#graph = graph;
    this.#weights = b.input(expertInput.weights, [graph.rows, 'N']);
    if (graph.gate === undefined) return;
    const { spec, groups } = graph.gate;
    groups.forEach(({ members }, index) => {
      members.forEach(({ name }) => this.#groupOf.set(name, index));
    });
    if (spec.timestep && timestep === undefined) {
      throw new Error('Gates that read the timestep need a network that has one.');
    }
    const masks = b.input(expertInput.masks, [graph.rows, 'N']);
    // N, counted where it is known: zero times a row, plus one each.
    const experts = b.ReduceSum(b.Add(b.Mul(b.Slice(masks, [0], [1], [0]), b.constant(0)), b.constant(1)), [1]); // [1, 1]
    const scalars = {
      logTemperature: b.input(gateInput.logTemperature, [groups.length]),
      logGain: spec.amplitude === 'free' ? b.input(gateInput.logGain, [groups.length]) : undefined,
      waves: spec.timestep ? gateWaves(b, timestep!) : undefined,
    };
    const overridable = graph.gate.overridable === true;
    const overrides = overridable
      ? {
          free: b.input(expertInput.free, [graph.rows, 'N']),
          values: b.input(expertInput.overrides, [graph.rows, 'N']),
        }
      : undefined;
    this.#gating = { masks, overrides, experts, scalars };
  }

  /** y plus the experts' branch on x, for a linear layer or a convolution. */
  add(x: Value, y: Value, module: NetworkModule): Value {
    const b = this.#b;
    const { u, up } = this.#activate(x, module);
    const perRank = b.MatMul(this.#coefficient(x, module), this.#activations.get(module.name)!.owner); // [B, N] [N, R] -> [B, R]
    if (module.kind === 'conv') {
      return b.Add(y, b.Conv(b.Mul(u, b.Unsqueeze(perRank, [2, 3])), up, undefined, { padding: 0 }));
    }
    const c = u.shape.length === 2 ? perRank : b.Unsqueeze(perRank, [1]); // [B, 1, R]
    return b.Add(y, b.MatMul(b.Mul(u, c), up));
  }

  /** Declares what the gates were as an output [B, G, N]. */
  declareGates(): void {
    const { gate: gating } = this.#graph;
    if (gating === undefined) return;
    const b = this.#b;
    const rows = gating.groups.map(({ members }, index) => b.Unsqueeze(this.#masked(index, members[0]!.name), [1]));
    const stacked = (values: readonly Value[]): Value => (values.length === 1 ? values[0]! : b.Concat(values, 1));
    b.output(gatesOutput, stacked(rows));
    if (this.#graph.softmax !== true) return;
    b.output(softmaxOutput, stacked(gating.groups.map((_, index) => b.Unsqueeze(this.#gates.get(index)!, [1]))));
  }

  /** Declares E[u u^T] of every layer as an output [R, R]. */
  declareMoments(): void {
    const b = this.#b;
    for (const { name, u } of this.#activations.values()) {
      const tokens = asTokens(b, u); // [B, T, R]
      const products = b.MatMul(b.Transpose(tokens, [0, 2, 1]), tokens); // [B, R, R]
      const count = b.constant(Number(tokens.shape[1]));
      b.output(momentsOutput(name), b.Div(b.ReduceMean(products, [0], false), count));
    }
  }

  /** u = A_cat x: [B, T, R], [B, R] or [B, R, H', W']. Made once per layer. */
  #activate(x: Value, module: NetworkModule): RankActivations {
    const { name, kind, inFeatures, outFeatures, kernel, stride, padding } = module;
    const made = this.#activations.get(name);
    if (made !== undefined) {
      if (made.x !== x) throw new Error(`${name} was gated on another tensor than the one it is fed.`);
      return made;
    }
    const b = this.#b;
    const r = `R${this.#activations.size}`;
    const owner = b.input(expertInput.owner(name), ['N', r]);
    const factors =
      kind === 'linear'
        ? {
            u: b.MatMul(x, b.input(expertInput.down(name), [inFeatures, r])),
            up: b.input(expertInput.up(name), [r, outFeatures]),
          }
        : {
            u: b.Conv(x, b.input(expertInput.down(name), [r, inFeatures, kernel, kernel]), undefined, {
              padding,
              stride,
            }),
            up: b.input(expertInput.up(name), [outFeatures, r, 1, 1]),
          };
    const activations = { ...factors, owner, name, x };
    this.#activations.set(name, activations);
    return activations;
  }

  /** Weight times gate of each expert at a layer: [B, N], or [1, N] without gates. */
  #coefficient(x: Value, { name }: NetworkModule): Value {
    const row = this.#graph.rowOf(name);
    const group = this.#groupOf.get(name);
    const key = `${row} ${group ?? ''}`;
    const known = this.#coefficients.get(key);
    if (known !== undefined) return known;
    const b = this.#b;
    const weights = b.Slice(this.#weights, [row], [row + 1], [0]); // [1, N]
    if (group !== undefined && !this.#gates.has(group)) this.#open(group, x);
    const coefficient = group === undefined ? weights : b.Mul(weights, this.#masked(group, name));
    this.#coefficients.set(key, coefficient);
    return coefficient;
  }

  /** Computes the gate of a group at its first layer; the other readers are fed the same x. */
  #open(index: number, x: Value): void {
    const { spec, groups } = this.#graph.gate!;
    const group = groups[index]!;
    const readers = group.readers.map((reader) => this.#activate(x, reader));
    const value = this.#b.scope(`${group.name}.gate`, () =>
      gate(this.#b, spec, group, index, readers, this.#gating!.scalars),
    );
    this.#gates.set(index, value);
  }

  /** The gates of a group under the masks of a module's row: [B, N]. */
  #masked(index: number, module: string): Value {
    const row = this.#graph.rowOf(module);
    const key = `${index} ${row}`;
    const known = this.#effective.get(key);
    if (known !== undefined) return known;
    const { masks, scalars, experts, overrides } = this.#gating!;
    const inRow = (values: Value): Value => this.#b.Slice(values, [row], [row + 1], [0]); // [1, N]
    const own = overrides && { free: inRow(overrides.free), values: inRow(overrides.values) };
    const value = maskedGates(this.#b, this.#gates.get(index)!, inRow(masks), index, scalars, experts, own);
    this.#effective.set(key, value);
    return value;
  }
}
