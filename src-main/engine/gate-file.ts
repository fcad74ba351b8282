// Gate files (*.mole.safetensors): the gates' parameters as tensors, and in the metadata which experts they were trained for,
// how, and with what result. Anyone's safetensors reader opens them.
import { z } from 'zod';
import { parseBoundedJson } from '../formats/bounded-json.ts';
import { SafetensorsError } from '../formats/safetensors-header.ts';
import { readSafetensorsHeader, readTensor, type SafetensorsHeader } from '../formats/safetensors.ts';
import { writeSafetensors } from '../formats/safetensors-write.ts';
import type { WhenTaken } from '../formats/write-new.ts';
import { amplitudes, gateForms, timestepWidth } from '../mole/gate.ts';
import { granularities } from '../mole/groups.ts';
import {
  anyExpert,
  GateError,
  specIn,
  type ExpertIdentity,
  type GroupParameters,
  type TrainedGate,
} from '../mole/trained-gate.ts';
import type { ExpertNetwork } from '../networks/modules.ts';
import { sameShape, showShape } from '../tensor/shape.ts';
import { floatTensor, type FloatTensor } from '../tensor/tensor.ts';

/** Value of the metadata key `format`. */
const format = 'mole-gate';
const version = '1';
const networks = ['unet', 'text_encoder'] as const satisfies readonly ExpertNetwork[];

const headSchema = z.object({
  experts: z
    .array(z.object({ name: z.string().max(300), sha256: z.string().regex(/^[0-9a-f]{64}$/) }))
    .min(1)
    .max(256),
  granularity: z.enum(granularities),
  form: z.enum(gateForms),
  amplitude: z.enum(amplitudes),
  timestep: z.boolean(),
  unguided: z.array(z.number().min(0).max(2)).max(256).optional(),
});

/** A gate and what its file says of its training: hostile text. */
export interface GateFile {
  readonly gate: TrainedGate;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads a gate file whole: every tensor is checked against the experts, the form and the granularity it declares. Throws
 * SafetensorsError for another kind of file, GateError for a gate file that is damaged.
 */
export async function readGateFile(path: string): Promise<GateFile> {
  const header = await readSafetensorsHeader(path);
  const { file, tensors, metadata } = header;
  const head = gateHead(header);
  const { spec, experts } = head;
  const count = experts.length;
  const found: Partial<Record<ExpertNetwork, readonly GroupParameters[]>> = {};
  for (const network of networks) {
    const names = [...tensors.keys()].flatMap((key) => {
      const match = new RegExp(`^${network}\\.(.+)\\.weight$`).exec(key);
      return match === null ? [] : [match[1]!];
    });
    if (names.length === 0) continue;
    const read = async (
      key: string,
      fits: (shape: readonly number[]) => boolean,
      wanted: string,
    ): Promise<FloatTensor> => {
      const ref = tensors.get(key);
      if (ref === undefined) throw new GateError(`${file}: the tensor ${key} is missing. The file is damaged.`);
      if (!fits(ref.shape)) {
        throw new GateError(
          `${file}: ${key} has shape ${showShape(ref.shape)}, expected ${wanted}. The file is damaged.`,
        );
      }
      const tensor = await readTensor(ref);
      if (tensor.dtype !== 'float32' || !tensor.data.every(Number.isFinite)) {
        throw new GateError(`${file}: ${key} does not hold finite numbers. The file is damaged.`);
      }
      return tensor;
    };
    const parameters: GroupParameters[] = [];
    for (const name of names) {
      const key = `${network}.${name}`;
      const weight = await (spec.form === 'pooled'
        ? read(
            `${key}.weight`,
            ([n, m, ...more]) => n === count && m! % count === 0 && more.length === 0,
            `[${count}, ${count} D]`,
          )
        : read(
            `${key}.weight`,
            ([n, m, ...more]) => n === count && m === count && more.length === 2,
            `[${count}, ${count}, T, D]`,
          ));
      const timestep = specIn(spec, network).timestep
        ? await read(
            `${key}.timestep`,
            (shape) => sameShape(shape, [timestepWidth, count]),
            `[${timestepWidth}, ${count}]`,
          )
        : undefined;
      const scalar = async (part: string): Promise<number> =>
        (await read(`${key}.${part}`, (shape) => sameShape(shape, [1]), '[1]')).data[0]!;
      parameters.push({
        name,
        weight,
        timestep,
        logTemperature: await scalar('log_temperature'),
        logGain: spec.amplitude === 'free' ? await scalar('log_gain') : 0,
      });
    }
    found[network] = parameters;
  }
  return { gate: { ...head, networks: found }, metadata };
}

/** A gate without its parameters. */
export type GateHead = Omit<TrainedGate, 'networks'>;

/** Whether a file says that it is a gate file, of whatever version. */
export const isGateFile = ({ metadata }: SafetensorsHeader): boolean => metadata['format'] === format;

/**
 * What a gate file says of itself, from its header alone. Throws SafetensorsError for another kind or version of file, GateError
 * for a damaged description.
 */
export function gateHead(header: SafetensorsHeader): GateHead {
  const { file, metadata } = header;
  if (!isGateFile(header)) {
    throw new SafetensorsError(
      file,
      'this is no gate file. Gates are trained with train-gate and end in .mole.safetensors.',
    );
  }
  if (metadata['version'] !== version) {
    throw new SafetensorsError(
      file,
      `this gate file is of version ${(metadata['version'] ?? 'none').slice(0, 20)}, this program reads version ${version}. Update the program, or train the gate again.`,
    );
  }
  const head = headSchema.safeParse(parseHead(file, metadata['gate'] ?? ''));
  if (!head.success) {
    throw new GateError(
      `${file}: the description of the gate is damaged (${head.error.issues[0]!.path.join('.') || 'gate'}).`,
    );
  }
  const { experts, unguided, ...spec } = head.data;
  if (unguided !== undefined && unguided.length !== experts.length) {
    throw new GateError(
      `${file}: the description of the gate has ${unguided.length} shares of the unguided branch for ${experts.length} experts. The file is damaged.`,
    );
  }
  return { spec, experts, ...(unguided === undefined ? {} : { unguided }) };
}

function parseHead(file: string, text: string): unknown {
  try {
    return parseBoundedJson(text, { mostLength: 1_000_000, mostDepth: 8 });
  } catch {
    throw new GateError(`${file}: the description of the gate is no JSON. The file is damaged.`);
  }
}

/**
 * Writes a gate file and returns the path it got; an older file is never replaced unless `whenTaken` says so. `training` is
 * written beside the gate's own description (settings, curve, date), as texts.
 */
export function writeGateFile(
  path: string,
  gate: TrainedGate,
  training: Readonly<Record<string, string>> = {},
  { whenTaken = 'number' }: { readonly whenTaken?: WhenTaken } = {},
): Promise<string> {
  const tensors: Record<string, FloatTensor> = {};
  const scalar = (value: number): FloatTensor => floatTensor([1], Float32Array.of(value));
  for (const network of networks) {
    for (const { name, weight, timestep, logTemperature, logGain } of gate.networks[network] ?? []) {
      const key = `${network}.${name}`;
      tensors[`${key}.weight`] = weight;
      if (timestep !== undefined) tensors[`${key}.timestep`] = timestep;
      tensors[`${key}.log_temperature`] = scalar(logTemperature);
      if (gate.spec.amplitude === 'free') tensors[`${key}.log_gain`] = scalar(logGain);
    }
  }
  const head = {
    experts: gate.experts.map(({ name, sha256 }) => ({ name, sha256 })),
    ...gate.spec,
    unguided: gate.unguided,
  };
  return writeSafetensors(path, tensors, { ...training, format, version, gate: JSON.stringify(head) }, { whenTaken });
}

/**
 * The order of `experts` that the gate was trained for. Throws a GateError that lists who is missing and who is unknown to it,
 * by name and hash.
 */
export function matchExperts<E extends ExpertIdentity>(
  gate: TrainedGate,
  experts: readonly E[],
  file: string,
): readonly E[] {
  if (gate.experts.some(({ sha256 }) => sha256 === anyExpert)) return inRoles(gate, experts, file);
  const missing = gate.experts.filter((wanted) => !experts.some(({ sha256 }) => sha256 === wanted.sha256));
  const unknown = experts.filter(({ sha256 }) => !gate.experts.some((wanted) => wanted.sha256 === sha256));
  if (missing.length > 0 || unknown.length > 0) {
    throw new GateError(
      [
        `${file} was trained for ${gate.experts.map(show).join(', ')}.`,
        ...(missing.length === 0 ? [] : [`Missing: ${missing.map(show).join(', ')}. Add them (they may be muted).`]),
        ...(unknown.length === 0
          ? []
          : [`Unknown to it: ${unknown.map(show).join(', ')}. Take them out, or train a gate for this set.`]),
      ].join(' '),
    );
  }
  return gate.experts.map((wanted) => experts.find(({ sha256 }) => sha256 === wanted.sha256)!);
}

const show = ({ name, sha256 }: ExpertIdentity): string =>
  sha256 === anyExpert ? name : `${name} (${sha256.slice(0, 12)})`;

/** Named experts in their places, the others in the artist's order in the roles that are left. */
function inRoles<E extends ExpertIdentity>(gate: TrainedGate, experts: readonly E[], file: string): readonly E[] {
  const named = new Set(gate.experts.map(({ sha256 }) => sha256));
  const others = experts.filter(({ sha256 }) => !named.has(sha256));
  const matched = gate.experts.map((wanted) =>
    wanted.sha256 === anyExpert ? others.shift() : experts.find(({ sha256 }) => sha256 === wanted.sha256),
  );
  const found = matched.filter((expert) => expert !== undefined);
  if (found.length === gate.experts.length && others.length === 0) return found;
  throw new GateError(
    `${file} is for ${gate.experts.map(show).join(', ')}, in this order; the stack has ${experts.map(({ name }) => name).join(', ')}. ` +
      'Give one expert for each role, or train a gate for this set.',
  );
}
