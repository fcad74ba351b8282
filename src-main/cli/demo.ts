// `atelier demo`: the main job on a fresh machine. Draws a few pictures with the bundled model at fixed seeds, and one
// sheet with all of them, and says where they are.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { generateWithRetry } from '../client/generate-with-retry.ts';
import type { DeviceChoice, FinishedPicture } from '../contract/generation.ts';
import { UsageError } from './arguments.ts';
import { bundledModel } from './bundled-model.ts';
import type { Command } from './command.ts';
import { showTime } from './progress.ts';

/** Prompts and seeds of the sheet, from models/recipe/prompts-32.json. */
const pictures: readonly { readonly prompt: string; readonly seed: number }[] = [
  { prompt: 'a dog, noto style', seed: 100 },
  { prompt: 'a red apple, noto style', seed: 108 },
  { prompt: 'a rainbow, twemoji style', seed: 119 },
  { prompt: 'a mushroom, twemoji style', seed: 117 },
  { prompt: 'a birthday cake, noto style', seed: 115 },
  { prompt: 'a palm tree, noto style', seed: 118 },
  { prompt: 'a car, noto style', seed: 122 },
  { prompt: 'a ghost, fluent style', seed: 131 },
];

const sheetFileSchema = z.object({
  steps: z.number().int().default(20),
  cfg: z.number().default(5),
  columns: z.number().int().default(8),
  prompts: z.array(z.object({ prompt: z.string(), seed: z.number().int() })).min(1),
});
type SheetPlan = z.output<typeof sheetFileSchema>;

/** The sheet of a JSON file: { steps, cfg, columns, prompts: [{ prompt, seed }] }. Throws UsageError naming the file. */
function readPlan(path: string): SheetPlan {
  try {
    return sheetFileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new UsageError(`${path} is not a list of prompts with seeds: ${why}`);
  }
}

export const demoCommand: Command = {
  name: 'demo',
  summary: 'Draws eight pictures with the bundled model, and a sheet of all of them.',
  flags: {
    out: { type: 'string', value: 'FOLDER', help: 'where the pictures go (default outputs/demo)' },
    device: { type: 'string', value: 'NAME', help: 'as in atelier generate (default auto)' },
    prompts: { type: 'string', value: 'FILE', help: 'draw the prompts of this JSON file instead' },
  },
  examples: ['atelier demo', 'atelier demo --out /tmp/pictures'],
  async run({ args, client, terminal, signal }) {
    if (args.positionals.length > 0) throw new UsageError(`demo takes no "${args.positionals.join(' ')}".`);
    const folder = resolve(args.text('out') ?? 'outputs/demo');
    const model = bundledModel();
    const device = args.text('device') as DeviceChoice | undefined;
    const file = args.text('prompts');
    const plan = file === undefined ? { steps: 20, cfg: 5, columns: 4, prompts: pictures } : readPlan(resolve(file));
    const started = Date.now();
    const finished: { readonly picture: FinishedPicture; readonly prompt: string }[] = [];
    for (const [i, { prompt, seed }] of plan.prompts.entries()) {
      terminal.note(`${i + 1}/${plan.prompts.length}  ${prompt}`);
      const result = await generateWithRetry(
        client,
        {
          model,
          prompt,
          seed,
          steps: plan.steps,
          cfgScale: plan.cfg,
          ...(device === undefined ? {} : { device }),
          output: { folder, pattern: '[seed]-[prompt_words]' },
        },
        {
          signal,
          onEvent: (event) => {
            terminal.event(event);
          },
        },
      );
      for (const picture of result.pictures) {
        finished.push({ picture, prompt });
        terminal.print(picture.path);
      }
      if (i === 0 && result.last !== undefined) terminal.note(result.last.deviceReason);
    }
    const sheet = await client.request(
      'sheet',
      {
        pictures: finished.map(({ picture, prompt }) => ({ path: picture.path, label: prompt })),
        columns: plan.columns,
        output: join(folder, 'sheet.png'),
      },
      { signal },
    );
    terminal.result({ pictures: finished.map(({ picture }) => picture), sheet: sheet.path });
    terminal.print(sheet.path);
    terminal.note(
      `${finished.length} pictures in ${showTime(Date.now() - started)}; the last one above is the sheet of all.`,
    );
    return undefined;
  },
};
