// Words of the tools of the prompt: lists of words, alternatives, tags, suggestions; and of the models.
const number = (value: number): string => value.toLocaleString('en');

/** As the captions that the bundled model learned from: no article before several, "an" before a vowel. */
const withArticle = (subject: string): string => {
  const last = subject.split(' ').at(-1) ?? '';
  if (/[^su]s$/.test(last)) return subject;
  return `${/^[aeiou]/i.test(subject) && !/^uni/i.test(subject) ? 'an' : 'a'} ${subject}`;
};

export const orderToolsWords = {
  weightHint: 'Ctrl+Up and Ctrl+Down change the weight of the selection or the word at the cursor',
  triggers: 'Trigger words of the experts',
  addTrigger: (word: string, expert: string): string => `Add “${word}”, which wakes ${expert}`,
  removeTrigger: (word: string): string => `Take “${word}” out of the prompt`,
  missing: 'Experts that were not found',
  missingChip: (name: string): string => `${name} is missing`,
  missingLabel: (name: string): string => `${name} is missing: pictures are drawn without it. Press to forget it.`,
  missingHint: 'Drop the file on the window, and it takes its place with the weight of its tag.',
  tagsMissing: (names: readonly string[]): string =>
    `Not found: ${names.join(', ')}. Pictures are drawn without ${names.length === 1 ? 'it' : 'them'} until you add ${
      names.length === 1 ? 'the file' : 'the files'
    }.`,
  inspire: 'Inspire me',
  inspireHint: 'Another prompt of words that the model and your experts know',
  inspired: (subject: string, style: string): string => [withArticle(subject), style].filter(Boolean).join(', '),
  lists: 'Word lists',
  listsRegion: 'Lists of words for prompts',
  addList: (name: string, entries: number, sample: string): string =>
    `Add a word of the list ${name}: ${number(entries)} entries, such as ${sample}`,
  listsHint:
    '{red|green} draws one of both, {2$$red|green|blue} two, {3::red|green} red more often. A list stands between double underscores.',
  ownLists: (folder: string): string => `Your own lists are .txt files in ${folder}, a line for each entry.`,
  expansion: 'Alternatives',
  random: 'One by chance for each picture',
  all: 'All combinations',
  combinations: (total: number | null): string =>
    total === null
      ? 'more combinations than can be counted'
      : `${number(total)} ${total === 1 ? 'combination' : 'combinations'}`,
  tooMany: (limit: number): string => `The first ${number(limit)} are drawn.`,
  reset: 'Reset to defaults',
  resetHint: 'Everything but prompts, model and experts',
  more: 'More',
  preset: 'Size',
  presets: {
    own: (side: number | undefined): string => (side === undefined ? 'Model’s own' : `Model’s own, ${side} × ${side}`),
    portrait: (width: number, height: number): string => `Portrait, ${width} × ${height}`,
    landscape: (width: number, height: number): string => `Landscape, ${width} × ${height}`,
    custom: 'Another size',
  },
  clipSkip: 'Clip skip',
  cfgRescale: 'CFG rescale',
  device: 'Device',
  devices: {
    auto: 'Automatic',
    cpu: 'CPU',
    webgpu: 'WebGPU',
    cuda: 'CUDA',
    dml: 'DirectML',
    coreml: 'CoreML',
  },
  vae: 'Autoencoder (VAE)',
  ownVae: 'Model’s own',
  previewDecoder: 'Preview decoder',
  quickPreview: 'Quick colours',
  model: {
    label: 'Model',
    none: 'Choose a model',
    bundled: (name: string): string => `${name} (came with the app)`,
    option: (name: string, base: string | undefined): string => (base === undefined ? name : `${name} · ${base}`),
    unusable: (name: string): string => `${name} · cannot be used`,
    manage: 'Model folders and files',
    region: 'Where models are',
    folders: 'Model folders',
    noFolders: 'No folder yet. Add the one in which your checkpoints lie; the folders below it are looked through too.',
    folder: 'Folder of models',
    folderHint: '/path/to/models',
    addFolder: 'Add folder',
    removeFolder: (path: string): string => `Take ${path} off the list`,
    file: 'Path of a model',
    fileHint: '/path/to/model.safetensors',
    open: 'Open',
    refresh: 'Look again',
    looking: 'Looking for models…',
    notAModel: (path: string, summary: string): string => `${path} is not a model: ${summary}`,
    cannotBeUsed: (path: string, problem: string): string => `${path} cannot be used. ${problem}`,
    doNotFit: (names: readonly string[]): string =>
      `${names.join(', ')} ${names.length === 1 ? 'does' : 'do'} not fit this model and ${
        names.length === 1 ? 'is' : 'are'
      } silent.`,
  },
} as const;
