// The gates that the composition benchmark trains. A composing gate learns roles (a subject beside a style) from true drawings of other
// subjects in the styles; a paper gate learns one combination from drawings of each expert alone. Each is trained once and kept.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { trainGateSchema, type TrainGateRequest } from '../../../src-main/contract/training.ts';
import { readGateFile } from '../../../src-main/engine/gate-file.ts';
import type { GateExpert } from '../../../src-main/engine/gate-learner.ts';
import { trainGate } from '../../../src-main/engine/train-gate.ts';
import type { TrainedGate } from '../../../src-main/mole/trained-gate.ts';
import { root } from '../programs.ts';
import { folder, pairs } from './compositions.ts';
import type { Bench, Training } from './methods.ts';

/** Experts by name in the order of their roles, and the pictures that teach them. */
export interface Stack {
  readonly experts: readonly string[];
  readonly images: readonly string[];
}

export interface KeptGate {
  readonly gate: TrainedGate;
  readonly seconds: number;
  readonly parameters: number;
}

const kept = join(folder, 'results/gates');

/** The gate of this name, trained on `stacks` with `wish` unless it is there. Its first run writes how long it took. */
export async function gateOf(
  bench: Bench,
  modelPath: string,
  name: string,
  stacks: readonly Stack[],
  wish: Partial<TrainGateRequest>,
): Promise<KeptGate> {
  mkdirSync(kept, { recursive: true });
  const output = join(kept, `${name}.mole.safetensors`);
  const notes = join(kept, `${name}.json`);
  if (!existsSync(notes)) {
    // Of a run that was interrupted; its time would not be known.
    rmSync(`${output}.state.safetensors`, { force: true });
    const started = performance.now();
    const [first, ...others] = await Promise.all(
      stacks.map(async ({ experts, images }) => ({ experts: await gateExperts(bench, experts), images })),
    );
    const settings = trainGateSchema.parse({ model: modelPath, mix: {}, ...wish, images: [...first!.images], output });
    let parameters = 0;
    const curve: number[] = [];
    const emit = (event: {
      kind: string;
      message?: string;
      loss?: number;
      step?: number;
      gates?: readonly number[];
    }) => {
      const count = /Training (\d+) gate parameters/.exec(event.message ?? '')?.[1];
      if (count !== undefined) parameters = Number(count);
      if (event.kind !== 'update') return;
      curve.push(event.loss!);
      if (event.step! % 20 !== 0) return;
      const gates = event.gates?.map((gate) => gate.toFixed(2)).join(' ') ?? '';
      const recent = curve.slice(-40).reduce((a, b) => a + b, 0) / Math.min(40, curve.length);
      console.log(`${name}: update ${event.step} loss ${recent.toFixed(4)} gates ${gates}`);
    };
    await trainGate(
      settings,
      bench.model,
      first!.experts,
      { signal: new AbortController().signal, emit },
      64e9,
      others,
    );
    const seconds = (performance.now() - started) / 1000;
    writeFileSync(notes, JSON.stringify({ seconds, parameters, ...wish }));
  }
  const { seconds, parameters } = JSON.parse(readFileSync(notes, 'utf8')) as { seconds: number; parameters: number };
  return { gate: (await readGateFile(output)).gate, seconds, parameters };
}

/** How a gate was trained; undefined where it was not yet. */
export function trainingOf(name: string): Training | undefined {
  const notes = join(kept, `${name}.json`);
  return existsSync(notes) ? (JSON.parse(readFileSync(notes, 'utf8')) as Training) : undefined;
}

function gateExperts(bench: Bench, names: readonly string[]): Promise<readonly GateExpert[]> {
  return Promise.all(
    names.map(async (name) => {
      const prompts = [pairs.styles.includes(name) ? `${name} style` : name];
      return { expert: await bench.expert(name), weight: 1, textWeight: 1, prompts };
    }),
  );
}

/** Taught subjects beside `styles`, by the true drawings of both together. */
export function lessons(styleLists: readonly (readonly string[])[], subjects: readonly string[]): readonly Stack[] {
  return subjects.flatMap((subject) =>
    styleLists.flatMap((styles) => {
      const name = [subject, ...styles].join('-');
      const place = pairs.lessons.includes(subject)
        ? join(folder, 'lessons')
        : join(root, 'assets/experts/compositions');
      // A drawn set does not have every subject.
      return existsSync(join(place, name)) ? [{ experts: [subject, ...styles], images: [join(place, name)] }] : [];
    }),
  );
}

/** The same stacks, taught by drawings of each expert alone. */
export function singles(stacks: readonly Stack[]): readonly Stack[] {
  return stacks.map(({ experts }) => ({
    experts,
    images: experts.map((name) => join(folder, 'alone', name)),
  }));
}
