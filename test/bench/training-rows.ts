// Rows of training: a gate step of full-size Stable Diffusion 1.5 beside its forward pass and PyTorch's, its memory with and without
// recomputation, and whole trainings of the bundled model.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { baseline, built, cli, lastJson, root, text, type Setup } from './programs.ts';
import { gigabytes, median, seconds, type Table } from './report.ts';

interface Cost {
  readonly runsMs: Readonly<Record<string, readonly number[]>>;
  readonly peakBytes?: number;
}

/** Three rank-16 experts under pooled block gates, the gates alone trained. */
export function gradientRows(table: Table, { folder, rounds, threads, python }: Setup): void {
  const measure = (pixels: number, what: string, count: number): Cost =>
    lastJson(
      text(process.execPath, [
        join(built, 'measure-gradient.js'),
        folder,
        String(count),
        threads,
        String(pixels),
        what,
      ]),
    ) as Cost;
  const mine = measure(256, 'both', rounds).runsMs;
  const other = lastJson(text(python, [baseline, 'gate', folder, String(rounds), threads])) as Cost;
  const theirs = other.runsMs;
  const forward = [median(mine['forward']!), median(theirs['forward']!)] as const;
  const step = [median(mine['gradient']!), median(theirs['gradient']!)] as const;
  const ratios = [step[0] / forward[0], step[1] / forward[1]] as const;
  table.row(
    'UNet under gates, 256x256, forward',
    seconds(forward[0]),
    seconds(forward[1]),
    forward[0] / forward[1],
    '',
  );
  table.row(
    '— a gate step: forward and backward',
    `${seconds(step[0])}, ${ratios[0].toFixed(2)}x`,
    `${seconds(step[1])}, ${ratios[1].toFixed(2)}x`,
    step[0] / step[1],
    '2.5x the forward',
    ratios[0] <= 2.5,
  );
  const memory = ({ peakBytes }: Cost): string => (peakBytes === undefined ? 'unknown' : gigabytes(peakBytes));
  for (const pixels of [256, 512]) {
    for (const [what, name] of [
      ['gradient', 'peak memory and time of a gate step'],
      ['recompute', 'with recomputation'],
    ] as const) {
      const cost = measure(pixels, what, 1);
      const beside = pixels === 256 && what === 'gradient' ? memory(other) : '';
      const shown = `${memory(cost)}, ${seconds(median(cost.runsMs[what]!))}`;
      table.row(`— ${name}, ${pixels}x${pixels}`, shown, beside, undefined, '');
    }
  }
}

/** Drawings that the recipe laid out, else pictures of the base model. */
function drawings(scratch: string): string {
  const known = join(root, 'models/recipe/data/experts/ink');
  if (existsSync(known)) return known;
  const folder = join(scratch, 'drawings');
  const prompt = 'a red apple, noto style';
  cli('generate', '--prompt', prompt, '--batch', '40', '--steps', '8', '--cfg', '4', '--seed', '0', '--out', folder);
  return folder;
}

/** 400 updates of a gate over three experts, and a style LoRA of 40 pictures, both by the command line. */
export function bundledRows(table: Table, { threads }: Setup, scratch: string): void {
  const images = drawings(scratch);
  const pictures = readdirSync(images).filter((name) => /\.(?:png|webp|jpe?g)$/.test(name)).length;
  const common = ['--images', images, '--device', 'cpu', '--threads', threads];
  const train = (...args: readonly string[]): number => cli(...args, ...common).wallMs;
  const experts = [1, 2, 3].flatMap((seed) => {
    const out = join(scratch, `expert-${seed}.safetensors`);
    train('train-lora', '--steps', '1', '--batch', '1', '--seed', String(seed), '--out', out);
    return ['--expert', out];
  });
  const gate = join(scratch, 'gate.mole.safetensors');
  const gateMs = train('train-gate', ...experts, '--steps', '400', '--batch', '2', '--out', gate);
  const shown = (ms: number, updates: number): string => `${seconds(ms)}, ${seconds(ms / updates)} each`;
  table.row(
    'Bundled model: 400 updates of a gate, batch 2',
    shown(gateMs, 400),
    '',
    undefined,
    '5 min',
    gateMs <= 300_000,
  );
  const lora = join(scratch, 'style.safetensors');
  const loraMs = train('train-lora', '--rank', '8', '--steps', '900', '--batch', '4', '--out', lora);
  table.row(
    `— a rank-8 style LoRA from ${pictures} pictures, 900 updates, batch 4`,
    shown(loraMs, 900),
    '',
    undefined,
    '15 min',
    loraMs <= 900_000,
  );
}
