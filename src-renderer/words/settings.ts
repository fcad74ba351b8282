// Words of settings, the tour and diagnostics.
/** What a step says, and what its button does. */
interface StepWords {
  readonly heading: string;
  readonly text: string;
  readonly act?: string;
}

/** In the order of the tour. */
const steps = {
  experts: {
    heading: 'Experts',
    text: 'Every LoRA is an expert for a style or a subject. A few came with the app, and a gate that was trained to mix them.',
    act: 'Add them',
  },
  draw: {
    heading: 'One picture, several experts',
    text: 'The prompt asks for a subject and a style. The gate decides, block by block, which expert speaks how loudly.',
    act: 'Write a prompt and draw',
  },
  heat: {
    heading: 'Who spoke where',
    text: 'Rows are blocks of the network, columns are experts; the warmer a cell, the louder the expert was there. Press a cell to silence it, drag to set it yourself.',
  },
  branches: {
    heading: 'Choose who speaks',
    text: 'Switch an expert off or press Solo: the others share its part at once. Nothing is trained anew.',
  },
  compare: {
    heading: 'See the difference',
    text: 'Plain sum, normalised sum and MoLE gates side by side, from the same seed; and grids of any two settings.',
    act: 'Show Compare',
  },
  train: {
    heading: 'Your own gate',
    text: 'Drop a few reference pictures and train a gate over your own LoRAs. On the bundled model it takes a minute.',
    act: 'Show Train',
  },
  keep: {
    heading: 'Nothing is lost',
    text: 'Every picture keeps its whole recipe. Drop one on the window, from here or another program, to get its settings back.',
    act: 'Show the gallery',
  },
} as const satisfies Readonly<Record<string, StepWords>>;

export const settingsWords = {
  open: 'Settings and help',
  heading: 'Settings',
  appearance: 'Appearance',
  colours: 'Colours',
  colourChoices: { system: 'As the system', dark: 'Dark', light: 'Light' },
  output: 'New pictures',
  format: 'File format',
  formats: { png: 'PNG', jpeg: 'JPEG', webp: 'WebP' },
  quality: 'Quality (JPEG, WebP)',
  pattern: 'File name',
  patternHint:
    'Tokens: [datetime] [date] [seed] [prompt_words] [prompt] [sampler] [steps] [cfg] [width] [height] [model] [batch] [index]',
  metadata: 'Write the recipe into each picture',
  metadataHint: 'Without it a picture cannot give its settings back.',
  folder: (path: string): string => `Pictures go to ${path}`,
  keyboard: 'Keyboard',
  shortcuts: [
    ['Ctrl+Enter', 'Draw'],
    ['Alt+1 … Alt+5', 'Draw, Compare, Train, Gallery, Library'],
    ['Ctrl+↑ / Ctrl+↓', 'Weight of the words under the cursor'],
    ['Arrow keys', 'Move in the heat map, the gallery and the sliders'],
    ['Escape', 'Close a dialog'],
  ],
  help: 'Help',
  tour: 'Take the tour',
  diagnostics: 'Copy diagnostics',
  diagnosticsHint: 'Version, devices and the last lines of the log, for a report. No prompt is in it.',
  copied: 'Copied. Paste it into your report.',
  copyByHand: 'Diagnostics: select the text and copy it.',
  logs: (folder: string): string => `Logs are in ${folder}`,
  about: 'About',
  version: (version: string): string => `MoLE Atelier ${version}, MIT licence.`,
  aboutText:
    'After “Mixture of LoRA Experts” (Wu, Huang and Wei, ICLR 2024). Everything runs on this machine; nothing is sent anywhere.',
  tourWords: {
    region: 'Tour',
    offer: 'Take the tour (one minute)',
    place: (place: number, of: number): string => `${place} of ${of}`,
    next: 'Next',
    back: 'Back',
    end: 'Done',
    leave: 'Leave the tour',
    prompt: 'a fox, ink style',
    steps,
  },
} as const;
