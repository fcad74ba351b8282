// Picture files as this program writes them, painted in a moment instead of drawn: a shape in colours of the seed, with all settings.
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatInfotext } from '../../src-main/formats/infotext.ts';
import { encodePicture } from '../../src-main/formats/png.ts';

export interface PaintedPicture {
  readonly prompt: string;
  readonly seed: number;
  readonly width?: number;
  readonly height?: number;
  /** Names of experts. */
  readonly experts?: readonly string[];
  /** Milliseconds since 1970. */
  readonly date?: number;
}

/** Paints a PNG at `path`. */
export async function paintPicture(path: string, painted: PaintedPicture): Promise<void> {
  const { prompt, seed, width = 96, height = 96, experts = [], date } = painted;
  const rgb = new Uint8Array(width * height * 3);
  const [r, g, b] = [47, 89, 131].map((step) => (seed * step) % 200);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const inside = Math.hypot(x / width - 0.5, y / height - 0.5) < 0.2 + ((seed * 7) % 20) / 100;
      rgb.set(
        inside ? [255 - r!, 255 - g!, 255 - b!] : [r! + 40, g! + (40 * y) / height, b! + 40],
        (y * width + x) * 3,
      );
    }
  }
  const settings = { prompt, negativePrompt: 'blurry', seed, steps: 4, sampler: 'euler', cfgScale: 5, width, height };
  const named = experts.map((name, i) => ({ name, sha256: String(i).repeat(64), weight: 0.8 }));
  const infotext = formatInfotext({
    prompt,
    negativePrompt: 'blurry',
    steps: 4,
    sampler: 'Euler',
    cfgScale: 5,
    seed,
    size: { width, height },
    model: 'atelier-mini',
  });
  const mole = {
    kind: 'generation',
    version: 1,
    settings,
    ...(experts.length === 0 ? {} : { mix: { mode: 'sum', experts: named } }),
    model: { name: 'atelier-mini' },
  };
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, await encodePicture({ width, height, rgb }, { format: 'png' }, { infotext, mole }));
  if (date !== undefined) utimesSync(path, new Date(date), new Date(date));
}
