// Every tolerance of the tests, one object per area, each with its reason.

/** Noise against torch's CPU generator. */
export const noiseTolerance = {
  // torch's vector log, sin and cos are not correctly rounded; ours are. Measured 4e-7 against its AVX2 and AVX-512
  // kernels, which agree; its scalar kernel differs from those by 1.7e-6.
  absolute: 1e-6,
  // Share of a [4, 64, 64] draw that is equal to the last bit: 83 %; 98 % are within one ulp, the rest within three.
  equalShare: 0.8,
  // acos near 0 in float32 on A1111's side, float64 on ours.
  slerp: 5e-6,
} as const;

/** Schedules, denoisers and samplers against diffusers, k-diffusion and A1111's formulas. */
export const diffusionTolerance = {
  // Relative L2 error of the state after every step. The witnesses keep states and sigmas in float32, ours are float64
  // coefficients over float32 states.
  trajectory: 1e-5,
  // Two algebraic forms of one step: rounding to float32 once per step.
  identity: 2e-6,
  // Relative error of a noise level; A1111 rounds its list, k-diffusion its timesteps, to float32.
  schedule: 1e-6,
  // Relative error of alphaBar. diffusers works in float32: 1e-6 in the middle, but next to zero terminal SNR it
  // subtracts nearly equal roots, which leaves 4e-5 at timestep 998.
  alphaBar: 5e-5,
  // Absolute error of a denoiser wrapper, relative to max(1, |value|); everything is float32 on our side.
  wrapper: 1e-6,
  // Relative L2 error of rescaled guidance in float32.
  guidance: 1e-6,
  // Absolute error of a Brownian increment: sums of some 20 float32 normals.
  brownian: 2e-6,
  // As above, from levels computed in float64: one that rounds to another sixth decimal moves the path by sqrt(1e-6 / step).
  brownianLevels: 0.01,
} as const;

/** Pictures against Pillow, in steps of 0..255. */
export const pictureTolerance = {
  // Largest difference of a decoded pixel: rounding where transparency is mixed with white.
  decoded: 1,
  // Mean difference after scaling with Lanczos: equal to the last step where measured; other builds may round otherwise.
  resized: 0.25,
  // Mean difference of a 16x8 picture of strong colours after saving at quality 95: measured 1.0 and 3.7, since WebP
  // halves the colour resolution.
  jpeg: 2,
  webp: 6,
} as const;

/** Networks against diffusers and transformers in float32 on the CPU: relative L2 error of the output. */
export const networkTolerance = {
  // Two orders of summation of the same float32 products; measured 2.5e-7 to 9e-7.
  textEncoder: 1e-5,
  unet: 1e-4,
  // The decoder ends in small numbers after wide sums: measured 1.8e-6.
  autoencoder: 1e-5,
  // Relative L2 error of CLIP's embeddings, and of the picture that it sees: two layers deep, and float32 sums.
  clip: 1e-5,
} as const;

/** Prompts against A1111's code and torch. */
export const textTolerance = {
  // Largest absolute error of a weighted state over the largest state: the mean is summed in float64 on our side, in
  // float32 on torch's. Measured 1e-7.
  emphasis: 1e-6,
  // Share of prompts with stray brackets that are scheduled alike; measured 0.973 of 409.
  brokenSchedulesAlike: 0.95,
} as const;

/** Execution providers against the CPU and float64, as max|a - b| / max|b|. */
export const providerTolerance = {
  // float32 in another order of summation; operators 1e-6, whole UNets 2e-5 measured with lavapipe.
  webgpu: 1e-4,
  // Wrong kernels were 3 % off or more: what lies between this and the tolerance above would be neither.
  wrongKernel: 1e-2,
} as const;

/** Pictures of the bundled model against diffusers' pipeline, in steps of 0..255. */
export const pipelineTolerance = {
  // Twenty steps of float32 rounding in another order end on the other side of a rounding to 8 bits: measured 1.
  steps: 1,
} as const;

/** Mixtures of experts against the paper written out in torch, float32. */
export const moleTolerance = {
  // Gates are in 0..1: sums over tokens and widths in rank space against sums over full outputs.
  gates: 1e-4,
  // Relative L2 error of a network's output.
  output: 1e-4,
  // Two ways to the same sum within one build of onnxruntime: rounding of float32 alone.
  identity: 2e-6,
} as const;

/** Factorisations against LAPACK in float64: ours are float64 inside and rounded to float32 at the end. */
export const linearAlgebraTolerance = {
  // Largest error of a singular value or an entry of r over the largest singular value: one rounding to float32.
  value: 2e-7,
  // Largest error of u^T u: sums of products of entries rounded to float32.
  orthonormal: 5e-7,
  // Relative L2 error of factors multiplied back.
  product: 5e-7,
  // The random start leaves (s4 / s3)^7 of the direction beyond rank 3.
  truncated: 1e-5,
  // s17 / s16 = 0.94: three iterations leave the last of 16 values 1e-3 of the largest short.
  slowValue: 1e-3,
  // Condition number 100 of a system rounded to float32.
  solve: 1e-5,
} as const;

/** Closed-form merges against dense float64. */
export const mergeTolerance = {
  // Relative L2 error of a projected delta: products of factors rounded to float32. Measured 5e-8 to 2e-7.
  projected: 1e-6,
  // Relative L2 error of a routed delta: moments rounded to float32 times the condition number of G. Measured 2e-5 at ridge 1e-4.
  routed: 1e-4,
  // Relative L2 error of an expert's answer where experts are separable: the ridge of 1e-6 pulls towards 0.
  separable: 1e-5,
  // Relative L2 error of stacked or cut factors multiplied back. Measured 9e-8.
  baked: 1e-6,
} as const;

/** Gradients against torch autograd and central differences, float32. */
export const gradientTolerance = {
  // Relative L2 error of one operator's gradient.
  rule: 1e-5,
  // Of all parameters of a kind in a network under gates: float32 rounding through every layer and back. Measured 5e-7 to 5e-6.
  network: 5e-5,
  // Of each parameter alone: where a gate is nearly shut, its gradient is a difference of large numbers, a thousandth of its
  // neighbours', on torch's side too.
  parameter: 2e-2,
  // Relative L2 error of the same gradient from activations that were computed twice: the same numbers by the same kernels.
  recomputed: 1e-6,
  // Relative error of a slope: the loss is rounded to float32 inside and divided by a step of 0.002.
  difference: 2e-3,
} as const;

/** Networks with experts against diffusers with PEFT in float32: relative L2 error of the output. */
export const expertTolerance = {
  // As for plain networks: the factors are the same numbers, summed in another order.
  network: 1e-4,
} as const;

/** Deltas of adapters against products written out in float64. */
export const adapterTolerance = {
  // Relative L2 error of up down: the witness's factors are exact in float16, so only one or two roundings to float32 are
  // left (scale into up, products of factors, PEFT's own float32 sums).
  float32: 1e-6,
} as const;

/** Mean difference, in steps of 0..255, between one expert under a mask and the same expert without a gate. */
// The same product in another order, rounded to 8 bits: a value on the edge between two steps may fall to either side.
// Measured 0.
export const maskedGateAlone = 0.05;

/** Training against torch, float32. */
export const trainingTolerance = {
  // Relative L2 error of parameters after each of twenty updates: moments are float32 on both sides, what is between them float64
  // on ours. Measured 1e-7.
  optimizer: 1e-6,
  // Relative error of the loss of each of twenty updates: float32 through network, gradient and update. Measured 2e-7 to 2e-6.
  loss: 1e-5,
  // Relative error of a parameter after them: an update of Adam does not shrink with the gradient, so where a gradient is as small
  // as rounding, its sign decides. Measured 2e-5, with a LoRA's first gradients 2e-4.
  parameters: 1e-3,
} as const;

/** The clip loss in training on the bundled model. */
export const judgeTolerance = {
  // 1 - cos of a picture with itself, decoded from latents that were noised and cleaned again in float32. Measured 9e-8.
  perfect: 1e-6,
  // How far the parameters move for a slope, and its relative error: two losses near 2, rounded to float32 (2e-7), differ by 1e-4
  // where the text encoder's gates are moved; a longer step bends. Measured 1e-4 (UNet) to 2e-3.
  step: 0.02,
  slope: 1e-2,
} as const;
