// Rows of the engine: networks of full-size Stable Diffusion 1.5 beside diffusers', and pictures of the bundled model.
import { join } from 'node:path';
import { cli, evict, ours, theirs, type Measurement, type Setup } from './programs.ts';
import { gigabytes, median, seconds, type Table } from './report.ts';

/** UNet, autoencoder and text encoder, ours and theirs in turn. */
export function networkRows(table: Table, setup: Setup): void {
  const { rounds } = setup;
  for (const [what, name] of [
    ['unet', 'UNet step, float32 file'],
    ['unet16', 'UNet step, float16 file'],
  ] as const) {
    // Cold first, then both in turn on a warm cache: A B A B.
    const cold = evict(setup, what);
    const coldOurs = ours(setup, what, 1);
    evict(setup, what);
    const coldTheirs = theirs(setup, what, 1);
    const mine: Measurement[] = [];
    const other: Measurement[] = [];
    for (let i = 0; i < 2; i++) {
      mine.push(ours(setup, what, rounds));
      other.push(theirs(setup, what, rounds));
    }
    table.versions = other[0]!.versions ?? '';
    const [a, b] = [median(mine.flatMap((m) => m.runsMs)), median(other.flatMap((m) => m.runsMs))];
    table.row(name, seconds(a), seconds(b), a / b, '1.0 (aim 0.7)', a / b <= 1);
    const weights = mine[0]!.weightBytes!;
    const [peak, peakTheirs] = [Math.max(...mine.map((m) => m.peakBytes)), Math.max(...other.map((m) => m.peakBytes))];
    const split = ` (${gigabytes(mine[0]!.anonymousBytes ?? 0)} own, ${gigabytes(mine[0]!.mappedBytes ?? 0)} mapped from the file)`;
    table.row('— peak memory', gigabytes(peak) + split, gigabytes(peakTheirs), peak / peakTheirs, '');
    table.row(
      '— peak against the float32 weights',
      (peak / weights).toFixed(2),
      (peakTheirs / weights).toFixed(2),
      undefined,
      '1.25',
      peak / weights <= 1.25,
    );
    const warm = [median(mine.map((m) => m.openMs)), median(other.map((m) => m.openMs))];
    table.row('— open, warm cache', seconds(warm[0]!), seconds(warm[1]!), warm[0]! / warm[1]!, '');
    table.row(
      cold ? '— cold file to the end of the first step' : '— first step (the page cache could not be emptied)',
      seconds(coldOurs.firstMs),
      seconds(coldTheirs.firstMs),
      coldOurs.firstMs / coldTheirs.firstMs,
      '',
    );
  }
  for (const [what, name] of [
    ['vae', 'VAE decode, 64x64 latents'],
    ['text', 'Text encode, 77 tokens'],
  ] as const) {
    const mine: Measurement[] = [];
    const other: Measurement[] = [];
    for (let i = 0; i < 2; i++) {
      mine.push(ours(setup, what, rounds));
      other.push(theirs(setup, what, rounds));
    }
    const [a, b] = [median(mine.flatMap((m) => m.runsMs)), median(other.flatMap((m) => m.runsMs))];
    table.row(name, seconds(a), seconds(b), a / b, '');
    const [peak, peakTheirs] = [Math.max(...mine.map((m) => m.peakBytes)), Math.max(...other.map((m) => m.peakBytes))];
    table.row('— peak memory', gigabytes(peak), gigabytes(peakTheirs), peak / peakTheirs, '');
  }
}

/** A picture of the bundled model, and the demonstration. `scratch` is a folder to draw into. */
export function pictureRows(table: Table, scratch: string): void {
  const pictures = Array.from({ length: 5 }, (_, seed) =>
    cli(
      'generate',
      '--prompt',
      'a red apple, noto style',
      '--cfg',
      '5',
      '--seed',
      String(seed),
      '--out',
      scratch,
      '--json',
    ),
  );
  const wall = median(pictures.map(({ wallMs }) => wallMs));
  const inside = median(
    pictures.map(({ output }) => {
      const result = output
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { kind: string; result?: { timings: { totalMs: number } } });
      return result.find(({ kind }) => kind === 'result')!.result!.timings.totalMs;
    }),
  );
  table.row(
    'Bundled model: a picture, 20 steps with CFG, in the engine',
    seconds(inside),
    '',
    undefined,
    '4 s',
    inside <= 4000,
  );
  table.row('— the same as a whole command', seconds(wall), '', undefined, '4 s', wall <= 4000);
  const demo = cli('demo', '--device', 'cpu', '--out', join(scratch, 'demo'));
  table.row('`npm run demo` after the build', seconds(demo.wallMs), '', undefined, '60 s', demo.wallMs <= 60_000);
}
