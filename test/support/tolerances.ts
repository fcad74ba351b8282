// Every tolerance of the tests, one object per area, each with its reason.

/** Noise against torch's CPU generator. */
export const noiseTolerance = {
  // torch's own float32 log, sin and cos differ by an ulp or two between its AVX2, AVX-512 and scalar kernels.
  absolute: 1e-6,
  // Share of a [4, 64, 64] draw that is equal to the last bit: 83 %; 98 % are within one ulp, the rest within three.
  equalShare: 0.8,
  // acos near 0 in float32 on A1111's side, float64 on ours.
  slerp: 5e-6,
} as const;
