// Every way of mixing that the composition benchmark compares, as a mixture per composition. Each method sees the same experts, prompt,
// seeds, sampler and steps.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { mixSchema, type MixMode } from '../../../src-main/contract/experts.ts';
import { buildMixture, ExpertStore } from '../../../src-main/engine/expert-stack.ts';
import type { LoadedModel } from '../../../src-main/engine/loaded-model.ts';
import { Mixture, noExperts, plainEntry, type StackEntry } from '../../../src-main/engine/mixture.ts';
import type { Expert } from '../../../src-main/mole/expert.ts';
import type { TrainedGate } from '../../../src-main/mole/trained-gate.ts';
import { root } from '../programs.ts';
import { folder, pairs, stackOf, type Composition } from './compositions.ts';

export interface Training {
  readonly seconds: number;
  readonly parameters: number;
}

export interface Method {
  /** Folder of its pictures; changes with whatever changes them. */
  readonly id: string;
  readonly label: string;
  /** Groups rows of the report. */
  readonly kind:
    | 'alone'
    | 'training-free'
    | 'tuned'
    | 'asymmetric'
    | 'crowded'
    | 'masked'
    | 'transfer'
    | 'searched'
    | 'mole'
    | 'mole-asymmetric';
  readonly mixture: (bench: Bench, composition: Composition) => Promise<Mixture>;
  /** Of a gate that was trained: for how long, and how large it is. */
  readonly trained?: () => Training | undefined;
}

/** A method and what it is asked for. */
export type Served = Method & {
  /** Compositions that the method is for; all unless given. */
  readonly serves?: (composition: Composition) => boolean;
  /** Of those in pairs.json; all that the half has unless given. */
  readonly seeds?: number;
  /** What it is asked for instead of the whole composition. */
  readonly asks?: (composition: Composition) => Composition;
};

/** A bundled expert, or one of the benchmark alone, which lies beside it. */
export function expertFile(name: string): string {
  const bundled = join(root, 'assets/experts', `${name}.safetensors`);
  return existsSync(bundled) ? bundled : join(folder, 'experts', `${name}.safetensors`);
}

/** The opened model and the experts, read once. */
export class Bench {
  readonly model: LoadedModel;
  readonly store = new ExpertStore();

  constructor(model: LoadedModel) {
    this.model = model;
  }

  async expert(name: string): Promise<Expert> {
    return (await this.store.load(expertFile(name), this.model.checkpoint)).expert;
  }

  /** Subject first, then the styles; in no order where others that are not asked for are among them. */
  experts({ subject, styles }: Composition, unasked = 0): Promise<readonly Expert[]> {
    return this.named(stackOf(subject, styles, unasked));
  }

  named(names: readonly string[]): Promise<readonly Expert[]> {
    return Promise.all(names.map((name) => this.expert(name)));
  }

  /** A mixture as the command line builds it. */
  mix(composition: Composition, names: readonly string[], mode: MixMode): Promise<Mixture> {
    const experts = names.map((name) => ({ path: expertFile(name) }));
    const mix = { ...mixSchema.parse({ experts, mode }), mode };
    const context = { signal: new AbortController().signal, warn: () => undefined, prompt: composition.prompt };
    return buildMixture(mix, this.model, this.store, context);
  }
}

const subjectFirst = ({ subject, styles }: Composition): readonly string[] => [subject, ...styles];
const styleFirst = ({ subject, styles }: Composition): readonly string[] => [...styles, subject];

const closed = (id: MixMode, label: string, order = subjectFirst): Method => ({
  id,
  label,
  kind: 'training-free',
  mixture: (bench, composition) => bench.mix(composition, order(composition), id),
});

export interface Strengths {
  readonly subject?: number;
  readonly style?: number;
  /** Share of the strengths in the unguided branch: of all, or of the subject and of the styles. */
  readonly unguided?: number | readonly [subject: number, style: number];
}

/** Of an expert by its name, asked for or not. */
function strengthOf(
  { subject = 1, style = 1, unguided = 1 }: Strengths,
  name: string,
): { readonly weight: number; readonly unguided: number } {
  const [own, others] = typeof unguided === 'number' ? [unguided, unguided] : unguided;
  return pairs.styles.includes(name) ? { weight: style, unguided: others } : { weight: subject, unguided: own };
}

export function entriesAt(experts: readonly Expert[], strengths: Strengths): StackEntry[] {
  return experts.map((expert) => {
    const { weight, unguided } = strengthOf(strengths, expert.name);
    return { ...plainEntry(expert, weight), unguided };
  });
}

/** The sum of the experts at chosen strengths. */
export const tunedSum = (
  id: string,
  label: string,
  { subject = 1, style = 1, unguided = 1 }: Strengths,
  kind: Method['kind'] = 'tuned',
  { unasked = 0, mode = 'sum' }: { readonly unasked?: number; readonly mode?: 'sum' | 'normalised' } = {},
): Method => ({
  id,
  label,
  kind,
  async mixture(bench, composition) {
    const experts = await bench.experts(composition, unasked);
    return new Mixture(entriesAt(experts, { subject, style, unguided }), { mode });
  },
});

/** What needs no training. */
export const plainMethods: readonly Method[] = [
  { id: 'none', label: 'no LoRA', kind: 'alone', mixture: () => Promise.resolve(noExperts) },
  {
    id: 'subject',
    label: 'subject LoRA alone',
    kind: 'alone',
    mixture: (bench, composition) => bench.mix(composition, [composition.subject], 'sum'),
  },
  {
    id: 'style',
    label: 'style LoRA alone',
    kind: 'alone',
    mixture: (bench, composition) => bench.mix(composition, composition.styles, 'sum'),
  },
  closed('sum', 'sum at 1'),
  closed('normalised', 'normalised sum'),
  closed('switch', 'LoRA Switch'),
  closed('composite', 'LoRA Composite'),
  closed('ssr', 'SSR-Merge'),
  closed('np', 'NP-LoRA', styleFirst),
];

/** A gate whose experts are roles: the subject first, then the styles. */
export const gated = (
  id: string,
  label: string,
  gateFor: (composition: Composition) => Promise<TrainedGate>,
  trained?: Method['trained'],
  { subject = 1, style = 1, unguided = 1 }: Strengths = {},
  unasked = 0,
): Method => ({
  id,
  label,
  kind: 'mole',
  ...(trained === undefined ? {} : { trained }),
  async mixture(bench, composition) {
    const experts = await bench.experts(composition, unasked);
    const entries = entriesAt(experts, { subject, style, unguided });
    return new Mixture(entries, { mode: 'mole', gate: await gateFor(composition) });
  },
});
