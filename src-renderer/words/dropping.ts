// Words of files dropped on the window, of pictures restored or started from, and of the queue.
const list = (parts: readonly string[]): string =>
  parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)!}`;

const count = (number: number, one: string, many: string): string => `${number} ${number === 1 ? one : many}`;

export const droppingWords = {
  over: {
    pictures: 'Drop a picture to restore its settings, start from it, or train with it',
    files: 'Drop LoRAs and gates to add them, a recipe to load it, or a folder with all of it',
    both: 'LoRAs and gates are added; pictures ask what to do with them',
  },
  added: (names: readonly string[]): string => `Added: ${list(names)}.`,
  batch: (added: number, refused: number): string =>
    refused === 0 ? `${count(added, 'file', 'files')} added.` : `${added} added, ${refused} not added:`,
  ownerless: (name: string): string => `${name} belongs to no LoRA that was dropped with it.`,
  unusable: (name: string): string =>
    `${name} is nothing that can be used here: drop LoRAs, gates, recipes or pictures.`,
  ignored: (files: number): string => `${count(files, 'other file was', 'other files were')} left alone.`,
  cut: (files: number): string => `The folder holds more than ${files} files; only the first were looked at.`,
  emptyFolder: 'There is nothing in this folder that can be used here.',
  waiting: 'Drawing starts when the dropped files are read.',
  reading: (name: string): string => `Reading ${name}…`,
  picture: {
    heading: 'What to do with this picture?',
    alt: 'The dropped picture',
    more: (number: number): string => `and ${count(number, 'more picture', 'more pictures')}`,
    from: {
      mole: 'Drawn with MoLE Atelier',
      a1111: 'With settings in A1111’s notation',
      comfyui: 'With a ComfyUI graph',
      none: 'No settings were found in it',
    },
    noneHint:
      'Programs and websites that save a picture anew often take the settings out. You can still start from it.',
    size: (width: number, height: number): string => `${width} × ${height} pixels`,
    prompt: 'Prompt',
    negative: 'Negative prompt',
    settings: 'Settings',
    steps: (steps: number): string => count(steps, 'step', 'steps'),
    cfg: (cfg: number): string => `CFG ${cfg}`,
    seed: (seed: number): string => `seed ${seed}`,
    variation: (strength: number): string => `variation ${strength}`,
    model: 'Model',
    otherModel: (theirs: string, ours: string): string =>
      `It was drawn with ${theirs}; the form draws with ${ours}, so the picture will be another one.`,
    started: (strength: number): string =>
      `It was started from another picture (strength ${strength}), which is not in the file: choose it again.`,
    experts: 'Experts',
    gate: 'Gate',
    found: 'found',
    foundByName: 'found by its name',
    missing: 'missing',
    missingHint:
      'Drop the missing files on this window to complete it. They are known by their content, whatever their name.',
    hash: (hash: string): string => `SHA-256 ${hash.slice(0, 12)}…`,
    shortHash: (hash: string): string => `hash ${hash}`,
    noHash: 'no hash in the picture',
    notes: 'Worth knowing',
    restore: 'Restore settings',
    restoreWithout: 'Restore without the missing',
    start: 'Start from it',
    train: 'Use for training',
    looking: 'Looking for its experts…',
  },
  restored: (name: string, changed: readonly string[]): string =>
    changed.length === 0 ? `Everything is as in ${name} already.` : `Restored from ${name}: ${list(changed)}.`,
  without: (names: readonly string[]): string =>
    `Without ${list(names)}, which ${names.length === 1 ? 'was' : 'were'} not found.`,
  undo: 'Undo',
  undone: 'As it was before.',
  changed: {
    prompt: 'prompt',
    negative: 'negative prompt',
    sampler: 'sampler',
    schedule: 'schedule',
    steps: 'steps',
    cfg: 'guidance',
    size: 'size',
    model: 'model',
    seed: 'seed',
    variation: 'variation',
    finer: 'finer settings',
    start: 'starting picture',
    experts: (number: number): string => (number === 0 ? 'no experts' : count(number, 'expert', 'experts')),
    gate: 'gate',
  },
  start: {
    heading: 'Starts from',
    alt: 'The picture that the drawing starts from',
    strength: 'How much is drawn anew',
    hint: '0 keeps the picture, 1 draws it from nothing.',
    remove: 'Do not start from a picture',
    use: 'Start from the picture shown',
  },
  variation: {
    toggle: 'Variation of the seed',
    seed: 'Variation seed',
    strength: 'Variation strength',
    hint: 'Mixes the noise of another seed in: 0 is the seed alone, 1 the other one.',
    random: 'Another variation seed',
    remove: 'Draw without variation',
    none: 'None',
  },
  queue: {
    pause: 'Pause the queue',
    resume: 'Go on with the queue',
    pausedHint: 'Paused',
    clearEnded: 'Clear finished',
    clearWaiting: 'Cancel all waiting',
    earlier: (place: number): string => `Earlier in the queue (now number ${place})`,
    later: (place: number): string => `Later in the queue (now number ${place})`,
    place: (place: number, all: number): string => `Waiting · ${place} of ${all}`,
    moveHint: 'Alt and arrow keys move it.',
    reason: 'Why it failed',
    eta: (text: string): string => `all done in about ${text}`,
    allInGallery: (number: number): string => `${count(number, 'older picture', 'older pictures')} in the gallery`,
  },
} as const;
