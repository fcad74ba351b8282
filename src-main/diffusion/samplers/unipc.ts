// UniPC (Zhao et al. 2023, arXiv:2302.04867): a predictor and a corrector of one order that share the network call, in
// data prediction with B(h) = e^h - 1 ("bh2"), order 2, first order at both ends: diffusers' defaults
// (schedulers/scheduling_unipc_multistep.py). Variables as in dpm-solver.ts: x / sqrt(alphaBar), h = log(sigma / sigmaNext).
import type { FloatTensor } from '../../tensor/tensor.ts';
import type { Sigma } from '../noise-schedule.ts';
import { weightedSum } from '../weighted-sum.ts';
import { stretches, type Sampler } from './sampler.ts';

/** A prediction of the past, at log noise level `lambda` = -log sigma. */
interface Prediction {
  readonly denoised: FloatTensor;
  readonly lambda: number;
}

/** The stretch just walked, kept for its correction. */
interface Walked {
  readonly start: FloatTensor;
  readonly sigma: Sigma;
  readonly history: readonly Prediction[];
}

/** UniPC, second order. No noise, no options. */
export const unipc: Sampler = async function* (denoise, x, sigmas) {
  let history: readonly Prediction[] = []; // latest first
  let walked: Walked | undefined;
  const steps = stretches(sigmas);
  for (const { index, sigma, sigmaNext } of steps) {
    const denoised = await denoise(x, sigma);
    if (walked !== undefined) x = correct(walked, sigma, denoised);
    const order = Math.min(2, steps.length - index, index + 1);
    history = [{ denoised, lambda: -Math.log(sigma) }, ...history].slice(0, order);
    walked = { start: x, sigma, history };
    x = predict(walked, sigmaNext);
    yield { index, sigma, sigmaNext, x, denoised };
  }
};

/** UniP, Eq. 3 with rho_1 = 1/2 at order 2: e^-h x + (1 - e^-h) (m0 + D1 / 2), D1 = (m1 - m0) / r1. */
function predict({ start, sigma, history }: Walked, sigmaNext: Sigma): FloatTensor {
  const [now, before] = history as readonly [Prediction, Prediction | undefined];
  const kept = sigmaNext / sigma;
  const toward = 1 - kept;
  if (before === undefined) return weightedSum([kept, start], [toward, now.denoised]);
  const slope = toward / 2 / relativeStep(now, before, sigma, sigmaNext);
  return weightedSum([kept, start], [toward - slope, now.denoised], [slope, before.denoised]);
}

/** UniC, Eq. 5: walks the stretch again, now knowing the prediction at its end. */
function correct({ start, sigma, history }: Walked, sigmaNext: Sigma, denoisedNext: FloatTensor): FloatTensor {
  const [now, before] = history as readonly [Prediction, Prediction | undefined];
  const kept = sigmaNext / sigma;
  const toward = 1 - kept;
  if (before === undefined) {
    return weightedSum([kept, start], [toward / 2, now.denoised], [toward / 2, denoisedNext]);
  }
  // rho solves [[1, 1], [r1, 1]] rho = b with b_k = k! phi_{k+1}(-h) / B(-h).
  const h = Math.log(sigma / sigmaNext);
  const phi2 = -toward / -h - 1;
  const phi3 = phi2 / -h - 1 / 2;
  const [b1, b2] = [phi2 / -toward, (2 * phi3) / -toward];
  const r1 = relativeStep(now, before, sigma, sigmaNext);
  const rho1 = (b1 - b2) / (1 - r1);
  const [past, next] = [(toward * rho1) / r1, toward * (b1 - rho1)];
  return weightedSum(
    [kept, start],
    [toward - past - next, now.denoised],
    [past, before.denoised],
    [next, denoisedNext],
  );
}

/** r1: where the earlier prediction lies, in units of the step h; negative. */
function relativeStep(now: Prediction, before: Prediction, sigma: Sigma, sigmaNext: Sigma): number {
  return (before.lambda - now.lambda) / Math.log(sigma / sigmaNext);
}
