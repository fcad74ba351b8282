// Every English word of the interface, in one place, ready for translation. Names that the whole field uses (DPM++ 2M, Karras)
// stand here too, by the contract's own names, so that a new one without a label does not compile.
import type { MixMode } from '../src-main/contract/experts.ts';
import type { GenerateRequest, SamplerName } from '../src-main/contract/generation.ts';
import { compareWords } from './words/compare.ts';
import { heatWords } from './words/heat.ts';
import { galleryWords } from './words/gallery.ts';
import { libraryWords } from './words/library.ts';
import { orderToolsWords } from './words/order-tools.ts';
import { settingsWords } from './words/settings.ts';
import { trainingWords } from './words/training.ts';
import { droppingWords } from './words/dropping.ts';

type ScheduleChoice = NonNullable<GenerateRequest['schedule']>;

const samplers: Readonly<Record<SamplerName, string>> = {
  'dpmpp-2m': 'DPM++ 2M',
  'dpmpp-2m-sde': 'DPM++ 2M SDE',
  'dpmpp-sde': 'DPM++ SDE',
  euler: 'Euler',
  'euler-a': 'Euler a',
  heun: 'Heun',
  ddim: 'DDIM',
  ddpm: 'DDPM',
  unipc: 'UniPC',
  lcm: 'LCM',
};

const schedules: Readonly<Record<ScheduleChoice, string>> = {
  automatic: 'Automatic',
  normal: 'Normal',
  karras: 'Karras',
  exponential: 'Exponential',
  'sgm-uniform': 'SGM Uniform',
  simple: 'Simple',
  beta: 'Beta',
};

const modes: Readonly<Record<MixMode, { readonly label: string; readonly hint: string }>> = {
  mole: { label: 'MoLE gates', hint: 'A trained gate decides, block by block, who speaks.' },
  sum: { label: 'Plain sum', hint: 'Every LoRA at its own weight, added up.' },
  normalised: { label: 'Normalised sum', hint: 'Weights that exceed 1 together are scaled back to 1.' },
  manual: { label: 'Block weights', hint: 'Weights times the block weights of each LoRA.' },
  switch: { label: 'Switch', hint: 'One LoRA at a time, in turn over the steps.' },
  composite: { label: 'Composite', hint: 'Each LoRA guides alone; the guides are averaged. Slower.' },
  ssr: { label: 'SSR-Merge', hint: 'A merge that keeps each LoRA to what its own words ask for.' },
  np: { label: 'NP-LoRA', hint: 'The style keeps out of the directions that the subject needs.' },
};

const seconds = (ms: number): string => {
  const whole = Math.max(1, Math.round(ms / 1000));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
};

export const strings = {
  app: 'MoLE Atelier',
  samplers,
  schedules,
  modes,
  connection: {
    connecting: 'Opening the studio…',
    lost: 'The app does not answer. Trying again… If it was started anew, open its new link.',
    noToken: 'This page needs the link that “atelier serve” printed, with its token. Open that link again.',
    unreachable:
      'The app behind this page is not running, or the link is an old one. Start “atelier serve” and open its link.',
    retry: 'Try again',
    unreadable: (name: string): string =>
      `${name} could not be sent to the app. A folder cannot be dropped here: drop the files in it.`,
    notOnDisk: (name: string): string => `${name} does not lie on the disk: save it first, then drop it here.`,
  },
  views: {
    region: 'Views',
    draw: 'Draw',
    compare: 'Compare',
    train: 'Train',
    gallery: 'Gallery',
    library: 'Library',
    shortcut: (place: number): string => `Alt+${place}`,
  },
  theme: {
    label: 'Colours',
    light: 'Light',
    dark: 'Dark',
    toLight: 'Switch to light colours',
    toDark: 'Switch to dark colours',
  },
  order: {
    region: 'What to draw',
    prompt: 'Prompt',
    promptHint: 'What should be in the picture',
    negative: 'Negative prompt',
    negativeHint: 'What should not be in it',
    tokens: (tokens: number, limit: number): string => `${tokens}/${limit}`,
    tokensLabel: (tokens: number, limit: number): string => `${tokens} of ${limit} tokens`,
    sampler: 'Sampler',
    schedule: 'Schedule',
    steps: 'Steps',
    cfg: 'Guidance (CFG)',
    width: 'Width',
    height: 'Height',
    ownSize: 'Model’s own',
    swap: 'Swap width and height',
    batch: 'Pictures',
    seed: 'Seed',
    seedRandom: 'Random each time',
    randomSeed: 'Random seed for each drawing',
    reuseSeed: 'Reuse the seed of the picture shown',
    generate: 'Generate',
    queueMore: 'Add to queue',
    shortcut: 'Ctrl+Enter',
    promptMissing: 'Write a prompt first: what should be in the picture?',
  },
  stage: {
    region: 'Picture',
    empty: 'Your picture appears here',
    emptyHint: 'Write a prompt and press Generate. The bundled model knows icons: try one of these.',
    cancel: 'Cancel',
    cancelling: 'Stopping after this step…',
    preview: 'Preview of the drawing under way',
    previewBadge: 'Preview',
    progress: 'Progress of the drawing',
    step: (step: number, steps: number): string => `Step ${step} of ${steps}`,
    picture: (index: number, batch: number): string => `picture ${index + 1} of ${batch}`,
    remaining: (ms: number): string => `about ${seconds(ms)} left`,
    alt: (prompt: string, seed: number): string => `${prompt}, seed ${seed}`,
    facts: (width: number, height: number, seed: number): string => `${width} × ${height} · seed ${seed}`,
    title: (percent: number, ms: number | undefined): string =>
      `${percent} % · ${ms === undefined ? '' : `${seconds(ms)} left · `}MoLE Atelier`,
    follow: 'Show the drawing',
  },
  suggestions: ['a red apple, noto style', 'a dog, twemoji style', 'a palm tree, fluent style'],
  strip: {
    region: 'Pictures and queue',
    waiting: 'Waiting',
    running: 'Drawing',
    failed: 'Failed',
    cancelled: 'Cancelled',
    retry: 'Try again',
    remove: 'Take off the list',
    cancelWaiting: 'Take out of the queue',
    empty: 'Finished pictures line up here.',
    show: (prompt: string, seed: number): string => `Show ${prompt}, seed ${seed}`,
    settings: 'Use its settings',
  },
  experts: {
    region: 'Experts',
    heading: 'Experts',
    none: 'Drop LoRA files anywhere in the window. Several can speak in one picture.',
    add: 'Add files…',
    addPath: 'Add',
    path: 'Path of a LoRA or gate file',
    pathHint: '/path/to/lora.safetensors',
    bundled: 'Add the bundled experts',
    drop: 'Drop LoRA and gate files to add them',
    reading: (name: string): string => `Reading ${name}…`,
    mode: 'How they are mixed',
    unguidedOf: (name: string): string => `Unguided share of ${name}`,
    unguidedHint:
      'Below 1, guidance leads toward this expert as it leads toward the prompt: it comes out clearer. 0.5 suits a subject.',
    unguidedUsual: (share: number): string => String(Number(share.toFixed(2))),
    gate: 'Gate',
    noGate: 'No gate file. Drop a .mole.safetensors file to use mode MoLE gates.',
    removeGate: 'Remove the gate',
    gateFor: (names: string): string => `Trained for ${names}`,
    role: (role: string | undefined): string => (role === undefined ? 'no role in the gate' : `heard as ${role}`),
    rolesLeft: (roles: readonly string[]): string =>
      `Still needs ${roles.join(', ')}: the order of the stack gives the roles.`,
    gateShares: (shares: readonly number[]): string =>
      `Unguided share: ${shares.map((share) => share.toFixed(2)).join(' and ')}`,
    on: (name: string): string => `${name} speaks`,
    solo: (name: string): string => `Solo ${name}`,
    weight: 'Weight',
    weightOf: (name: string): string => `Weight of ${name}`,
    textWeight: 'Text encoder',
    textWeightOf: (name: string): string => `Text encoder weight of ${name}`,
    sameAsWeight: 'same',
    reset: 'Reset to its own weight',
    remove: (name: string): string => `Remove ${name}`,
    details: (name: string): string => `Report card of ${name}`,
    fits: (matched: number, total: number): string =>
      matched === total ? `${total} layers` : `${matched} of ${total} layers fit`,
    rank: (least: number, most: number): string => (least === most ? `rank ${least}` : `rank ${least} to ${most}`),
    insertTrigger: (word: string): string => `Add “${word}” to the prompt`,
    alreadyThere: (name: string): string => `${name} is in the stack already.`,
    notAnExpert: (name: string, summary: string): string => `${name} is not a LoRA or a gate: ${summary}`,
    notUsable: (name: string, why: string): string => `${name} was not added. ${why}`,
    nothingFits: 'None of its layers fits this model.',
    gone: (paths: readonly string[]): string =>
      `Of the last session’s stack, this is not there any more: ${paths.join(', ')}.`,
    triggers: 'Trigger words',
    training: 'Training',
    author: 'Author',
    licence: 'Licence',
    family: 'Made for',
    kinds: 'Kind',
  },
  heat: heatWords,
  slider: { number: (label: string): string => `${label}, number` },
  notice: { dismiss: 'Dismiss' },
  dialog: { close: 'Close' },
  duration: seconds,
  queue: { waiting: (count: number): string => (count === 1 ? '1 waiting' : `${count} waiting`) },
  gallery: galleryWords,
  library: libraryWords,
  orderTools: orderToolsWords,
  settings: settingsWords,
  training: trainingWords,
  dropping: droppingWords,
  compare: compareWords,
} as const;
