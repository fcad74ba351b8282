// `atelier demo`: the main job on a fresh machine. Draws with the bundled model at fixed seeds, then with its LoRAs, mixed in
// every way side by side, and says where the sheets are.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { generateWithRetry } from '../client/generate-with-retry.ts';
import type { MixRequest } from '../contract/experts.ts';
import type { DeviceChoice, FinishedPicture, GenerateRequest } from '../contract/generation.ts';
import { UsageError, type ParsedArguments } from './arguments.ts';
import { bundledExpert, bundledModel } from './bundled-model.ts';
import type { Command } from './command.ts';
import { showTime } from './progress.ts';

interface PlannedPicture {
  readonly prompt: string;
  readonly seed: number;
  /** On the sheet; the prompt where undefined. */
  readonly label?: string;
  readonly mix?: MixRequest;
}

interface Sheet {
  readonly name: string;
  readonly columns: number;
  readonly steps: number;
  readonly cfg: number;
  readonly pictures: readonly PlannedPicture[];
}

/** Prompts and seeds of the first sheet, from models/recipe/prompts-32.json. */
const plain: readonly PlannedPicture[] = [
  { prompt: 'a dog, noto style', seed: 100 },
  { prompt: 'a red apple, noto style', seed: 108 },
  { prompt: 'a palm tree, noto style', seed: 118 },
  { prompt: 'a ghost, fluent style', seed: 131 },
];

const sheetFileSchema = z.object({
  steps: z.number().int().default(20),
  cfg: z.number().default(5),
  columns: z.number().int().default(8),
  prompts: z.array(z.object({ prompt: z.string(), seed: z.number().int() })).min(1),
});

/** The sheet of a JSON file: { steps, cfg, columns, prompts: [{ prompt, seed }] }. Throws UsageError naming the file. */
function readSheet(path: string): Sheet {
  try {
    const { prompts, ...rest } = sheetFileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    return { name: 'sheet', ...rest, pictures: prompts };
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new UsageError(`${path} is not a list of prompts with seeds: ${why}`);
  }
}

/**
 * The second sheet: subjects and styles that the base model has never seen, each from a LoRA, mixed in every way. A row has one prompt
 * and one seed. One gate serves all rows: it was trained on other subjects, for a subject beside a style.
 */
function mixSheet(): Sheet {
  const gate = bundledExpert('subject-style.mole');
  const row = (subject: string, style: string, seed: number): readonly PlannedPicture[] => {
    const prompt = `a ${subject}, ${style} style`;
    const experts = [{ path: bundledExpert(subject) }, { path: bundledExpert(style) }] as const;
    const picture = (label: string, mix?: MixRequest): PlannedPicture => ({
      prompt,
      seed,
      label,
      ...(mix === undefined ? {} : { mix }),
    });
    return [
      picture(`${prompt}: no LoRA`),
      picture(`${subject} LoRA`, { experts: [experts[0]] }),
      picture(`${style} LoRA`, { experts: [experts[1]] }),
      picture('both, plain sum', { experts: [...experts], mode: 'sum' }),
      picture('both, normalised', { experts: [...experts], mode: 'normalised' }),
      picture('both, MoLE gates', { experts: [...experts], mode: 'mole', gate }),
    ];
  };
  const pictures = [...row('fox', 'ink', 11), ...row('castle', 'dusk', 11)];
  return { name: 'experts', columns: 6, steps: 20, cfg: 4, pictures };
}

export const demoCommand: Command = {
  name: 'demo',
  summary: 'Draws with the bundled model, then mixes the bundled LoRAs in every way, each on a labelled sheet.',
  flags: {
    out: { type: 'string', value: 'FOLDER', help: 'where the pictures go (default outputs/demo)' },
    device: { type: 'string', value: 'NAME', help: 'as in atelier generate (default auto)' },
    prompts: { type: 'string', value: 'FILE', help: 'draw the prompts of this JSON file instead' },
  },
  examples: ['atelier demo', 'atelier demo --out /tmp/pictures'],
  async run({ args, client, terminal, signal }) {
    if (args.positionals.length > 0) throw new UsageError(`demo takes no "${args.positionals.join(' ')}".`);
    const folder = resolve(args.text('out') ?? 'outputs/demo');
    const file = args.text('prompts');
    const sheets: readonly Sheet[] =
      file === undefined
        ? [{ name: 'sheet', columns: 4, steps: 20, cfg: 5, pictures: plain }, mixSheet()]
        : [readSheet(resolve(file))];
    const started = Date.now();
    const drawn: FinishedPicture[] = [];
    const paths: string[] = [];
    for (const sheet of sheets) {
      const finished: { readonly path: string; readonly label: string }[] = [];
      for (const [i, planned] of sheet.pictures.entries()) {
        const label = planned.label ?? planned.prompt;
        terminal.note(`${i + 1}/${sheet.pictures.length}  ${label}`);
        const result = await generateWithRetry(client, requestOf(planned, sheet, folder, args), {
          signal,
          onEvent: (event) => {
            terminal.event(event);
          },
        });
        for (const picture of result.pictures) {
          drawn.push(picture);
          finished.push({ path: picture.path, label });
          terminal.print(picture.path);
        }
        if (drawn.length === 1 && result.last !== undefined) terminal.note(result.last.deviceReason);
      }
      const output = join(folder, `${sheet.name}.png`);
      const { path } = await client.request(
        'sheet',
        { pictures: finished, columns: sheet.columns, output },
        { signal },
      );
      paths.push(path);
      terminal.print(path);
    }
    terminal.result({ pictures: drawn, sheets: paths });
    terminal.note(`${drawn.length} pictures in ${showTime(Date.now() - started)}. Look at ${paths.join(' and ')}.`);
    return undefined;
  },
};

function requestOf(
  { prompt, seed, mix }: PlannedPicture,
  { steps, cfg }: Sheet,
  folder: string,
  args: ParsedArguments,
): GenerateRequest & { readonly seed: number } {
  const device = args.text('device') as DeviceChoice | undefined;
  return {
    model: bundledModel(),
    prompt,
    seed,
    steps,
    cfgScale: cfg,
    ...(mix === undefined ? {} : { mix }),
    ...(device === undefined ? {} : { device }),
    output: { folder, pattern: '[seed]-[prompt_words]' },
  };
}
