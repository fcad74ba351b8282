// What the artist is about to train: the fields of the form, kept between sessions, and the order they make.
import type { TrainGateRequest, TrainLoraRequest } from '../../src-main/contract/training.ts';
import type { TrainingOrder } from '../../src-main/contract/window-training.ts';

type Field<Request, Name extends keyof Request> = NonNullable<Request[Name]>;

export interface TrainingFields {
  readonly kind: TrainingOrder['kind'];
  readonly gateName: string;
  readonly loraName: string;
  readonly gateSteps: number;
  readonly loraSteps: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly learningRate: number | undefined;
  readonly resolution: number | undefined;
  readonly caption: string;
  readonly warmup: number;
  readonly decay: boolean;
  readonly optimizer: Field<TrainGateRequest, 'optimizer'>;
  readonly weightDecay: number;
  readonly minSnr: number | undefined;
  readonly captionDropout: number;
  readonly mirror: boolean;
  readonly buckets: boolean;
  readonly seed: number;
  readonly samplePrompt: string;
  readonly sampleEvery: number;
  readonly recompute: boolean;
  readonly earlyStop: boolean;
  readonly granularity: Field<TrainGateRequest, 'granularity'>;
  readonly form: Field<TrainGateRequest, 'form'>;
  readonly amplitude: Field<TrainGateRequest, 'amplitude'>;
  readonly loss: 'auto' | Field<TrainGateRequest, 'loss'>;
  readonly clip: string;
  readonly contrast: boolean;
  /** Learns on the way of drawing, in so many steps with so much guidance. */
  readonly drawn: boolean;
  readonly drawnSteps: number;
  readonly drawnCfg: number;
  readonly balance: number;
  readonly timestep: boolean;
  readonly textGates: boolean;
  readonly rank: number;
  readonly alpha: number | undefined;
  readonly targets: Field<TrainLoraRequest, 'targets'>;
  readonly textEncoder: boolean;
  readonly trigger: string;
}

const key = 'mole-atelier-training-v1';

/** Those of contract/training.ts. */
const defaults: TrainingFields = {
  kind: 'gate',
  gateName: '',
  loraName: '',
  gateSteps: 400,
  loraSteps: 1000,
  batch: 2,
  accumulate: 1,
  learningRate: undefined,
  resolution: undefined,
  caption: '',
  warmup: 10,
  decay: false,
  optimizer: 'adamw',
  weightDecay: 0.01,
  minSnr: undefined,
  captionDropout: 0.1,
  mirror: false,
  buckets: false,
  seed: 0,
  samplePrompt: '',
  sampleEvery: 50,
  recompute: false,
  earlyStop: false,
  granularity: 'block',
  form: 'pooled',
  amplitude: 'convex',
  loss: 'auto',
  clip: '',
  contrast: false,
  drawn: false,
  drawnSteps: 10,
  drawnCfg: 7,
  balance: 0.5,
  timestep: false,
  textGates: true,
  rank: 8,
  alpha: undefined,
  targets: 'transformer',
  textEncoder: false,
  trigger: '',
};

export class TrainingForm {
  #fields = $state.raw<TrainingFields>(stored());

  get fields(): TrainingFields {
    return this.#fields;
  }

  /** Changes fields, and remembers them. */
  set(change: Partial<TrainingFields>): void {
    this.#fields = { ...this.#fields, ...change };
    localStorage.setItem(key, JSON.stringify(this.#fields));
  }

  /** The order over `experts` (paths) as the host takes it, called `name`. */
  order(experts: readonly string[], name: string, model: string | undefined): TrainingOrder {
    const f = this.#fields;
    const steps = f.kind === 'gate' ? f.gateSteps : f.loraSteps;
    const common = {
      steps,
      batch: f.batch,
      accumulate: f.accumulate,
      ...given('learningRate', f.learningRate),
      ...given('resolution', f.resolution),
      ...given('caption', f.caption === '' ? undefined : f.caption),
      warmup: f.warmup,
      decay: f.decay,
      optimizer: f.optimizer,
      weightDecay: f.weightDecay,
      ...given('minSnr', f.minSnr),
      captionDropout: f.captionDropout,
      mirror: f.mirror,
      buckets: f.buckets,
      seed: f.seed,
      ...(f.samplePrompt === '' ? {} : { samplePrompt: f.samplePrompt, sampleEvery: f.sampleEvery }),
      // A crash costs at most a twentieth of the training.
      saveEvery: Math.min(25, Math.max(5, Math.round(steps / 20))),
      recompute: f.recompute,
      earlyStop: f.earlyStop,
    };
    const own = { name, ...given('model', model) };
    if (f.kind === 'lora') {
      const { rank, targets, textEncoder } = f;
      const trigger = given('trigger', f.trigger === '' ? undefined : f.trigger);
      return {
        kind: 'lora',
        ...own,
        settings: { ...common, rank, targets, textEncoder, ...given('alpha', f.alpha), ...trigger },
      };
    }
    const { granularity, form, amplitude, balance, timestep, textGates, loss, clip } = f;
    const drawn = f.drawn && loss !== 'distil';
    return {
      kind: 'gate',
      ...own,
      experts: [...experts],
      settings: {
        ...common,
        granularity,
        form,
        amplitude,
        balance,
        timestep,
        textGates,
        ...given('loss', loss === 'auto' ? undefined : loss),
        ...given('clip', loss === 'clip' ? clip : undefined),
        ...given('contrast', loss === 'clip' && f.contrast ? true : undefined),
        ...given('drawing', drawn ? { steps: f.drawnSteps, cfgScale: f.drawnCfg } : undefined),
      },
    };
  }
}

function given<Name extends string, Value>(name: Name, value: Value | undefined): Partial<Record<Name, Value>> {
  return value === undefined ? {} : ({ [name]: value } as Record<Name, Value>);
}

/** Fields that may be empty, and are then absent from the file. */
const optional: readonly string[] = ['learningRate', 'resolution', 'minSnr', 'alpha'];

/** The fields of the last session; what is missing or of another type takes its default. */
function stored(): TrainingFields {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? '{}');
    if (typeof value !== 'object' || value === null) return defaults;
    const kept = Object.entries(value).filter(([name, field]) => {
      if (optional.includes(name)) return typeof field === 'number';
      return Object.hasOwn(defaults, name) && typeof field === typeof defaults[name as keyof TrainingFields];
    });
    return { ...defaults, ...Object.fromEntries(kept) };
  } catch {
    return defaults;
  }
}
