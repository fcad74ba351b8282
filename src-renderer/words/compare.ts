// Words of comparing: side by side, A and B, grids.
const kinds = {
  none: 'Nothing',
  weight: 'Weight of an expert',
  mode: 'Mode',
  gate: 'Gate on or off',
  mute: 'Silent expert',
  prompt: 'Prompt S/R',
  seed: 'Seed',
  sampler: 'Sampler',
  steps: 'Steps',
  cfg: 'Guidance (CFG)',
  schedule: 'Schedule',
} as const;

const entryHints = {
  weight: 'A list 0, 0.5, 1 or a range 0-1 [5] or 0-1 (+0.25)',
  prompt: 'A word of the prompt, then what stands in its place: fox, owl, “red, old fox”',
  seed: 'A list 1, 2, 3 or a range 1-4; -1 draws one',
  steps: 'A list 10, 20 or a range 10-30 (+10)',
  cfg: 'A list 3, 5, 7 or a range 3-9 (+2)',
} as const;

const seconds = (ms: number): string => {
  const whole = Math.max(1, Math.round(ms / 1000));
  if (whole < 60) return `${whole} s`;
  return whole < 3600 ? `${Math.round(whole / 60)} min` : `${(whole / 3600).toFixed(1)} h`;
};

export const compareWords = {
  tabs: 'Ways to compare',
  modes: 'Side by side',
  pair: 'A and B',
  gridTab: 'Grid',
  promptMissing: 'Write a prompt in Draw first: comparisons draw what the form there says.',
  expertsMissing: 'Add experts in Draw first: two or more LoRAs are what the modes differ in.',
  draws: (prompt: string): string => `Will draw “${prompt}”`,
  drawn: (prompt: string): string => `“${prompt}”`,
  cancel: 'Cancel all',
  time: (ms: number): string => `${(ms / 1000).toFixed(1)} s`,
  seed: (seed: number): string => `seed ${seed}`,
  waiting: 'Waiting',
  drawing: 'Drawing…',
  failed: 'Failed',
  cancelled: 'Cancelled',
  alt: (label: string): string => `Picture: ${label}`,
  asA: 'As A',
  asALabel: (label: string): string => `${label} as A`,
  asB: 'As B',
  asBLabel: (label: string): string => `${label} as B`,
  heat: (shares: readonly string[]): string => `Who spoke where. On average: ${shares.join(', ')}`,
  share: (expert: string, value: string): string => `${expert} ${value}`,
  modesPanel: {
    intro: 'The same prompt, seed and stack, mixed in several ways.',
    choose: 'Modes to compare',
    start: 'Compare',
    empty: 'What gates are for',
    emptyHint:
      'Plain sums of LoRAs drown one another. Press Compare to see the same seed as a plain sum, a normalised sum and with trained gates.',
  },
  pairPanel: {
    chooseA: 'Picture A',
    chooseB: 'Picture B',
    empty: 'Two finished pictures are needed',
    emptyHint: 'Draw some, or compare modes: every finished picture can be chosen here.',
    swap: 'Swap A and B',
    option: (prompt: string, seed: number, note: string): string =>
      `${prompt.slice(0, 60)} · seed ${seed}${note === '' ? '' : ` · ${note}`}`,
  },
  grid: {
    x: 'Columns',
    y: 'Rows',
    kinds,
    entryHints,
    values: (axis: string): string => `Values of ${axis}`,
    expertOf: (axis: string): string => `Expert of ${axis}`,
    all: 'All',
    none: 'None',
    weightOf: (name: string): string => `Weight of ${name}`,
    gateOn: 'MoLE gates',
    gateOff: 'Plain sum',
    everyone: 'Everyone',
    without: (name: string): string => `Without ${name}`,
    start: 'Draw the grid',
    count: (columns: number, rows: number): string =>
      columns * rows === 1 ? '1 picture' : `${columns} × ${rows} = ${columns * rows} pictures`,
    estimate: (ms: number): string => `about ${seconds(ms)}`,
    many: (count: number): string => `${count} pictures is a lot: press once more to draw them all.`,
    saveSheet: 'Save as one picture',
    saved: (name: string): string => `Saved as ${name}.`,
    empty: 'Two axes, every combination',
    emptyHint:
      'Choose what changes from column to column and from row to row. All pictures share one seed unless the seed is an axis.',
    noValues: 'Give at least one value, such as 1, 2, 3 or 0-1 [5].',
    tooManyValues: (count: number, most: number): string =>
      `These are ${count === most + 1 ? `more than ${most}` : count} values; an axis has at most ${most}.`,
    notNumbers: (part: string): string =>
      `“${part}” is no number and no range. Ranges are 1-5, 0-1 (+0.25) or 0-1 [5].`,
    neverEnds: (part: string): string => `“${part}” never reaches its end: its step points the other way.`,
    noExpert: 'Choose the expert whose weight changes.',
    nothingPicked: (title: string): string => `Tick at least one value of ${title}.`,
    noTexts: 'Give a word of the prompt, then what stands in its place.',
    notInPrompt: (wanted: string): string => `“${wanted}” does not stand in the prompt.`,
    sameAxes: 'Both axes change the same thing: choose another one.',
    noGate: 'There is no gate in the stack: add a .mole.safetensors file first.',
  },
  slider: {
    label: 'Line between A and B',
    value: (place: number): string => `${place} % A, ${100 - place} % B`,
    alt: (side: 'A' | 'B', label: string): string => `${side}: ${label}`,
  },
} as const;
