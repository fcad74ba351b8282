// Adam and AdamW as two pure functions over named arrays: what is to be remembered is a value, so that training can be saved and
// go on. Kingma & Ba 2015 (arXiv:1412.6980, algorithm 1); decoupled weight decay: Loshchilov & Hutter 2019 (arXiv:1711.05101,
// algorithm 2). Step for step what torch.optim.Adam and AdamW do.

/** Arrays by name: parameters, gradients, moments. */
export type Arrays = Readonly<Record<string, Float32Array>>;

export interface AdamOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** lambda of AdamW; 0 is Adam. */
  readonly weightDecay: number;
}

export const adamDefaults: AdamOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };

/** Everything Adam remembers. */
export interface AdamState {
  /** Updates done. */
  readonly step: number;
  /** m: running mean of gradients. */
  readonly first: Arrays;
  /** v: running mean of squared gradients. */
  readonly second: Arrays;
}

/** Moments of zero. */
export function adamInit(parameters: Arrays): AdamState {
  const zeros = (): Arrays =>
    Object.fromEntries(Object.entries(parameters).map(([name, { length }]) => [name, new Float32Array(length)]));
  return { step: 0, first: zeros(), second: zeros() };
}

/**
 * Parameters and state after one update with learning rate `rate`. Arguments are left as they were. Throws a RangeError when a
 * parameter has no gradient or one of another length.
 */
export function adamUpdate(
  parameters: Arrays,
  gradients: Arrays,
  state: AdamState,
  rate: number,
  options: AdamOptions = adamDefaults,
): { readonly parameters: Arrays; readonly state: AdamState } {
  const { beta1, beta2, epsilon, weightDecay } = options;
  const step = state.step + 1;
  const [correction1, correction2] = [1 - beta1 ** step, Math.sqrt(1 - beta2 ** step)];
  const [updated, first, second]: Record<string, Float32Array>[] = [{}, {}, {}];
  for (const [name, theta] of Object.entries(parameters)) {
    const g = gradients[name];
    if (g?.length !== theta.length) {
      throw new RangeError(`${name} has ${theta.length} numbers, its gradient ${g?.length ?? 'none'}.`);
    }
    const [m, v, next] = [state.first[name]!.slice(), state.second[name]!.slice(), theta.slice()];
    for (let i = 0; i < next.length; i++) {
      m[i] = beta1 * m[i]! + (1 - beta1) * g[i]!;
      v[i] = beta2 * v[i]! + (1 - beta2) * g[i]! * g[i]!;
      const decayed = next[i]! * (1 - rate * weightDecay);
      next[i] = decayed - ((rate / correction1) * m[i]!) / (Math.sqrt(v[i]!) / correction2 + epsilon);
    }
    updated![name] = next;
    first![name] = m;
    second![name] = v;
  }
  return { parameters: updated!, state: { step, first: first!, second: second! } };
}

/** Euclidean norm of all arrays together. */
export function globalNorm(arrays: Arrays): number {
  let sum = 0;
  for (const values of Object.values(arrays)) for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/** Gradients scaled down to a norm of at most `most` (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1); smaller ones as they are. */
export function clipNorm(gradients: Arrays, most: number): Arrays {
  const norm = globalNorm(gradients);
  if (norm <= most) return gradients;
  const scale = most / norm;
  return Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, g.map((value) => value * scale)]));
}
