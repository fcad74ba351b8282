// Rows of experts in the UNet of full-size Stable Diffusion 1.5: under MoLE gates, as plain sums, in the paper's naive form, and in PEFT.
import { join } from 'node:path';
import { baseline, built, lastJson, text, type Setup } from './programs.ts';
import { median, seconds, type Table } from './report.ts';

export function expertRows(table: Table, { folder, rounds, threads, python }: Setup): void {
  type Times = Readonly<Record<string, readonly number[]>>;
  const experts = lastJson(
    text(process.execPath, [join(built, 'measure-experts.js'), folder, String(rounds), threads]),
  ) as Times;
  const peft = lastJson(text(python, [baseline, 'peft', folder, String(rounds), threads])) as Times;
  const plain = median(experts['plain']!);
  const ratio = (name: string): number => median(experts[name]!) / plain;
  table.row(
    'UNet step without experts, in the run below',
    seconds(plain),
    seconds(median(peft['plain']!)),
    undefined,
    '',
  );
  for (const [name, what, target] of [
    ['mole3', '— three rank-16 experts, MoLE gates (pooled, block): against the step without', 1.12],
    ['mole6', '— six', 1.2],
    ['sum3', '— three, plain sum', undefined],
    ['naive3', "— three, gates in the paper's naive form", undefined],
  ] as const) {
    const met = target === undefined ? undefined : ratio(name) <= target;
    table.row(
      what,
      `${seconds(median(experts[name]!))}, ${ratio(name).toFixed(3)}x`,
      '',
      undefined,
      target === undefined ? '' : `${target}x`,
      met,
    );
  }
  const peftRatio = median(peft['peft3']!) / median(peft['plain']!);
  table.row(
    '— three, plain sum, diffusers with PEFT: against its own step without',
    '',
    `${seconds(median(peft['peft3']!))}, ${peftRatio.toFixed(3)}x`,
    undefined,
    '',
  );
}
