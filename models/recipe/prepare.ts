// Renders the icon sets to PNG and writes the captions the model is trained on.
// Input: vocabulary.json (what to draw), holdout.json (what must never be trained on), the npm icon sets.
// Output: <out>/index.json, one entry per drawing with its file, subject, style, split and captions.
// Only drawings of split "train" may be used by the base model; held-out ones are rendered for evaluation.
//   npx tsx prepare.ts [--size 128] [--out data/128]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

type Subject = {
  name: string;
  core: boolean;
  label: string;
  hex: string;
  tags: string[];
  keys: Record<string, string>;
};
type Holdout = {
  baseStyles: string[];
  styles: string[];
  subjects: string[];
  pairs: [subject: string, style: string][];
};
type IconSet = {
  width?: number;
  height?: number;
  icons: Record<string, { body: string; width?: number; height?: number; left?: number; top?: number }>;
};
type Split = 'train' | 'heldout-pair' | 'heldout-subject' | 'heldout-style';
type Drawing = { file: string; subject: string; core: boolean; style: string; split: Split; captions: Captions };
/** Captions by kind; the training script picks a kind by weight, then a caption. */
type Captions = { styled: string[]; plain: string[]; tagged: string[] };

const here = dirname(fileURLToPath(import.meta.url));
const load = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T;

/** Style word (the trigger in a prompt) -> npm icon set. */
const iconSets: Record<string, string> = {
  noto: '@iconify-json/noto',
  twemoji: '@iconify-json/twemoji',
  fluent: '@iconify-json/fluent-emoji-flat',
  emojione: '@iconify-json/emojione',
  'noto-v1': '@iconify-json/noto-v1',
  'fluent-gradient': '@iconify-json/fluent-emoji',
  'fluent-contrast': '@iconify-json/fluent-emoji-high-contrast',
  'emojione-mono': '@iconify-json/emojione-monotone',
  fxemoji: '@iconify-json/fxemoji',
  streamline: '@iconify-json/streamline-emojis',
};

const uncountable = new Set(['popcorn', 'sushi', 'spaghetti', 'poo', 'fire', 'bread', 'corn', 'cheese', 'lipstick']);

export function withArticle(name: string): string {
  const last = name.split(' ').at(-1) ?? name;
  if (
    uncountable.has(name) ||
    (last.endsWith('s') && !last.endsWith('ss') && !['bus', 'cactus', 'octopus'].includes(last))
  )
    return name;
  return `${/^[aeiou]/.test(name) && !name.startsWith('uni') ? 'an' : 'a'} ${name}`;
}

export function captionsFor(subject: Subject, style: string): Captions {
  const one = withArticle(subject.name);
  return {
    styled: [
      `${one}, ${style} style`,
      `${subject.name}, ${style} style`,
      `${style} style icon of ${one}`,
      `${style} style ${subject.name}`,
      `an icon of ${one} in ${style} style`,
      `a picture of ${one}, ${style} style, on a white background`,
    ],
    plain: [subject.name, one, `an icon of ${one}`],
    tagged: subject.tags.slice(0, 6).map((tag) => `${subject.name}, ${tag}, ${style} style`),
  };
}

export function splitOf(subject: string, style: string, holdout: Holdout): Split {
  if (holdout.subjects.includes(subject)) return 'heldout-subject';
  if (!holdout.baseStyles.includes(style)) return 'heldout-style';
  return holdout.pairs.some(([s, t]) => s === subject && t === style) ? 'heldout-pair' : 'train';
}

/** One icon on white, centred, with a margin of 4 % on each side; drawn at four times the size and scaled down. */
async function render(set: IconSet, key: string, size: number): Promise<Buffer> {
  const icon = set.icons[key];
  if (!icon) throw new Error(`no icon "${key}"`);
  const width = icon.width ?? set.width ?? 16;
  const height = icon.height ?? set.height ?? 16;
  const inner = Math.round(size * 0.92);
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${inner * 4}" height="${inner * 4}" ` +
    `viewBox="${icon.left ?? 0} ${icon.top ?? 0} ${width} ${height}" color="#000">${icon.body}</svg>`;
  const drawing = await sharp(Buffer.from(svg))
    .resize(inner, inner, { fit: 'contain', background: '#fff0' })
    .png()
    .toBuffer();
  const before = Math.floor((size - inner) / 2);
  return sharp({ create: { width: size, height: size, channels: 3, background: '#fff' } })
    .composite([{ input: drawing, left: before, top: before }])
    .png({ compressionLevel: 9 })
    .toBuffer();
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { size: { type: 'string', default: '128' }, out: { type: 'string' } } });
  const size = Number(values.size);
  const out = resolve(values.out ?? join(here, 'data', String(size)));
  const { subjects } = load<{ subjects: Subject[] }>(join(here, 'vocabulary.json'));
  const holdout = load<Holdout>(join(here, 'holdout.json'));
  const require = createRequire(import.meta.url);

  const drawings: Drawing[] = [];
  for (const [style, packageName] of Object.entries(iconSets)) {
    const set = load<IconSet>(require.resolve(`${packageName}/icons.json`));
    mkdirSync(join(out, style), { recursive: true });
    for (const subject of subjects) {
      const key = subject.keys[style];
      if (key === undefined) continue;
      const file = `${style}/${subject.name.replaceAll(' ', '-')}.png`;
      writeFileSync(join(out, file), await render(set, key, size));
      const split = splitOf(subject.name, style, holdout);
      drawings.push({
        file,
        subject: subject.name,
        core: subject.core,
        style,
        split,
        captions: captionsFor(subject, style),
      });
    }
  }

  // The hold-out is a promise; check it against the result, not against the code that made it.
  const heldPairs = new Set(holdout.pairs.map((pair) => pair.join('\t')));
  for (const { subject, style } of drawings.filter((drawing) => drawing.split === 'train'))
    if (heldPairs.has(`${subject}\t${style}`) || holdout.subjects.includes(subject) || holdout.styles.includes(style))
      throw new Error(`held-out drawing in the training split: ${subject}, ${style}`);
  for (const [subject, style] of holdout.pairs)
    if (!drawings.some((d) => d.subject === subject && d.style === style && d.split === 'heldout-pair'))
      throw new Error(`held-out pair without a drawing: ${subject}, ${style}`);

  writeFileSync(join(out, 'index.json'), JSON.stringify({ size, styles: holdout.baseStyles, drawings }, null, 1));
  const count = (split: Split): number => drawings.filter((drawing) => drawing.split === split).length;
  console.log(
    `${out}: ${drawings.length} drawings, ${count('train')} for training, held out: ` +
      `${count('heldout-pair')} pairs, ${count('heldout-subject')} of held-out subjects, ${count('heldout-style')} of held-out styles`,
  );
}

await main();
