// Noise levels. Training: the betas of DDPM (Ho et al. 2020, arXiv:2006.11239) and, in k-diffusion's terms, the level
// sigma = sqrt((1 - alphaBar) / alphaBar) of x = x0 + sigma * noise. Sampling: a schedule is a function that picks
// `steps` levels, decreasing, with 0 after the last. Formulas as in k-diffusion (github.com/crowsonkb/k-diffusion)
// and AUTOMATIC1111's modules/sd_schedulers.py, so that the labels mean what artists know.

/** Noise level: standard deviation of the noise over a signal of scale 1; 0 is a clean picture. */
export type Sigma = number & { readonly unit?: 'sigma' };

/** Position in training time, 0..numTrainTimesteps - 1, possibly between two integers; what a network is told. */
export type Timestep = number & { readonly unit?: 'timestep' };

/** What a checkpoint's scheduler_config.json says about its training noise. */
export interface NoiseScheduleConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: 'linear' | 'scaled_linear' | 'squaredcos_cap_v2';
  readonly predictionType: 'epsilon' | 'v_prediction';
  readonly rescaleBetasZeroSnr: boolean;
}

/** Noise levels of training, indexed by timestep, in float64. */
export interface TrainingSchedule {
  readonly config: NoiseScheduleConfig;
  /** Variance added at each timestep. */
  readonly betas: Float64Array;
  /** Share of the signal's variance left, decreasing. */
  readonly alphaBar: Float64Array;
  /** Noise levels, increasing. */
  readonly sigmas: Float64Array;
}

/** Signal left at the last timestep of a zero-terminal-SNR schedule; 0 itself would make sigma infinite (as diffusers). */
const terminalAlphaBar = 2 ** -24;

/**
 * Builds the training noise levels of `config`. With `rescaleBetasZeroSnr` the last level is pure noise (sigma 4096):
 * Algorithm 1 of Lin et al. 2023, arXiv:2305.08891. Throws a RangeError on counts or betas outside their range.
 */
export function trainingSchedule(config: NoiseScheduleConfig): TrainingSchedule {
  const { numTrainTimesteps, betaStart, betaEnd } = config;
  if (!Number.isInteger(numTrainTimesteps) || numTrainTimesteps < 2) {
    throw new RangeError(`num_train_timesteps is a whole number from 2 on, got ${numTrainTimesteps}.`);
  }
  if (!(betaStart > 0 && betaStart <= betaEnd && betaEnd < 1)) {
    throw new RangeError(`Betas must satisfy 0 < beta_start <= beta_end < 1, got ${betaStart} and ${betaEnd}.`);
  }
  const alphaBar = cumulativeProduct(betasOf(config).map((beta) => 1 - beta));
  if (config.rescaleBetasZeroSnr) rescaleToZeroTerminalSnr(alphaBar);
  return {
    config,
    betas: alphaBar.map((value, t) => 1 - value / (t === 0 ? 1 : alphaBar[t - 1]!)),
    alphaBar,
    sigmas: alphaBar.map((value) => Math.sqrt((1 - value) / value)),
  };
}

function betasOf(config: NoiseScheduleConfig): Float64Array {
  const { numTrainTimesteps: count, betaStart, betaEnd } = config;
  switch (config.betaSchedule) {
    case 'linear':
      return linspace(betaStart, betaEnd, count);
    case 'scaled_linear': // Rombach et al. 2022: linear in sqrt(beta)
      return linspace(Math.sqrt(betaStart), Math.sqrt(betaEnd), count).map((root) => root * root);
    case 'squaredcos_cap_v2': {
      // Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 17
      const signal = (time: number) => Math.cos(((time + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
      return Float64Array.from({ length: count }, (_, t) =>
        Math.min(1 - signal((t + 1) / count) / signal(t / count), 0.999),
      );
    }
  }
}

/** Shifts sqrt(alphaBar) so that its last value is 0 and its first is kept. In place. */
function rescaleToZeroTerminalSnr(alphaBar: Float64Array): void {
  const first = Math.sqrt(alphaBar[0]!);
  const last = Math.sqrt(alphaBar.at(-1)!);
  alphaBar.forEach((value, t) => {
    alphaBar[t] = ((Math.sqrt(value) - last) * (first / (first - last))) ** 2;
  });
  alphaBar[alphaBar.length - 1] = terminalAlphaBar;
}

/** Noise level at a timestep, interpolated between integers in log sigma; clamped to the trained range. */
export function sigmaAt(schedule: TrainingSchedule, timestep: Timestep): Sigma {
  const { sigmas } = schedule;
  const t = Math.min(Math.max(timestep, 0), sigmas.length - 1);
  const low = Math.floor(t);
  const fraction = t - low;
  if (fraction === 0) return sigmas[low]!;
  return Math.exp((1 - fraction) * Math.log(sigmas[low]!) + fraction * Math.log(sigmas[low + 1]!));
}

/** Inverse of `sigmaAt`: the fractional timestep of a noise level; levels outside the trained range give its ends. */
export function timestepAt(schedule: TrainingSchedule, sigma: Sigma): Timestep {
  const { sigmas } = schedule;
  if (sigma <= sigmas[0]!) return 0;
  const high = sigmas.findIndex((level) => level >= sigma);
  if (high === -1) return sigmas.length - 1;
  const low = Math.log(sigmas[high - 1]!);
  return high - 1 + (Math.log(sigma) - low) / (Math.log(sigmas[high]!) - low);
}

/** Picks `steps` noise levels: steps + 1 values, strictly decreasing, the last one 0. */
export type ScheduleFunction = (schedule: TrainingSchedule, steps: number) => Float64Array;

/** Evenly spaced timesteps, both ends of training included. k-diffusion's get_sigmas; A1111 "Normal" and "Uniform". */
export const normalSigmas = endingInZero((schedule, steps) =>
  linspace(schedule.sigmas.length - 1, 0, steps).map((t) => sigmaAt(schedule, t)),
);

/** Evenly spaced timesteps that stop one step short of 0: Stability's generative-models; near diffusers' "trailing". */
export const sgmUniformSigmas = endingInZero((schedule, steps) =>
  linspace(schedule.sigmas.length - 1, 0, steps + 1)
    .subarray(0, steps)
    .map((t) => sigmaAt(schedule, t)),
);

/** Every (T / steps)-th trained level, counted from the noisiest. ComfyUI's "simple". */
export const simpleSigmas = endingInZero(({ sigmas }, steps) =>
  Float64Array.from({ length: steps }, (_, i) => sigmas[sigmas.length - 1 - Math.floor(i * (sigmas.length / steps))]!),
);

/** Even in sigma^(1/rho), rho = 7: Karras et al. 2022 (arXiv:2206.00364), Eq. 5. */
export const karrasSigmas = endingInZero((schedule, steps) => {
  const rho = 7;
  const [min, max] = sigmaRange(schedule);
  return linspace(max ** (1 / rho), min ** (1 / rho), steps).map((root) => root ** rho);
});

/** Even in log sigma. k-diffusion's get_sigmas_exponential. */
export const exponentialSigmas = endingInZero((schedule, steps) => {
  const [min, max] = sigmaRange(schedule);
  return linspace(Math.log(max), Math.log(min), steps).map(Math.exp);
});

/** Quantiles of a Beta(0.6, 0.6) law over [sigma_min, sigma_max]: Lee et al. 2024, arXiv:2407.12173. */
export const betaSigmas = endingInZero((schedule, steps) => {
  const [min, max] = sigmaRange(schedule);
  return linspace(1, 0, steps).map((p) => min + symmetricBetaQuantile(p, 0.6) * (max - min));
});

/** The schedules on offer; labels as in AUTOMATIC1111's "Schedule type". */
export const schedules = {
  normal: { label: 'Normal', sigmas: normalSigmas },
  karras: { label: 'Karras', sigmas: karrasSigmas },
  exponential: { label: 'Exponential', sigmas: exponentialSigmas },
  'sgm-uniform': { label: 'SGM Uniform', sigmas: sgmUniformSigmas },
  simple: { label: 'Simple', sigmas: simpleSigmas },
  beta: { label: 'Beta', sigmas: betaSigmas },
} as const satisfies Record<string, { readonly label: string; readonly sigmas: ScheduleFunction }>;

export type ScheduleName = keyof typeof schedules;

/**
 * The part of `sigmas` that image-to-image runs: the last min(floor(steps * strength), steps) steps, as diffusers counts
 * them. Strength 1 runs all, 0 none (the picture is returned unchanged). A1111 runs one step more below strength 1.
 * Throws a RangeError for a strength outside 0..1.
 */
export function sigmasForStrength(sigmas: Float64Array, strength: number): Float64Array {
  if (!(strength >= 0 && strength <= 1)) throw new RangeError(`Strength is from 0 to 1, got ${strength}.`);
  const steps = sigmas.length - 1;
  return sigmas.slice(steps - Math.min(Math.floor(steps * strength), steps));
}

function sigmaRange(schedule: TrainingSchedule): readonly [number, number] {
  return [schedule.sigmas[0]!, schedule.sigmas.at(-1)!];
}

/** Appends the 0 to what `pick` returns. The result throws a RangeError unless steps is a whole number from 1 to T. */
function endingInZero(pick: ScheduleFunction): ScheduleFunction {
  return (schedule, steps) => {
    const most = schedule.sigmas.length;
    if (!Number.isInteger(steps) || steps < 1 || steps > most) {
      throw new RangeError(`Steps are a whole number from 1 to ${most}, the model's training steps; got ${steps}.`);
    }
    const sigmas = new Float64Array(steps + 1);
    sigmas.set(pick(schedule, steps));
    return sigmas;
  };
}

/** `count` evenly spaced values from `start` to `end`, both included; `start` alone for 1. */
function linspace(start: number, end: number, count: number): Float64Array {
  const step = (end - start) / (count - 1);
  // Counted from the nearer end, so that the last value is `end` exactly.
  return Float64Array.from({ length: count }, (_, i) =>
    i < count / 2 ? start + (i === 0 ? 0 : i * step) : end - (count - 1 - i) * step,
  );
}

function cumulativeProduct(factors: Float64Array): Float64Array {
  let product = 1;
  return factors.map((factor) => (product *= factor));
}

/** x with I_x(a, a) = p, the quantile of the symmetric Beta(a, a) law; p in 0..1. Series: dlmf.nist.gov/8.17.E7. */
function symmetricBetaQuantile(p: number, a: number): number {
  if (p > 0.5) return 1 - symmetricBetaQuantile(1 - p, a);
  const incomplete = (x: number): number => {
    let [coefficient, sum] = [1, 1 / a];
    for (let n = 1; n < 64; n++) {
      coefficient *= ((n - a) / n) * x; // (1 - a)_n / n! * x^n
      sum += coefficient / (a + n);
    }
    return x ** a * sum;
  };
  // Half of the law lies below 1/2, which gives the normaliser for free. Terms fall as 2^-n there.
  const target = p * 2 * incomplete(0.5);
  let [low, high] = [0, 0.5];
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (incomplete(middle) < target) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
