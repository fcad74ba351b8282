// `atelier generate`: pictures from a prompt.
import { dirname, extname, basename, resolve } from 'node:path';
import { checkParams } from '../contract/check.ts';
import {
  deviceChoices,
  pictureFormats,
  samplerNames,
  scheduleNames,
  type FinishedPicture,
  type GenerateRequest,
  type GenerateResult,
  type PictureFormat,
} from '../contract/generation.ts';
import { generateWithRetry, withSeed } from '../client/generate-with-retry.ts';
import { UsageError, withoutUndefined, type ParsedArguments } from './arguments.ts';
import { bundledModel } from './bundled-model.ts';
import type { Command } from './command.ts';
import { expertFlags, expertNotes, mixFlagName, mixOf } from './expert-flags.ts';
import { GateMap } from './gate-map.ts';
import { showTime } from './progress.ts';
import { requestsOf, templateFlags, templateNotes } from './prompt-templates.ts';

/** Fields of the request by the flag that sets them, for messages. */
const flagOfField: Readonly<Record<string, string>> = {
  negativePrompt: '--negative',
  cfgScale: '--cfg',
  cfgRescale: '--cfg-rescale',
  clipSkip: '--clip-skip',
  previewDecoder: '--preview-decoder',
  'init.strength': '--strength',
  'init.picture': '--init',
  'output.folder': '--out',
  'output.pattern': '--pattern',
  'output.format': '--format',
  'output.quality': '--quality',
};
const flagName = (field: string): string =>
  field.startsWith('mix.') ? mixFlagName(field.slice('mix.'.length)) : (flagOfField[field] ?? `--${field}`);

export const generateCommand: Command = {
  name: 'generate',
  summary: 'Draws pictures from a prompt.',
  flags: {
    prompt: {
      type: 'string',
      help: 'what to draw; (word:1.2) emphasises, BREAK starts a new chunk, {a|b} is one of both',
    },
    negative: { type: 'string', help: 'what to keep out of the picture' },
    ...templateFlags,
    model: {
      type: 'string',
      value: 'PATH',
      help: 'a .safetensors checkpoint or a diffusers folder (default: the bundled model)',
    },
    vae: { type: 'string', value: 'PATH', help: "a .safetensors autoencoder to use instead of the model's own" },
    seed: { type: 'string', value: 'N', help: 'of the first picture, the next ones count up (default: random)' },
    steps: { type: 'string', value: 'N', help: '1 to 1000 (default 20)' },
    sampler: { type: 'string', value: 'NAME', help: `${samplerNames.join(', ')} (default dpmpp-2m)` },
    schedule: { type: 'string', value: 'NAME', help: `automatic, ${scheduleNames.join(', ')} (default automatic)` },
    cfg: { type: 'string', value: 'X', help: 'guidance scale; 1 turns guidance off and halves the time (default 7)' },
    'cfg-rescale': {
      type: 'string',
      value: 'X',
      help: '0 to 1, against washed-out colours at high guidance (default 0)',
    },
    width: { type: 'string', value: 'PIXELS', help: "a multiple of 8 (default: the model's own size)" },
    height: { type: 'string', value: 'PIXELS', help: 'likewise' },
    batch: { type: 'string', value: 'N', help: 'how many pictures, 1 to 64 (default 1)' },
    'clip-skip': {
      type: 'string',
      value: 'N',
      help: 'layers of the text encoder to stop before the end, from 1 (default 1)',
    },
    init: { type: 'string', value: 'PICTURE', help: 'start from this picture (img2img)' },
    strength: { type: 'string', value: 'X', help: 'how much of --init to redraw, 0 to 1 (default 0.6)' },
    ...expertFlags,
    device: { type: 'string', value: 'NAME', help: `${deviceChoices.join(', ')} (default auto)` },
    threads: { type: 'string', value: 'N', help: 'of the processor (default: one per physical core)' },
    prediction: {
      type: 'string',
      value: 'KIND',
      help: 'epsilon or v_prediction, when the file does not say so itself',
    },
    'preview-decoder': { type: 'string', value: 'PATH', help: 'a TAESD .safetensors file for previews' },
    out: {
      type: 'string',
      value: 'PATH',
      help: 'a folder, or a file name ending in .png, .jpg or .webp (default outputs)',
    },
    format: { type: 'string', value: 'NAME', help: `${pictureFormats.join(', ')} (default png)` },
    quality: { type: 'string', value: 'N', help: '1 to 100, for jpeg and webp (default 92)' },
    lossless: { type: 'boolean', help: 'webp that keeps every pixel' },
    pattern: {
      type: 'string',
      help: 'file name, e.g. "[seed]-[prompt_words]" (default "[datetime]-[seed]-[prompt_words]")',
    },
    'no-metadata': { type: 'boolean', help: 'write no prompt and no settings into the file' },
  },
  notes: [...templateNotes, ...expertNotes],
  examples: [
    'atelier generate --prompt "a red apple, noto style"',
    'atelier generate --model ~/models/v1-5.safetensors --prompt "a lighthouse" --seed 42 --steps 30 --batch 4 --out pictures',
    'atelier generate --prompt "a cat" --expert ink.safetensors:0.8 --expert cat.safetensors --gate ink-cat.mole.safetensors',
    'atelier generate --prompt "a house" --json | jq -r "select(.kind == \\"result\\").result.pictures[].path"',
  ],
  async run({ args, client, terminal, signal }) {
    const request = generateRequestOf(args);
    checkParams('generate', request, flagName);
    const gates = new GateMap();
    const pictures: FinishedPicture[] = [];
    let last: GenerateResult | undefined;
    for (const one of await requestsOf(request, args)) {
      const drawn = await generateWithRetry(client, withSeed(one), {
        signal,
        onEvent: (event) => {
          terminal.event(event);
          gates.event(event);
          if (event.kind === 'picture') terminal.print(event.picture.path);
        },
      });
      pictures.push(...drawn.pictures);
      last = drawn.last ?? last;
    }
    gates.lines().forEach((line) => {
      terminal.note(line);
    });
    if (last !== undefined) terminal.note(summary(pictures.length, last));
    terminal.result(last === undefined ? { pictures } : { ...last, pictures });
    return undefined;
  },
};

function summary(count: number, { device, deviceReason, timings }: GenerateResult): string {
  const what = count === 1 ? 'One picture' : `${count} pictures`;
  return `${what} in ${showTime(timings.totalMs)} on ${device} (${(timings.stepMs / 1000).toFixed(2)} s/step). ${deviceReason}`;
}

/** The request that the flags describe. Throws UsageError. */
export function generateRequestOf(args: ParsedArguments): GenerateRequest {
  if (args.positionals.length > 0) {
    const words = args.positionals.join(' ');
    throw new UsageError(
      `"${words}" stands alone. A prompt of several words is written in quotes: --prompt "${words}".`,
    );
  }
  // Asked for first: without a prompt nothing else matters.
  const prompt = args.required('prompt');
  const path = (name: string): string | undefined => {
    const value = args.text(name);
    return value === undefined ? undefined : resolve(value);
  };
  const seed = args.number('seed');
  const init = path('init');
  const strength = args.number('strength');
  if (init === undefined && strength !== undefined) {
    throw new UsageError('--strength says how much of a picture to redraw: give the picture with --init.');
  }
  return withoutUndefined({
    model: path('model') ?? bundledModel(),
    vae: path('vae'),
    previewDecoder: path('preview-decoder'),
    prompt,
    negativePrompt: args.text('negative'),
    // -1 is how A1111 writes "any".
    seed: seed === -1 ? undefined : seed,
    steps: args.number('steps'),
    sampler: plainName(args.text('sampler')) as GenerateRequest['sampler'],
    schedule: plainName(args.text('schedule')) as GenerateRequest['schedule'],
    cfgScale: args.number('cfg'),
    cfgRescale: args.number('cfg-rescale'),
    width: args.number('width'),
    height: args.number('height'),
    batch: args.number('batch'),
    clipSkip: args.number('clip-skip'),
    init: init === undefined ? undefined : withoutUndefined({ picture: init, strength }),
    mix: mixOf(args),
    device: args.text('device')?.toLowerCase() as GenerateRequest['device'],
    threads: args.number('threads'),
    prediction: args.text('prediction') as GenerateRequest['prediction'],
    output: outputOf(args),
  });
}

const formatOfExtension: Readonly<Record<string, PictureFormat>> = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
};

function outputOf(args: ParsedArguments): GenerateRequest['output'] {
  const out = resolve(args.text('out') ?? 'outputs');
  const asked = args.text('format')?.toLowerCase().replace(/^jpg$/, 'jpeg') as PictureFormat | undefined;
  const extension = extname(out);
  const byName = formatOfExtension[extension.toLowerCase()];
  if (byName !== undefined && asked !== undefined && byName !== asked) {
    throw new UsageError(`--out ends in ${extension}, --format says ${asked}. Leave one of them out.`);
  }
  const pattern = args.text('pattern');
  if (byName !== undefined && pattern !== undefined) {
    throw new UsageError('--out names a file already; give a folder to use --pattern.');
  }
  const format = byName ?? asked;
  const lossless = args.isOn('lossless');
  if (lossless && format !== 'webp') throw new UsageError('--lossless is for webp pictures: add --format webp.');
  return withoutUndefined({
    folder: byName === undefined ? out : dirname(out),
    pattern: byName === undefined ? pattern : basename(out, extension),
    format,
    quality: args.number('quality'),
    lossless,
    metadata: !args.isOn('no-metadata'),
  });
}

/** `DPM++ 2M`, `dpmpp_2m` and `dpmpp-2m` are one sampler. */
function plainName(name: string | undefined): string | undefined {
  return name
    ?.trim()
    .toLowerCase()
    .replaceAll('++', 'pp')
    .replace(/[\s_]+/g, '-');
}
