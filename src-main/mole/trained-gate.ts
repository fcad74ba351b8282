// The parameters of all gates, and the experts they were trained for: what a gate file holds. Zero parameters are the uniform
// mix (softmax of zeros), which is where training starts.
import type { ExpertNetwork, NetworkModule } from '../networks/modules.ts';
import { showShape } from '../tensor/shape.ts';
import { transpose } from '../tensor/linear-algebra.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';
import { foldPaperGate, type Layers } from './expert-feeds.ts';
import { gateInput, timestepWidth, type GateSpec } from './gate.ts';
import { gateGroups, type GateGroup } from './groups.ts';

/** An expert as gate files and recipes name it. */
export interface ExpertIdentity {
  readonly name: string;
  /** Hex SHA-256 of its file. */
  readonly sha256: string;
}

/** Stands in place of a hash where a gate is for any expert in a role; the name then says which role. */
export const anyExpert = '0'.repeat(64);

/** Parameters of one group. */
export interface GroupParameters {
  readonly name: string;
  /** e of Eq. 10: [N, N D] pooled, [N, N, T, D] as in the paper; rows are the experts that are scored. */
  readonly weight: FloatTensor;
  /** [timestepWidth, N], when the gates read the timestep. */
  readonly timestep: FloatTensor | undefined;
  readonly logTemperature: number;
  /** Amplitude `free` only; 0 otherwise. */
  readonly logGain: number;
}

export interface TrainedGate {
  readonly spec: GateSpec;
  /** The order of N in every parameter. */
  readonly experts: readonly ExpertIdentity[];
  readonly networks: Readonly<Partial<Record<ExpertNetwork, readonly GroupParameters[]>>>;
  /**
   * Share of each expert's strength in the unconditional branch that the gate was found with, 0..2, in the order of `experts`; 1 for all
   * where undefined. It holds for an expert of the stack that names no share of its own.
   */
  readonly unguided?: readonly number[];
}

/** The spec as it holds in a network: text encoders have no timestep to read. */
export const specIn = (spec: GateSpec, network: ExpertNetwork): GateSpec =>
  network === 'unet' ? spec : { ...spec, timestep: false };

/** The experts and the gate do not belong together; the message says which, and what to do. */
export class GateError extends Error {
  override readonly name = 'GateError';
}

/** The layers of `modules` that some expert targets: what the gates of these experts stand on. */
export function targeted(modules: readonly NetworkModule[], experts: Layers): readonly NetworkModule[] {
  return modules.filter(({ name }) => experts.some((layers) => layers.has(name)));
}

/** T of each group for the paper's form. */
export type TokensOf = (group: GateGroup) => number;

/** Parameters of zero for `groups`: the uniform mix. `tokensOf` is needed for the paper's form alone. */
export function zeroParameters(
  groups: readonly GateGroup[],
  spec: GateSpec,
  experts: number,
  tokensOf?: TokensOf,
): readonly GroupParameters[] {
  return groups.map((group) => {
    const shape =
      spec.form === 'pooled' ? [experts, experts * group.width] : [experts, experts, tokensOf!(group), group.width];
    return {
      name: group.name,
      weight: floatTensor(shape),
      timestep: spec.timestep ? floatTensor([timestepWidth, experts]) : undefined,
      logTemperature: 0,
      logGain: 0,
    };
  });
}

/**
 * The groups of `experts` in one network and what their gates are fed. Groups that the file does not know, or knows in
 * another shape, throw a GateError: the experts changed, or the gate is for another base model.
 */
export function gateFeeds(
  gate: TrainedGate,
  network: ExpertNetwork,
  groups: readonly GateGroup[],
  experts: Layers,
): Record<string, FloatTensor> {
  const known = new Map((gate.networks[network] ?? []).map((parameters) => [parameters.name, parameters]));
  const parameters = groups.map((group) => {
    const found = known.get(group.name);
    if (found !== undefined) return found;
    throw new GateError(
      `The gate has no parameters for ${group.name}, which these experts target. It was trained for other files or another base model.`,
    );
  });
  const scalars = (pick: (group: GroupParameters) => number): FloatTensor =>
    floatTensor([groups.length], Float32Array.from(parameters, pick));
  const feeds: Record<string, FloatTensor> = {
    [gateInput.logTemperature]: scalars(({ logTemperature }) => logTemperature),
    [gateInput.logGain]: scalars(({ logGain }) => logGain),
  };
  const count = experts.length;
  groups.forEach((group, index) => {
    const { weight, timestep } = parameters[index]!;
    if (timestep !== undefined) feeds[gateInput.timestep(group.name)] = timestep;
    if (gate.spec.form === 'paper') {
      Object.assign(feeds, foldPaperGate(group, weight, experts));
      return;
    }
    const length = count * group.width;
    if (weight.shape[0] !== count || weight.shape[1] !== length) {
      throw new GateError(
        `The gate of ${group.name} holds ${showShape(weight.shape)} numbers where these experts need [${count}, ${length}]. ` +
          'It was trained for other files or another base model.',
      );
    }
    feeds[gateInput.weight(group.name)] = transpose(weight);
  });
  return feeds;
}

/** Groups of the experts' layers among `modules`, which are the layers that run. */
export function groupsOf(modules: readonly NetworkModule[], experts: Layers, spec: GateSpec): readonly GateGroup[] {
  return gateGroups(targeted(modules, experts), spec.granularity);
}
