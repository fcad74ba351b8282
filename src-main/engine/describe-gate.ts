// What a gate file is, from its header alone: the experts it mixes, by name and hash, the shape of its gates, and how its training
// went. All of it is text from a stranger's file.
import { z } from 'zod';
import type { FileReport, GateReport } from '../contract/files.ts';
import { parseBoundedJson } from '../formats/bounded-json.ts';
import { SafetensorsError } from '../formats/safetensors-header.ts';
import type { SafetensorsHeader } from '../formats/safetensors.ts';
import { GateError } from '../mole/trained-gate.ts';
import { gateHead, type GateHead } from './gate-file.ts';

const trainingSchema = z.object({ loss: z.string().max(40).optional(), pictures: z.number().int().min(0).optional() });
const curveSchema = z.array(z.tuple([z.number(), z.number()])).min(1);

/** Describes the gate file with this `header`; what is wrong with it is among the problems. */
export function describeGate(header: SafetensorsHeader): Pick<FileReport, 'kind' | 'summary' | 'gate' | 'problems'> {
  const { file, warnings } = header;
  let head: GateHead;
  try {
    head = gateHead(header);
  } catch (error) {
    if (!(error instanceof GateError || error instanceof SafetensorsError)) throw error;
    const problem = error.message.startsWith(`${file}: `) ? error.message.slice(file.length + 2) : error.message;
    return { kind: 'gate', summary: 'A gate file that cannot be used.', problems: [...warnings, problem] };
  }
  const { spec, ...facts } = head;
  const gate: GateReport = {
    ...facts,
    ...spec,
    gates: { unet: gatesIn(header, 'unet'), textEncoder: gatesIn(header, 'text_encoder') },
    ...trainingOf(header),
  };
  const names = head.experts.map(({ name }) => name).join(', ');
  const count = gate.gates.unet + gate.gates.textEncoder;
  const empty = count === 0 ? ['It holds no gate.'] : [];
  return {
    kind: 'gate',
    summary: `${count} gates over ${head.experts.length} experts: ${names}.`,
    gate,
    problems: [...warnings, ...empty],
  };
}

const gatesIn = ({ tensors }: SafetensorsHeader, network: string): number =>
  [...tensors.keys()].filter((key) => key.startsWith(`${network}.`) && key.endsWith('.weight')).length;

/** What the file says of its training, as far as it can be read. */
function trainingOf({ metadata }: SafetensorsHeader): Pick<GateReport, 'steps' | 'loss' | 'pictures'> {
  const { data: training } = trainingSchema.safeParse(parse(metadata['training']));
  const { data: curve } = curveSchema.safeParse(parse(metadata['curve']));
  const { loss: name, pictures } = training ?? {};
  return {
    ...(curve === undefined
      ? {}
      : { steps: curve.length, loss: { ...(name === undefined ? {} : { name }), ...endsOf(curve) } }),
    ...(pictures === undefined ? {} : { pictures }),
  };
}

function endsOf(curve: z.output<typeof curveSchema>): { readonly first: number; readonly last: number } {
  const tenth = Math.max(1, Math.floor(curve.length / 10));
  const mean = (points: typeof curve): number => points.reduce((sum, [, loss]) => sum + loss, 0) / points.length;
  return { first: mean(curve.slice(0, tenth)), last: mean(curve.slice(-tenth)) };
}

function parse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : parseBoundedJson(text, { mostLength: 20_000_000, mostDepth: 4 });
  } catch {
    return undefined;
  }
}
